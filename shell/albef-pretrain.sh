#!/bin/sh
# ALBEF: the recipe configs/albef/pretrain.yaml. Settings come from the environment; further arguments go to run_pretrain.py.
#   DATA=sample   tries the recipe small, on the drawn world; else lists are in ./data/albef (docs/data_albef.md)
#   CONFIG        another configuration file
#   MODEL         weights to start from (default: what the configuration says)
#   TEXT_ENCODER  vocab.txt or the folder with it (default bert-base-uncased)
#   LOG_DIR       checkpoints, logs, results (default ./output/Pretrain)
#   GPUS, NPROC   devices, see shell/launch.sh
set -e
. "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/launch.sh"
LOG_DIR=${LOG_DIR:-./output/Pretrain}

if [ "${DATA:-}" = sample ]; then
    cd "$ROOT"
    "$PYTHON" -m pyutils.sample world --output sample_data/world
    "$PYTHON" -m albef_paddle.sample --world sample_data/world
    launch albef_paddle/run_pretrain.py --config configs/albef/tiny/pretrain.yaml --output_dir "$LOG_DIR" "$@"
    exit
fi

CONFIG=${CONFIG:-$ROOT/configs/albef/pretrain.yaml}
if [ "$CONFIG" = "$ROOT/configs/albef/pretrain.yaml" ] && [ ! -e data/albef/coco_pretrain.json ]; then
    cat >&2 <<EOF
albef-pretrain.sh: data/albef/coco_pretrain.json is missing.
  Make the lists from the official files with  python -m pyutils.data.prepare  (docs/data_albef.md), in this folder.
  To try the recipe without them:  DATA=sample sh shell/albef-pretrain.sh
EOF
    exit 2
fi
[ -z "${MODEL:-}" ] || set -- --checkpoint "$MODEL" "$@"
launch albef_paddle/run_pretrain.py --config "$CONFIG" --output_dir "$LOG_DIR" \
    --text_encoder "${TEXT_ENCODER:-bert-base-uncased}" "$@"
