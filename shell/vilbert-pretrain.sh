#!/bin/sh
# Pre-train ViLBERT on Conceptual Captions.
# Settings come from the environment (CONFIG, DATA_DIR, SCENES, MODEL, LOG_DIR, GPUS, NPROC: see shell/vilbert.sh);
# further arguments go to run_pretrain.py.
set -e
. "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/vilbert.sh"
vilbert_recipe run_pretrain.py pretrain "$@"
