#!/bin/sh
# ALBEF: the recipe configs/albef/nlvr.yaml. Settings come from the environment; further arguments go to run_nlvr.py.
#   DATA=sample   tries the recipe small, on the drawn world; else lists are in ./data/albef (docs/data_albef.md)
#   CONFIG        another configuration file
#   MODEL         weights to start from (default: what the configuration says)
#   TEXT_ENCODER  vocab.txt or the folder with it (default bert-base-uncased)
#   LOG_DIR       checkpoints, logs, results (default ./output/NLVR)
#   GPUS, NPROC   devices, see shell/launch.sh
set -e
. "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/launch.sh"
LOG_DIR=${LOG_DIR:-./output/NLVR}

if [ "${DATA:-}" = sample ]; then
    cd "$ROOT"
    "$PYTHON" -m pyutils.sample world --output sample_data/world
    "$PYTHON" -m albef_paddle.sample --world sample_data/world
    launch albef_paddle/run_nlvr.py --config configs/albef/tiny/nlvr.yaml --output_dir "$LOG_DIR" "$@"
    exit
fi

CONFIG=${CONFIG:-$ROOT/configs/albef/nlvr.yaml}
if [ "$CONFIG" = "$ROOT/configs/albef/nlvr.yaml" ] && [ ! -e data/albef/nlvr_train.json ]; then
    cat >&2 <<EOF
albef-nlvr.sh: data/albef/nlvr_train.json is missing.
  Make the lists from the official files with  python -m pyutils.data.prepare  (docs/data_albef.md), in this folder.
  To try the recipe without them:  DATA=sample sh shell/albef-nlvr.sh
EOF
    exit 2
fi
[ -z "${MODEL:-}" ] || set -- --checkpoint "$MODEL" "$@"
launch albef_paddle/run_nlvr.py --config "$CONFIG" --output_dir "$LOG_DIR" \
    --text_encoder "${TEXT_ENCODER:-bert-base-uncased}" "$@"
