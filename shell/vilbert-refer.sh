#!/bin/sh
# Fine-tune ViLBERT on RefCOCO+. Settings come from the environment; further arguments go to run_refer.py.
#   DATA_DIR     holds refcoco+/ and the two LMDBs (default data/referExpression); `sample` tries the recipe on drawings
#   DATASET      refcoco, refcoco+ or refcocog (default refcoco+)
#   MODEL        weights to start from (default checkpoints/bert_base_6_layer_6_connect_freeze_0/paddle_model_8.pdparams)
#   LOG_DIR      checkpoints, logs, val_result.json (default checkpoints/DATASET_bert_base_6layer_6conect-pretrained)
#   GPUS, NPROC  devices, see shell/launch.sh
set -e
. "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/vilbert.sh"
[ -z "${LOG_DIR:-}" ] || LOG_DIR=$(vilbert_absolute "$LOG_DIR")

if [ "${DATA_DIR:-}" = sample ]; then
    vilbert_world
    launch vilbert_paddle/run_refer.py --config configs/vilbert/tiny/refcoco+.yaml \
        --output_dir "${LOG_DIR:-output/vilbert_tiny_refcoco+}" "$@"
    exit
fi

DATASET=${DATASET:-refcoco+}
DATA_DIR=${DATA_DIR:-data/referExpression}
MODEL=$WEIGHTS
for needed in "$DATA_DIR/$DATASET" "$DATA_DIR/${DATASET}_$FEATURES" "$DATA_DIR/${DATASET}_gt_$FEATURES" "$MODEL"; do
    [ -e "$needed" ] && continue
    cat >&2 <<EOF
vilbert-refer.sh: $needed is missing.
  Expressions and LMDBs go to DATA_DIR (bash download_dataset.sh --list), weights to MODEL.
  To try the recipe on drawn scenes without them:  DATA_DIR=sample sh shell/vilbert-refer.sh
EOF
    exit 2
done
launch vilbert_paddle/run_refer.py \
    --config "$ROOT/configs/vilbert/$DATASET.yaml" \
    --data_dir "$DATA_DIR" \
    --features "$DATA_DIR/${DATASET}_$FEATURES" \
    --gt_features "$DATA_DIR/${DATASET}_gt_$FEATURES" \
    --from_pretrained "$MODEL" \
    --output_dir "${LOG_DIR:-checkpoints/${DATASET}_bert_base_6layer_6conect-pretrained}" \
    "$@"
