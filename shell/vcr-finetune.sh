#!/bin/sh
# Fine-tune VisualBERT on VCR: Q→A and QA→R, then Q→AR of both. Settings come from the environment; further arguments go
# to run_vcr.py.
#   MODE         q_a or qa_r: train that one only (default both, then predict the validation split)
#   DATA_DIR     region features of the annotated boxes (default ./X_VCR/vcr_gt.lmdb); `sample` tries the recipe
#   SCENES       synthetic scenes per source of the sample (default 300)
#   ANNOTATIONS  holds {train,val,test}.jsonl and vcr1images/ (default ~/.paddlenlp/datasets/VCR)
#   MODEL        weights to start from (default visualbert-vcr-pre)
#   LOG_DIR      the two go to LOG_DIR/q_a and LOG_DIR/qa_r, predictions to LOG_DIR (default ./logs/vcr)
#   GPUS, NPROC  devices, see shell/launch.sh
set -e
. "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/launch.sh"
DEFAULT_LOG_DIR=./logs/vcr
. "$ROOT/shell/recipe.sh"

finetune() {
    mode=$1 config=$2
    shift 2
    if [ "$sample" = yes ]; then
        launch visualbert_paddle/run_vcr.py --config configs/visualbert/tiny/vcr.yaml --mode "$mode" \
            --regions "$SAMPLE_ROOT/lmdb/vcr_gt_array.lmdb" --annotations "$SAMPLE_ROOT" \
            --set tokenizer="$SAMPLE_ROOT/vocab.txt" --output_dir "$LOG_DIR/$mode" \
            ${MODEL:+--model_name_or_path "$MODEL"} "$@"
        return
    fi
    set -- --mode "$mode" "$@"
    ! own_config "$@" || set -- --output_dir "$LOG_DIR/$mode" "$@"
    LOG_DIR=$LOG_DIR/$mode recipe_launch run_vcr.py "$config" --regions "$DATA_DIR" "$@"
}

case ${MODE:-} in
"" | q_a | qa_r) ;;
*)
    echo "vcr-finetune.sh: MODE=$MODE: expected q_a or qa_r, or nothing for both" >&2
    exit 2
    ;;
esac
if [ -z "${MODE:-}" ]; then
    for argument in "$@"; do
        # Both trainings would write there, and neither to where the prediction reads.
        case $argument in
        --output_dir | --output_dir=* | output_dir=* | --set=output_dir=*)
            echo "vcr-finetune.sh: $argument is for one training; LOG_DIR sets the folder of both (or give MODE)" >&2
            exit 2
            ;;
        esac
    done
fi
sample=no
if sample_world; then
    sample=yes
else
    DATA_DIR=${DATA_DIR:-./X_VCR/vcr_gt.lmdb}
    ANNOTATIONS=${ANNOTATIONS:-$DATASETS/VCR}
    own_config "$@" || recipe_needs "Region features (512 numbers) are DATA_DIR, annotations and vcr1images/ go to ANNOTATIONS
  (docs/datasets.md; VCR asks you to accept its terms first)." "$DATA_DIR" "$ANNOTATIONS/train.jsonl" "$ANNOTATIONS/vcr1images"
fi
[ "${MODE:-q_a}" = qa_r ] || finetune q_a vcr "$@"
[ "${MODE:-qa_r}" = q_a ] || finetune qa_r vcr_rationale "$@"
if [ -z "${MODE:-}" ]; then
    launch visualbert_paddle/run_predict.py --checkpoint "$LOG_DIR/q_a" --rationale_checkpoint "$LOG_DIR/qa_r" \
        --split val --output_dir "$LOG_DIR"
fi
