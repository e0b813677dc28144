# Sourced by the recipe scripts after launch.sh: sample data in place of real ones, and what is missing.
# A script sets DEFAULT_LOG_DIR before. LOG_DIR may be relative to the caller's folder.

# What the user set; only this overrules a configuration file given with --config.
given_data=${DATA_DIR:-} given_annotations=${ANNOTATIONS:-} given_log=${LOG_DIR:-}
LOG_DIR=${LOG_DIR:-$DEFAULT_LOG_DIR}

DATASETS=${DATASETS:-$HOME/.paddlenlp/datasets}
recipe=$(basename -- "$0")
LOG_DIR=$(absolute "$LOG_DIR")
if [ -n "${MODEL:-}" ] && [ -e "$MODEL" ]; then MODEL=$(absolute "$MODEL"); fi

# True where DATA_DIR asks for synthetic scenes. Makes them in SAMPLE_ROOT, SCENES per source (default 300), and goes to
# the repository, which the paths of configs/visualbert/tiny are relative to.
SAMPLE_ROOT=${SAMPLE_ROOT:-sample_data/visualbert_world}
sample_world() {
    case ${DATA_DIR:-} in sample | sample-world) ;; *) return 1 ;; esac
    make_world "$SAMPLE_ROOT" 1 --colours 4 --sentences 6 --only vqa,coco,nlvr2,vcr,entities
}

# Ends the script with status 2 when one of the paths is not there:  recipe_needs "what they are" PATH…
recipe_needs() {
    needed_text=$1
    shift
    for needed in "$@"; do
        [ -e "$needed" ] && continue
        cat >&2 <<EOF
$recipe: $(echo "$needed" | tr -s /) is missing.
  $needed_text
  To try the recipe on generated data without them:  DATA_DIR=sample sh shell/$recipe
EOF
        exit 2
    done
}

# Runs SCRIPT of visualbert_paddle with configs/visualbert/RECIPE.yaml:  recipe_launch SCRIPT RECIPE FLAG REGIONS ARGUMENTS…
# FLAG REGIONS say where the region features are. With --config among the arguments, that file replaces the recipe, and
# only the environment variables that the user set are passed.
recipe_launch() {
    script=$1 recipe_file=$ROOT/configs/visualbert/$2.yaml flag=$3 regions=$4
    shift 4
    if own_config "$@"; then own=yes; else own=; fi
    [ -z "${MODEL:-}" ] || set -- --model_name_or_path "$MODEL" "$@"
    [ -n "$own" ] && [ -z "$given_log" ] || set -- --output_dir "$LOG_DIR" "$@"
    [ -n "$own" ] && [ -z "$given_annotations" ] || set -- --annotations "$ANNOTATIONS" "$@"
    [ -n "$own" ] && [ -z "$given_data" ] || set -- "$flag" "$regions" "$@"
    [ -n "$own" ] || set -- --config "$recipe_file" "$@"
    launch "visualbert_paddle/$script" "$@"
}
