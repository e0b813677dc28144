# Sourced by the recipes of ALBEF after launch.sh; defines
#
#   albef_recipe NAME CONFIG LIST FOLDER ARGUMENTS…
#
# which trains run_NAME.py with configs/albef/CONFIG.yaml, or with configs/albef/tiny/NAME.yaml on synthetic scenes
# when DATA_DIR=sample (or DATA=sample, the older spelling). LIST: the file of data/albef that must exist. FOLDER: below
# ./output, for checkpoints and results.
# Relative paths in LOG_DIR, MODEL and the arguments are the caller's; with DATA_DIR=sample those of the arguments are
# relative to the repository, whose sample_data and output are used.

SAMPLE_WORLD=sample_data/world_small

albef_sample_data() {
    make_world "$SAMPLE_WORLD" 1 --colours 8 --sentences 6 --only vqa,nlvr2,refcoco+,snli-ve,retrieval
    "$PYTHON" -m albef_paddle.sample --world "$SAMPLE_WORLD"
}

# Trains what the tiny recipe NAME starts from, unless it is there; finishes it where it was interrupted. Of the arguments
# it gets those that every stage has: --seed, and --set of train.… and model.…:  albef_sample_start NAME ARGUMENTS…
albef_sample_start() {
    case $1 in
    pretrain) return 0 ;;
    nlvr)
        shift
        albef_sample_start ve "$@"
        set -- nlvr "$@"
        start_stage=ve
        ;;
    *) start_stage=pretrain ;;
    esac
    shift
    start=output/tiny_$start_stage
    if [ -e "$start/last" ] && ! grep -q '"finished": false' "$start/last/state.json" 2>/dev/null; then return 0; fi
    arguments_left=$#
    while [ "$arguments_left" -gt 0 ]; do
        case $1 in
        --set=train.* | --set=model.* | --seed=*) set -- "$@" "$1" ;;
        --set | --seed)
            case $1${2:-} in --settrain.* | --setmodel.* | --seed?*) set -- "$@" "$1" "$2" ;; esac
            if [ "$arguments_left" -gt 1 ]; then
                shift
                arguments_left=$((arguments_left - 1))
            fi
            ;;
        esac
        shift
        arguments_left=$((arguments_left - 1))
    done
    echo "$recipe: $start is not there, or not finished: training it first (minutes)${*:+, with $*}"
    launch "albef_paddle/run_$start_stage.py" --config "configs/albef/tiny/$start_stage.yaml" --resume auto "$@"
}

albef_recipe() {
    recipe=$(basename -- "$0") name=$1 config=$2 list=$3 folder=$4
    shift 4
    if [ -n "${MODEL:-}" ]; then
        [ ! -e "$MODEL" ] || MODEL=$(absolute "$MODEL")
        set -- --checkpoint "$MODEL" "$@"
    fi
    if [ "${DATA_DIR:-}" = sample ] || [ "${DATA:-}" = sample ]; then
        [ -z "${LOG_DIR:-}" ] || LOG_DIR=$(absolute "$LOG_DIR")
        albef_sample_data
        [ -n "${MODEL:-}" ] || albef_sample_start "$name" "$@"
        [ -z "${LOG_DIR:-}" ] || set -- --output_dir "$LOG_DIR" "$@"
        launch "albef_paddle/run_$name.py" --config "configs/albef/tiny/$name.yaml" "$@"
        return
    fi
    if own_config "$@" || [ -n "${CONFIG:-}" ]; then
        # Only the variables that the user set overrule the user's file.
        [ -z "${TEXT_ENCODER:-}" ] || set -- --text_encoder "$TEXT_ENCODER" "$@"
        [ -z "${LOG_DIR:-}" ] || set -- --output_dir "$LOG_DIR" "$@"
        launch "albef_paddle/run_$name.py" --config "${CONFIG:-$ROOT/configs/albef/$config.yaml}" "$@"
        return
    fi
    if [ ! -e "data/albef/$list" ]; then
        cat >&2 <<EOF
$recipe: data/albef/$list is missing below $PWD.
  Put the official files below data/ as docs/data_albef.md says and make the lists, in this folder:
    python -m pyutils.data.prepare
  To try the recipe without them, on synthetic scenes:  DATA_DIR=sample sh $ROOT/shell/$recipe
EOF
        exit 2
    fi
    launch "albef_paddle/run_$name.py" --config "$ROOT/configs/albef/$config.yaml" --output_dir "${LOG_DIR:-./output/$folder}" \
        --text_encoder "${TEXT_ENCODER:-bert-base-uncased}" "$@"
}
