#!/bin/sh
# Fine-tune VisualBERT on VQA v2. Settings come from the environment; further arguments go to run_vqa2.py.
#   DATA_DIR     holds data/detectron_fix_100 (default ./X_COCO/); `sample` tries the recipe on easy-VQA,
#                `sample-world` on synthetic scenes
#   SCENES       synthetic scenes per source of the sample (default 300)
#   ANNOTATIONS  holds annotations/ and extras/vocabs/ (default ~/.paddlenlp/datasets/VQA2)
#   MODEL        weights to start from (default visualbert-vqa-pre)
#   LOG_DIR      checkpoints, logs, <split>/result.json (default ./logs/vqa)
#   GPUS, NPROC  devices, see shell/launch.sh
set -e
. "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/launch.sh"
DEFAULT_LOG_DIR=./logs/vqa
. "$ROOT/shell/recipe.sh"

if [ "${DATA_DIR:-}" = sample ]; then
    cd "$ROOT"
    "$PYTHON" -m pyutils.sample easy-vqa --output sample_data/easy_vqa
    launch visualbert_paddle/run_vqa2.py --config configs/visualbert/tiny/easy_vqa.yaml --output_dir "$LOG_DIR" "$@"
    exit
fi
if sample_world; then
    launch visualbert_paddle/run_vqa2.py --config configs/visualbert/tiny/world_vqa.yaml \
        --input_dir "$SAMPLE_ROOT/X_COCO" --annotations "$SAMPLE_ROOT/VQA2" --set tokenizer="$SAMPLE_ROOT/vocab.txt" \
        --output_dir "$LOG_DIR" ${MODEL:+--model_name_or_path "$MODEL"} "$@"
    exit
fi

DATA_DIR=${DATA_DIR:-./X_COCO/}
ANNOTATIONS=${ANNOTATIONS:-$DATASETS/VQA2}
own_config "$@" || recipe_needs "Region features (100 x 2048) go to DATA_DIR/data/detectron_fix_100, annotations to ANNOTATIONS (docs/datasets.md)." \
    "$DATA_DIR/data/detectron_fix_100" "$ANNOTATIONS/annotations" "$ANNOTATIONS/extras/vocabs"
recipe_launch run_vqa2.py vqa2 --input_dir "$DATA_DIR" "$@"
