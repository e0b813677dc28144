#!/bin/sh
# ALBEF: the recipe configs/albef/vqa.yaml. Settings come from the environment; further arguments go to run_vqa.py.
#   DATA=sample   tries the recipe small, on the drawn world; else lists are in ./data/albef (docs/data_albef.md)
#   CONFIG        another configuration file
#   MODEL         weights to start from (default: what the configuration says)
#   TEXT_ENCODER  vocab.txt or the folder with it (default bert-base-uncased)
#   LOG_DIR       checkpoints, logs, results (default ./output/VQA)
#   GPUS, NPROC   devices, see shell/launch.sh
set -e
. "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/launch.sh"
LOG_DIR=${LOG_DIR:-./output/VQA}

if [ "${DATA:-}" = sample ]; then
    cd "$ROOT"
    "$PYTHON" -m pyutils.sample world --output sample_data/world
    "$PYTHON" -m albef_paddle.sample --world sample_data/world
    launch albef_paddle/run_vqa.py --config configs/albef/tiny/vqa.yaml --output_dir "$LOG_DIR" "$@"
    exit
fi

CONFIG=${CONFIG:-$ROOT/configs/albef/vqa.yaml}
if [ "$CONFIG" = "$ROOT/configs/albef/vqa.yaml" ] && [ ! -e data/albef/vqa_train.json ]; then
    cat >&2 <<EOF
albef-vqa.sh: data/albef/vqa_train.json is missing.
  Make the lists from the official files with  python -m pyutils.data.prepare  (docs/data_albef.md), in this folder.
  To try the recipe without them:  DATA=sample sh shell/albef-vqa.sh
EOF
    exit 2
fi
[ -z "${MODEL:-}" ] || set -- --checkpoint "$MODEL" "$@"
launch albef_paddle/run_vqa.py --config "$CONFIG" --output_dir "$LOG_DIR" \
    --text_encoder "${TEXT_ENCODER:-bert-base-uncased}" "$@"
