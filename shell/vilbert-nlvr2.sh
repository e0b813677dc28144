#!/bin/sh
# Fine-tune ViLBERT on NLVR2. Settings come from the environment; further arguments go to run_nlvr2.py.
#   CONFIG       the recipe (default configs/vilbert/nlvr2.yaml; its paths are relative to the folder you are in)
#   DATA_DIR     `sample` tries the recipe on drawn scenes
#   MODEL        weights to start from (default: those of the recipe)
#   LOG_DIR      checkpoints, logs, result files (default: output/ in the recipe)
#   GPUS, NPROC  devices, see shell/launch.sh
set -e
. "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/launch.sh"

if [ "${DATA_DIR:-}" = sample ]; then
    cd "$ROOT"
    "$PYTHON" -m pyutils.sample world --output data/world --scenes "${SCENES:-1000}"
    set -- --config configs/vilbert/tiny/nlvr2.yaml "$@"
else
    set -- --config "${CONFIG:-$ROOT/configs/vilbert/nlvr2.yaml}" "$@"
fi
[ -z "${MODEL:-}" ] || set -- "$@" --from_pretrained "$MODEL"
[ -z "${LOG_DIR:-}" ] || set -- "$@" --output_dir "$LOG_DIR"
launch vilbert_paddle/run_nlvr2.py "$@"
