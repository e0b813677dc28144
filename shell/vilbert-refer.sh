#!/bin/sh
# Fine-tune ViLBERT on RefCOCO+. Settings come from the environment; further arguments go to run_refer.py.
#   DATA_DIR     holds refcoco+/ and the two LMDBs (default data/referExpression); `sample` tries the recipe
#   SCENES       synthetic scenes per source of the sample (default 300)
#   DATASET      refcoco, refcoco+ or refcocog (default refcoco+)
#   MODEL        weights to start from, a path or a name such as vilbert-cc-6layer
#                (default checkpoints/bert_base_6_layer_6_connect_freeze_0/paddle_model_8.pdparams)
#   LOG_DIR      checkpoints, logs, val/result.json (default checkpoints/DATASET_bert_base_6layer_6conect-pretrained)
#   GPUS, NPROC  devices, see shell/launch.sh
set -e
. "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/vilbert.sh"
[ -z "${LOG_DIR:-}" ] || LOG_DIR=$(absolute "$LOG_DIR")

case ${DATASET:-refcoco+} in
refcoco | refcoco+ | refcocog) ;;
*)
    echo "vilbert-refer.sh: DATASET: unknown data set '$DATASET'; give refcoco, refcoco+ or refcocog" >&2
    exit 2
    ;;
esac
if [ "${DATA_DIR:-}" = sample ]; then
    [ "${DATASET:-refcoco+}" = refcoco+ ] || {
        echo "vilbert-refer.sh: DATASET=$DATASET: the synthetic scenes are of refcoco+ only; leave DATASET out" >&2
        exit 2
    }
    vilbert_recipe run_refer.py refcoco+ "$@"
    exit
fi

if own_config "$@"; then
    # Only the variables that the user set overrule the user's file.
    [ -z "${LOG_DIR:-}" ] || set -- --output_dir "$LOG_DIR" "$@"
    [ -z "${MODEL:-}" ] || set -- --from_pretrained "$MODEL" "$@"
    [ -z "${DATA_DIR:-}" ] || set -- --data_dir "$DATA_DIR" "$@"
    [ -z "${DATASET:-}" ] || set -- --dataset "$DATASET" "$@"
    launch vilbert_paddle/run_refer.py "$@"
    exit
fi
DATASET=${DATASET:-refcoco+}
DATA_DIR=${DATA_DIR:-data/referExpression}
if [ $# -eq 0 ]; then
    case $DATASET in refcocog) refs='refs(umd).p' ;; *) refs='refs(unc).p' ;; esac
    vilbert_needs "$DATA_DIR/$DATASET/$refs" "$DATA_DIR/$DATASET/instances.json" \
        "$DATA_DIR/${DATASET}_$FEATURES" "$DATA_DIR/${DATASET}_gt_$FEATURES"
    [ -n "${MODEL:-}" ] || vilbert_needs "$WEIGHTS"
fi
launch vilbert_paddle/run_refer.py \
    --config "$ROOT/configs/vilbert/$DATASET.yaml" \
    --data_dir "$DATA_DIR" \
    --features "$DATA_DIR/${DATASET}_$FEATURES" \
    --gt_features "$DATA_DIR/${DATASET}_gt_$FEATURES" \
    --from_pretrained "${MODEL:-$WEIGHTS}" \
    --output_dir "${LOG_DIR:-checkpoints/${DATASET}_bert_base_6layer_6conect-pretrained}" \
    "$@"
