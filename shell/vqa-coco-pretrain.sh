#!/bin/sh
# Pre-train VisualBERT on COCO captions, on the regions of VQA. Settings come from the environment; further arguments go to
# run_pretrain.py.
#   DATA_DIR     holds data/detectron_fix_100 (default ./X_COCO/); `sample` tries the recipe on synthetic scenes
#   SCENES       synthetic scenes per source of the sample (default 300)
#   ANNOTATIONS  holds annotations/ (default ~/.paddlenlp/datasets/COCOCaptions)
#   MODEL        weights to start from (default visualbert-vqa-coco-pre)
#   LOG_DIR      checkpoints and logs (default ./logs/vqa-coco-pre)
#   GPUS, NPROC  devices, see shell/launch.sh
set -e
. "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/launch.sh"
DEFAULT_LOG_DIR=./logs/vqa-coco-pre
. "$ROOT/shell/recipe.sh"

if sample_world; then
    launch visualbert_paddle/run_pretrain.py --config configs/visualbert/tiny/pretrain.yaml --dataset coco_captions \
        --set regions.path="$SAMPLE_ROOT/X_COCO/data/detectron_fix_100" --annotations "$SAMPLE_ROOT/COCO" \
        --set tokenizer="$SAMPLE_ROOT/vocab.txt" --output_dir "$LOG_DIR" ${MODEL:+--model_name_or_path "$MODEL"} "$@"
    exit
fi

DATA_DIR=${DATA_DIR:-./X_COCO/}
ANNOTATIONS=${ANNOTATIONS:-$DATASETS/COCOCaptions}
own_config "$@" || recipe_needs "Region features (100 x 2048) go to DATA_DIR/data/detectron_fix_100, annotations to ANNOTATIONS:
  python -m pyutils.data.prepare.datasets coco_captions downloads them (docs/datasets.md)." \
    "$DATA_DIR/data/detectron_fix_100" "$ANNOTATIONS/annotations"
recipe_launch run_pretrain.py pretrain_vqa_coco --input_dir "$DATA_DIR" "$@"
