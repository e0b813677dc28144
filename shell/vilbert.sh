# Sourced by the vilbert-*.sh recipes.  vilbert_recipe SCRIPT RECIPE ARGUMENTS…
#   SCRIPT  of vilbert_paddle;  RECIPE  below configs/vilbert, and below configs/vilbert/tiny for synthetic scenes
# Settings come from the environment; further arguments go to the script.
#   CONFIG       another recipe; its paths are relative to the folder you are in
#   DATA_DIR     `sample` tries the recipe on synthetic scenes
#   SCENES       synthetic scenes per source (default 300; pre-training: five times as many)
#   MODEL        weights to start from, a path or a name such as vilbert-cc-6layer (default: those of the recipe)
#   LOG_DIR      checkpoints, logs, result files (default: output/ in the recipe)
#   GPUS, NPROC  devices, see shell/launch.sh
. "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/launch.sh"

FEATURES=resnet101_faster_rcnn_genome.lmdb  # how the recipes name their LMDBs: coco_$FEATURES
WEIGHTS=checkpoints/bert_base_6_layer_6_connect_freeze_0/paddle_model_8.pdparams  # of every recipe but pretrain

# Prints what training by configs/vilbert/$1.yaml reads besides weights; train-*.tar stands for one such file or more.
vilbert_files() {
    case $1 in
    vqa)
        for split in train2014 val2014; do
            echo "data/VQA/v2_OpenEnded_mscoco_${split}_questions.json data/VQA/v2_mscoco_${split}_annotations.json"
        done
        echo "data/VQA/cache/trainval_label2ans.json data/coco/coco_$FEATURES"
        ;;
    refcoco+)
        echo "data/referExpression/refcoco+/refs(unc).p data/referExpression/refcoco+/instances.json"
        echo "data/referExpression/refcoco+_$FEATURES data/referExpression/refcoco+_gt_$FEATURES"
        ;;
    retrieval)
        echo "data/flickr30k/dataset_flickr30k.json data/flickr30k/hard_negative.pkl"
        echo "data/flickr30k/flickr30k_$FEATURES"
        ;;
    nlvr2) echo "data/nlvr2/train.json data/nlvr2/dev.json data/nlvr2/nlvr2_$FEATURES" ;;
    ve)
        for split in train dev; do echo "data/visual_entailment/snli_ve_$split.jsonl"; done
        echo "data/flickr30k/flickr30k_$FEATURES"
        ;;
    vcr) echo "data/VCR/train.jsonl data/VCR/val.jsonl data/VCR/VCR_$FEATURES data/VCR/VCR_gt_$FEATURES" ;;
    multitask) for member in vqa refcoco+ retrieval nlvr2 ve vcr; do vilbert_files "$member"; done ;;
    pretrain) echo "data/conceptual_captions/train-*.tar data/conceptual_captions/val-*.tar" ;;
    esac
}

# Ends the script with status 2 at the first of the paths that is not there:  vilbert_needs PATH…
vilbert_needs() {
    for needed in "$@"; do
        [ -e "$needed" ] && continue
        cat >&2 <<EOF
$(basename -- "$0"): $(absolute "$needed") is missing.
  Where it comes from, how to put it there and what to take instead:  $ROOT/docs/vilbert.md
  To try the recipe on synthetic scenes without it:  DATA_DIR=sample sh shell/$(basename -- "$0")
EOF
        exit 2
    done
}

# Makes the synthetic scenes that configs/vilbert/tiny/$1.yaml is for, and goes to the repository, which its paths are
# relative to.
vilbert_world() {
    make_world data/world 1 --colours 4 --sentences 6 --only vqa,nlvr2,refcoco+,snli-ve,retrieval,vcr
    [ "$1" != pretrain ] || make_world data/world_captions 5 --colours 4 --only concap
}

vilbert_recipe() {
    script=$1 recipe=$2
    shift 2
    arguments=$#
    [ -z "${LOG_DIR:-}" ] || set -- --output_dir "$(absolute "$LOG_DIR")" "$@"
    # A name of weights, which is no path, stays as it is.
    if [ -n "${MODEL:-}" ] && [ -e "$MODEL" ]; then MODEL=$(absolute "$MODEL"); fi
    [ -z "${MODEL:-}" ] || set -- --from_pretrained "$MODEL" "$@"
    if [ "${DATA_DIR:-}" = sample ]; then
        vilbert_world "$recipe"
        set -- --config "configs/vilbert/tiny/$recipe.yaml" "$@"
    else
        # What arguments change cannot be told here: then the script says what is missing.
        if [ "$arguments" -eq 0 ] && [ -z "${CONFIG:-}" ]; then
            # shellcheck disable=SC2046 # several paths, without spaces, and patterns
            vilbert_needs $(vilbert_files "$recipe")
            [ -n "${MODEL:-}" ] || [ "$recipe" = pretrain ] || vilbert_needs "$WEIGHTS"
        fi
        set -- --config "${CONFIG:-$ROOT/configs/vilbert/$recipe.yaml}" "$@"
    fi
    launch "vilbert_paddle/$script" "$@"
}
