#!/bin/sh
# Fine-tune ViLBERT on Flickr30k retrieval (CONFIG=configs/vilbert/retrieval_coco.yaml: COCO).
# Settings come from the environment (CONFIG, DATA_DIR, SCENES, MODEL, LOG_DIR, GPUS, NPROC: see shell/vilbert.sh);
# further arguments go to run_retrieval.py.
set -e
. "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/vilbert.sh"
vilbert_recipe run_retrieval.py retrieval "$@"
