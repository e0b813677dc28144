#!/bin/sh
# ALBEF: the recipe configs/albef/nlvr.yaml. Settings come from the environment; further arguments go to run_nlvr.py.
#   DATA_DIR      `sample` (or DATA=sample) tries the recipe on synthetic scenes; else lists are in ./data/albef
#                 (docs/data_albef.md)
#   SCENES        synthetic scenes per source (default 300)
#   CONFIG        another configuration file
#   MODEL         weights to start from (default: what the configuration says)
#   TEXT_ENCODER  vocab.txt or the folder with it (default bert-base-uncased)
#   LOG_DIR       checkpoints, logs, results (default ./output/NLVR; with DATA_DIR=sample output/tiny_nlvr of the repository)
#   GPUS, NPROC   devices, see shell/launch.sh
set -e
. "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/launch.sh"
. "$ROOT/shell/albef-recipe.sh"
albef_recipe nlvr nlvr nlvr_train.json NLVR "$@"
