#!/bin/sh
# Fine-tune VisualBERT on Flickr30k Entities. Settings come from the environment; further arguments go to run_flickr.py.
#   DATA_DIR     holds data/detectron_fix_100 with boxes (default ./X_FLICKR/); `sample` tries the recipe
#   SCENES       synthetic scenes per source of the sample (default 300)
#   ANNOTATIONS  holds Annotations/, Sentences/ and {train,val,test}.txt (default ~/.paddlenlp/datasets/Flickr30kEntities)
#   MODEL        weights to start from (default bert-base-uncased)
#   LOG_DIR      checkpoints, logs, <split>/phrases.json (default ./logs/flickr)
#   GPUS, NPROC  devices, see shell/launch.sh
set -e
. "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/launch.sh"
DEFAULT_LOG_DIR=./logs/flickr
. "$ROOT/shell/recipe.sh"

if sample_world; then
    launch visualbert_paddle/run_flickr.py --config configs/visualbert/tiny/flickr.yaml \
        --input_dir "$SAMPLE_ROOT/X_FLICKR" --annotations "$SAMPLE_ROOT/Flickr30kEntities" \
        --set tokenizer="$SAMPLE_ROOT/vocab.txt" --output_dir "$LOG_DIR" ${MODEL:+--model_name_or_path "$MODEL"} "$@"
    exit
fi

DATA_DIR=${DATA_DIR:-./X_FLICKR/}
ANNOTATIONS=${ANNOTATIONS:-$DATASETS/Flickr30kEntities}
own_config "$@" || recipe_needs "Region features (100 x 2048 with boxes) go to DATA_DIR/data/detectron_fix_100, Entities to ANNOTATIONS:
  bash download_dataset.sh flickr30k-entities (docs/datasets.md)." \
    "$DATA_DIR/data/detectron_fix_100" "$ANNOTATIONS/Sentences" "$ANNOTATIONS/Annotations"
recipe_launch run_flickr.py flickr --input_dir "$DATA_DIR" "$@"
