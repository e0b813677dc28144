#!/bin/sh
# VisualBERT's whole recipe: COCO pre-training, task pre-training, fine-tuning, each from the best of the one before.
#   sh shell/visualbert-chain.sh vqa|nlvr2 [arguments of every stage]
#   DATA_DIR   region features, as the stages have it; `sample` tries the chain on synthetic scenes
#   SCENES     synthetic scenes per source of the sample (default 300)
#   COCO_DIR   those of COCO pre-training (default ./X_COCO/)
#   MODEL      weights to start from (default bert-base-uncased; on the sample: none)
#   LOG_DIR    the stages go to LOG_DIR/{coco-pre,pre,finetune} (default ./logs/chain-vqa or ./logs/chain-nlvr2)
# A chain that was interrupted goes on where it stopped when it is called again.
set -e
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/launch.sh"
task=${1:-}
case $task in
vqa | nlvr2) shift ;;
*)
    echo "visualbert-chain.sh: name the task first: sh visualbert-chain.sh vqa|nlvr2" >&2
    exit 2
    ;;
esac
refuse_in_chain "LOG_DIR sets the folder, MODEL where the first stage starts." "$@"
LOG_DIR=${LOG_DIR:-./logs/chain-$task}
LOG_DIR=$(absolute "$LOG_DIR")
case ${DATA_DIR:-} in
sample | sample-world)
    DATA_DIR=sample-world
    COCO_DIR=sample-world
    ;;
*) MODEL=${MODEL:-bert-base-uncased} ;;
esac
[ -z "${DATA_DIR:-}" ] || export DATA_DIR

run_stage() {
    stage=$1 script=$2 model=$3
    shift 3
    echo "== $stage"
    MODEL=$model LOG_DIR=$LOG_DIR/$stage sh "$here/$script" --resume auto "$@"
}
DATA_DIR=${COCO_DIR:-./X_COCO/} run_stage coco-pre "$task-coco-pretrain.sh" "${MODEL:-}" "$@"
check_start "$LOG_DIR/pre" "$LOG_DIR/coco-pre/best"
run_stage pre "$task-pretrain.sh" "$LOG_DIR/coco-pre/best" "$@"
check_start "$LOG_DIR/finetune" "$LOG_DIR/pre/best"
run_stage finetune "$task-finetune.sh" "$LOG_DIR/pre/best" "$@"
