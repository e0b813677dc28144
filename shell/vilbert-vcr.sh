#!/bin/sh
# Fine-tune ViLBERT on VCR, Q→A (CONFIG=configs/vilbert/vcr_rationale.yaml: QA→R).
# Settings come from the environment (CONFIG, DATA_DIR, SCENES, MODEL, LOG_DIR, GPUS, NPROC: see shell/vilbert.sh);
# further arguments go to run_vcr.py.
set -e
. "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/vilbert.sh"
vilbert_recipe run_vcr.py vcr "$@"
