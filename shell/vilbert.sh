# Sourced by the vilbert-*.sh recipes.  vilbert_recipe SCRIPT RECIPE "NEEDED PATHS" ARGUMENTS…
#   SCRIPT  of vilbert_paddle;  RECIPE  below configs/vilbert, and below configs/vilbert/tiny for the drawn scenes
# Settings come from the environment; further arguments go to the script.
#   CONFIG       another recipe; its paths are relative to the folder you are in
#   DATA_DIR     `sample` tries the recipe on drawn scenes, SCENES of them (default 2000); pre-training on five times
#                as many captions
#   MODEL        weights to start from (default: those of the recipe)
#   LOG_DIR      checkpoints, logs, result files (default: output/ in the recipe)
#   GPUS, NPROC  devices, see shell/launch.sh
. "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/launch.sh"

FEATURES=resnet101_faster_rcnn_genome.lmdb  # how the recipes name their LMDBs: coco_$FEATURES
WEIGHTS=${MODEL:-checkpoints/bert_base_6_layer_6_connect_freeze_0/paddle_model_8.pdparams}

# $1 as a path that does not depend on the folder.
vilbert_absolute() {
    case $1 in /*) echo "$1" ;; *) echo "$PWD/$1" ;; esac
}

# Ends the script with status 2 at the first of the paths that is not there:  vilbert_needs PATH…
vilbert_needs() {
    for needed in "$@"; do
        [ -e "$needed" ] && continue
        cat >&2 <<EOF
$(basename -- "$0"): $PWD/$needed is missing.
  It goes there, or where CONFIG and the flags say (docs/datasets.md; bash download_dataset.sh --list).
  To try the recipe on drawn scenes without it:  DATA_DIR=sample sh shell/$(basename -- "$0")
EOF
        exit 2
    done
}

# Makes the drawn scenes that configs/vilbert/tiny/$1.yaml is for, and goes to the repository, which its paths are
# relative to.
vilbert_world() {
    cd "$ROOT"
    scenes=${SCENES:-2000}
    "$PYTHON" -m pyutils.sample world --output data/world --scenes "$scenes" --shapes 3 --colours 4 \
        --sentences 6 --only vqa,nlvr2,refcoco+,snli-ve,retrieval,vcr
    if [ "$1" = pretrain ]; then
        "$PYTHON" -m pyutils.sample world --output data/world_captions --scenes "$((5 * scenes))" --shapes 3 \
            --colours 4 --only concap
    fi
}

vilbert_recipe() {
    script=$1 recipe=$2 needed=$3
    shift 3
    [ -z "${LOG_DIR:-}" ] || set -- --output_dir "$(vilbert_absolute "$LOG_DIR")" "$@"
    # A name of weights, which is no path, stays as it is.
    if [ -n "${MODEL:-}" ] && [ -e "$MODEL" ]; then MODEL=$(vilbert_absolute "$MODEL"); fi
    [ -z "${MODEL:-}" ] || set -- --from_pretrained "$MODEL" "$@"
    if [ "${DATA_DIR:-}" = sample ]; then
        vilbert_world "$recipe"
        set -- --config "configs/vilbert/tiny/$recipe.yaml" "$@"
    else
        # What arguments change cannot be told here: then the script says what is missing.
        if [ $# -eq 0 ] && [ -z "${CONFIG:-}" ]; then
            # shellcheck disable=SC2086 # several paths, without spaces
            vilbert_needs $needed
        fi
        set -- --config "${CONFIG:-$ROOT/configs/vilbert/$recipe.yaml}" "$@"
    fi
    launch "vilbert_paddle/$script" "$@"
}
