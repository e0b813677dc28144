#!/bin/sh
# ALBEF on real pictures, from nothing: makes easy-VQA's files and lists, trains a small ALBEF that writes answers,
# evaluates it on the test part.  sh shell/albef-quickstart.sh [--blind] [arguments of run_vqa.py…]
#   --blind   instead train the same model with the pictures withheld, the baseline
#   LOG_DIR   checkpoints, logs, results (default output/albef_easy_vqa, with --blind output/albef_easy_vqa_blind)
#   PYTHON    a Python with requirements.txt and easy-vqa installed (default: as in shell/launch.sh)
set -e
. "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/launch.sh"
case ${LOG_DIR:-} in "" | /*) ;; *) LOG_DIR=$PWD/$LOG_DIR ;; esac
name=albef_easy_vqa blind=false
if [ "${1:-}" = --blind ]; then
    name=albef_easy_vqa_blind blind=true
    shift
fi
cd "$ROOT"
"$PYTHON" -m pyutils.sample easy-vqa --output sample_data/easy_vqa
"$PYTHON" -m albef_paddle.sample --easy-vqa sample_data/easy_vqa
set -- --config configs/albef/tiny/easy_vqa.yaml --output_dir "${LOG_DIR:-output/$name}" --set "data.blind=$blind" "$@"
launch albef_paddle/run_vqa.py "$@"
launch albef_paddle/run_vqa.py "$@" --evaluate
