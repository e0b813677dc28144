#!/bin/sh
# Train a small ALBEF on easy-VQA from raw images, from scratch: makes the files and lists, pre-trains on captions made from
# the training answers, fine-tunes it to generate answers, evaluates the result on the test part.
#   sh shell/albef-quickstart.sh [--blind] [arguments of every stage: --seed 1, --set train.batch_size=32 …]
#   --blind   instead train the same model with the images withheld, the baseline
#   LOG_DIR   checkpoints, logs, results (default output/albef_easy_vqa, with --blind output/albef_easy_vqa_blind)
#   PYTHON    a Python with requirements.txt and easy-vqa installed (default: as in shell/launch.sh)
# Called again, it resumes where it was interrupted.
set -e
. "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/launch.sh"
[ -z "${LOG_DIR:-}" ] || LOG_DIR=$(absolute "$LOG_DIR")
name=albef_easy_vqa image_input=shown
if [ "${1:-}" = --blind ]; then
    name=albef_easy_vqa_blind image_input=withheld
    shift
fi
refuse_in_chain "LOG_DIR sets the folder; run albef_paddle/run_vqa.py for one stage alone." "$@"
cd "$ROOT"
"$PYTHON" -m pyutils.sample easy-vqa --output sample_data/easy_vqa
"$PYTHON" -m albef_paddle.sample --easy-vqa sample_data/easy_vqa
LOG_DIR=${LOG_DIR:-output/$name}
set -- --set "image_input=$image_input" "$@"
launch albef_paddle/run_pretrain.py --config configs/albef/tiny/easy_vqa_pretrain.yaml --output_dir "$LOG_DIR/pretrain" \
    --resume auto "$@"
check_start "$LOG_DIR" "$LOG_DIR/pretrain/last"
set -- --config configs/albef/tiny/easy_vqa.yaml --output_dir "$LOG_DIR" "$@"
launch albef_paddle/run_vqa.py --set "init=$LOG_DIR/pretrain/last" --resume auto "$@"
# Without `init`: that is where the training started, not what it trained.
launch albef_paddle/run_vqa.py "$@" --evaluate
