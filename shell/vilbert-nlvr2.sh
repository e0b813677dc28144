#!/bin/sh
# Fine-tune ViLBERT on NLVR2.
# Settings come from the environment (CONFIG, DATA_DIR, SCENES, MODEL, LOG_DIR, GPUS, NPROC: see shell/vilbert.sh);
# further arguments go to run_nlvr2.py.
set -e
. "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/vilbert.sh"
vilbert_recipe run_nlvr2.py nlvr2 "$@"
