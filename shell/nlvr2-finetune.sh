#!/bin/sh
# Fine-tune VisualBERT on NLVR2. Settings come from the environment; further arguments go to run_nlvr2.py.
#   DATA_DIR     holds data/detectron_fix_144 (default ./X_NLVR/); `sample` tries the recipe on synthetic scenes
#   SCENES       synthetic scenes per source of the sample (default 300)
#   ANNOTATIONS  holds annotations/ (default ~/.paddlenlp/datasets/NLVR2)
#   MODEL        weights to start from (default visualbert-nlvr2-pre)
#   LOG_DIR      checkpoints, logs, <split>/predictions.csv (default ./logs/nlvr2)
#   GPUS, NPROC  devices, see shell/launch.sh
set -e
. "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/launch.sh"
DEFAULT_LOG_DIR=./logs/nlvr2
. "$ROOT/shell/recipe.sh"

if sample_world; then
    launch visualbert_paddle/run_nlvr2.py --config configs/visualbert/tiny/nlvr2.yaml \
        --input_dir "$SAMPLE_ROOT/X_NLVR" --annotations "$SAMPLE_ROOT/NLVR2" --set tokenizer="$SAMPLE_ROOT/vocab.txt" \
        --output_dir "$LOG_DIR" ${MODEL:+--model_name_or_path "$MODEL"} "$@"
    exit
fi

DATA_DIR=${DATA_DIR:-./X_NLVR/}
ANNOTATIONS=${ANNOTATIONS:-$DATASETS/NLVR2}
own_config "$@" || recipe_needs "Region features (144 x 1024) go to DATA_DIR/data/detectron_fix_144, annotations to ANNOTATIONS:
  python -m pyutils.data.prepare.datasets nlvr2 downloads them (docs/datasets.md)." \
    "$DATA_DIR/data/detectron_fix_144" "$ANNOTATIONS/annotations"
recipe_launch run_nlvr2.py nlvr2 --input_dir "$DATA_DIR" "$@"
