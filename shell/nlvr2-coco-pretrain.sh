#!/bin/sh
# Pre-train VisualBERT on COCO captions, on regions as NLVR2 has them. Settings come from the environment; further arguments go to
# run_pretrain.py.
#   DATA_DIR     holds data/detectron_fix_144 (default ./X_COCO/); `sample` tries the recipe on synthetic scenes
#   SCENES       synthetic scenes per source of the sample (default 300)
#   ANNOTATIONS  holds annotations/ (default ~/.paddlenlp/datasets/COCOCaptions)
#   MODEL        weights to start from (default visualbert-nlvr2-coco-pre)
#   LOG_DIR      checkpoints and logs (default ./logs/nlvr2-coco-pre)
#   GPUS, NPROC  devices, see shell/launch.sh
set -e
. "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/launch.sh"
DEFAULT_LOG_DIR=./logs/nlvr2-coco-pre
. "$ROOT/shell/recipe.sh"

if sample_world; then
    launch visualbert_paddle/run_pretrain.py --config configs/visualbert/tiny/pretrain.yaml --dataset coco_captions \
        --set regions.path="$SAMPLE_ROOT/X_COCO/data/detectron_fix_144" --annotations "$SAMPLE_ROOT/COCO" \
        --set tokenizer="$SAMPLE_ROOT/vocab.txt" --output_dir "$LOG_DIR" ${MODEL:+--model_name_or_path "$MODEL"} "$@"
    exit
fi

DATA_DIR=${DATA_DIR:-./X_COCO/}
ANNOTATIONS=${ANNOTATIONS:-$DATASETS/COCOCaptions}
own_config "$@" || recipe_needs "Region features (144 x 1024) go to DATA_DIR/data/detectron_fix_144, annotations to ANNOTATIONS:
  python -m pyutils.data.prepare.datasets coco_captions downloads them (docs/datasets.md)." \
    "$DATA_DIR/data/detectron_fix_144" "$ANNOTATIONS/annotations"
recipe_launch run_pretrain.py pretrain_nlvr2_coco --set "regions.path=${DATA_DIR%/}/data/detectron_fix_144" "$@"
