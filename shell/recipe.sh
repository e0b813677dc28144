# Sourced by the recipe scripts after launch.sh: sample data in place of real ones, and what is missing.
# A script sets LOG_DIR before; it may be relative to the caller's folder.

DATASETS=${DATASETS:-$HOME/.paddlenlp/datasets}
recipe=$(basename -- "$0")
case $LOG_DIR in /*) ;; *) LOG_DIR=$PWD/$LOG_DIR ;; esac
if [ -n "${MODEL:-}" ] && [ -e "$MODEL" ]; then
    case $MODEL in /*) ;; *) MODEL=$PWD/$MODEL ;; esac
fi

# Whether DATA_DIR asks for the drawn world. Makes it in SAMPLE_ROOT with SAMPLE_SCENES pictures of each kind, of few
# shapes and colours, and goes to the repository, which the paths of configs/visualbert/tiny are relative to.
SAMPLE_ROOT=${SAMPLE_ROOT:-sample_data/visualbert_world}
sample_world() {
    case ${DATA_DIR:-} in sample | sample-world) ;; *) return 1 ;; esac
    cd "$ROOT" || exit 2
    "$PYTHON" -m pyutils.sample world --output "$SAMPLE_ROOT" --scenes "${SAMPLE_SCENES:-1000}" \
        --shapes 3 --colours 4 --sentences 6 --only vqa,coco,nlvr2,vcr,entities || exit 2
}

# Ends the script with status 2 when one of the paths is not there:  recipe_needs "what they are" PATH…
recipe_needs() {
    needed_text=$1
    shift
    for needed in "$@"; do
        [ -e "$needed" ] && continue
        cat >&2 <<EOF
$recipe: $needed is missing.
  $needed_text
  To try the recipe on drawn pictures without them:  DATA_DIR=sample sh shell/$recipe
EOF
        exit 2
    done
}
