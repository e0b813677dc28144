#!/bin/sh
# ALBEF: the recipe configs/albef/ve.yaml. Settings come from the environment; further arguments go to run_ve.py.
#   DATA=sample   tries the recipe small, on the drawn world; else lists are in ./data/albef (docs/data_albef.md)
#   CONFIG        another configuration file
#   MODEL         weights to start from (default: what the configuration says)
#   TEXT_ENCODER  vocab.txt or the folder with it (default bert-base-uncased)
#   LOG_DIR       checkpoints, logs, results (default ./output/VE)
#   GPUS, NPROC   devices, see shell/launch.sh
set -e
. "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/launch.sh"
LOG_DIR=${LOG_DIR:-./output/VE}

if [ "${DATA:-}" = sample ]; then
    cd "$ROOT"
    "$PYTHON" -m pyutils.sample world --output sample_data/world
    "$PYTHON" -m albef_paddle.sample --world sample_data/world
    launch albef_paddle/run_ve.py --config configs/albef/tiny/ve.yaml --output_dir "$LOG_DIR" "$@"
    exit
fi

CONFIG=${CONFIG:-$ROOT/configs/albef/ve.yaml}
if [ "$CONFIG" = "$ROOT/configs/albef/ve.yaml" ] && [ ! -e data/albef/ve_train.json ]; then
    cat >&2 <<EOF
albef-ve.sh: data/albef/ve_train.json is missing.
  Make the lists from the official files with  python -m pyutils.data.prepare  (docs/data_albef.md), in this folder.
  To try the recipe without them:  DATA=sample sh shell/albef-ve.sh
EOF
    exit 2
fi
[ -z "${MODEL:-}" ] || set -- --checkpoint "$MODEL" "$@"
launch albef_paddle/run_ve.py --config "$CONFIG" --output_dir "$LOG_DIR" \
    --text_encoder "${TEXT_ENCODER:-bert-base-uncased}" "$@"
