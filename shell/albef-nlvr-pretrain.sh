#!/bin/sh
# ALBEF: the recipe configs/albef/nlvr_pretrain.yaml. Settings come from the environment; further arguments go to run_nlvr_pretrain.py.
#   DATA_DIR      `sample` (or DATA=sample) tries the recipe on synthetic scenes; else lists are in ./data/albef
#                 (docs/data_albef.md)
#   SCENES        synthetic scenes per source (default 300)
#   CONFIG        another configuration file
#   MODEL         weights to start from (default: what the configuration says)
#   TEXT_ENCODER  vocab.txt or the folder with it (default bert-base-uncased)
#   LOG_DIR       checkpoints, logs, results (default ./output/NLVR_pretrain; with DATA_DIR=sample output/tiny_nlvr_pretrain of the repository)
#   GPUS, NPROC   devices, see shell/launch.sh
set -e
. "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/launch.sh"
. "$ROOT/shell/albef-recipe.sh"
albef_recipe nlvr_pretrain nlvr_pretrain coco_pretrain.json NLVR_pretrain "$@"
