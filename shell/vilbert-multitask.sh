#!/bin/sh
# Train one ViLBERT on several tasks (12-in-1).
# Settings come from the environment (CONFIG, DATA_DIR, SCENES, MODEL, LOG_DIR, GPUS, NPROC: see shell/vilbert.sh);
# further arguments go to run_multitask.py.
set -e
. "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/vilbert.sh"
vilbert_recipe run_multitask.py multitask "$@"
