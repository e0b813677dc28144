# Sourced by the recipe scripts; defines ROOT, `absolute`, `make_world` and `launch SCRIPT ARGUMENTS…`. SCRIPT is relative to the
# repository.
#
#   . "$(dirname "$0")/launch.sh"
#   launch visualbert_paddle/run_vqa2.py --output_dir "$LOG_DIR" "$@"
#
# Devices, from the environment:
#   GPUS=0,1    these GPUs, one process each; GPUS=0 one of them; GPUS= (empty) none: the CPU
#   NPROC=2     two processes on the CPU, on a machine without GPUs
#   nothing     all GPUs that Paddle finds, else one process on the CPU
#   PYTHON      the Python to use (else the active environment, .venv in the repository, python3)
# Paths in the arguments are relative to the caller's folder.

launch_script=$0
case $launch_script in */*) ;; *) launch_script=$(command -v -- "$0" || echo "./$0") ;; esac
ROOT=${ROOT:-$(CDPATH='' cd -- "$(dirname -- "$launch_script")/.." && pwd)}
[ -f "$ROOT/shell/launch.sh" ] || {
    echo "launch.sh: $ROOT is not the repository; run the script from shell/, or set ROOT" >&2
    exit 2
}

if [ -z "${PYTHON:-}" ]; then
    if [ -n "${VIRTUAL_ENV:-}" ]; then
        PYTHON=$VIRTUAL_ENV/bin/python
    elif [ -x "$ROOT/.venv/bin/python" ]; then
        PYTHON=$ROOT/.venv/bin/python
    else
        PYTHON=python3
    fi
fi

# Prints "0,1,…", the GPUs that Paddle can use, by the numbers of CUDA_VISIBLE_DEVICES where that is set; nothing without
# one.
launch_find_gpus() {
    GLOG_v=0 "$PYTHON" -W ignore -c '
import sys
sys.path[:] = [folder for folder in sys.path if folder]  # not the folder of the caller, which may hold a paddle.py
import os, paddle
count = paddle.device.cuda.device_count() if paddle.device.is_compiled_with_cuda() else 0
visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
print(visible if count else "")' 2>/dev/null | tail -n 1
}

# Prints the path $1 as one that does not depend on the folder.
absolute() {
    case $1 in /*) printf '%s\n' "$1" ;; *) printf '%s\n' "$PWD/$1" ;; esac
}

# True where the arguments hold --config:  own_config ARGUMENTS…
own_config() {
    for argument in "$@"; do
        case $argument in --config | --config=*) return 0 ;; esac
    done
    return 1
}

# For scripts that chain stages. Ends the script with status 2 where an argument, which every stage gets, would make one
# stage read other weights than the one before wrote:  refuse_in_chain "HINT" ARGUMENTS…
refuse_in_chain() {
    chain_hint=$1
    shift
    for argument in "$@"; do
        case $argument in
        --output_dir | --output_dir=* | output_dir=* | --set=output_dir=* | init=* | --set=init=* | --evaluate | \
            --resume | --resume=* | --checkpoint | --checkpoint=* | --model_name_or_path | --model_name_or_path=*)
            echo "$(basename -- "$0"): $argument is not for a chain of stages, which gives its own. $chain_hint" >&2
            exit 2
            ;;
        esac
    done
}

# Ends the script with status 2 where STAGE, a run's folder, was trained before the checkpoint folder that it starts from
# was written: what comes out of it would be of other weights.  check_start STAGE START
check_start() {
    [ -e "$1/last" ] && [ "$2" -nt "$1/last" ] || return 0
    echo "$(basename -- "$0"): $2 was written after $1, which was trained from other weights. Delete $1 to train it again" >&2
    exit 2
}

# Makes synthetic scenes in FOLDER, a path in the repository, unless they are there, and goes to the repository:
#   make_world FOLDER FACTOR ARGUMENTS…    FACTOR x SCENES per source (SCENES: default 300; at least 24)
make_world() {
    world=$1 factor=$2 scenes=${SCENES:-${SAMPLE_SCENES:-300}}
    shift 2
    # Before any arithmetic: the shell would execute the $(…) of an array index there.
    case $scenes in
    0* | *[!0-9]*)
        echo "$(basename -- "$0"): SCENES: expected a number of scenes such as 300, found '$scenes'" >&2
        exit 2
        ;;
    esac
    scenes=$((factor * scenes))
    cd "$ROOT" || exit 2
    echo "$(basename -- "$0"): $scenes synthetic scenes per source go to $world (SCENES sets the number; to change it, delete the folder)"
    "$PYTHON" -m pyutils.sample world --output "$world" --scenes "$scenes" --shapes 3 "$@" || exit 2
}

# Prints in one line which Python, Paddle and devices are used.
launch_say() {
    launch_paddle=$("$PYTHON" "$ROOT/shell/describe_python.py" 2>/dev/null) || launch_paddle="unknown Paddle"
    launch_where="the CPU"
    [ "${NPROC:-1}" -le 1 ] || launch_where="the CPU, $NPROC processes"
    [ -z "$launch_devices" ] || launch_where="GPU $launch_devices"
    echo "$(basename -- "$0"): $PYTHON, $launch_paddle, $launch_where" >&2
}

launch() {
    launch_target=$ROOT/$1
    shift
    [ -f "$launch_target" ] || {
        echo "launch.sh: no script $launch_target" >&2
        return 2
    }
    # Without an installation, the script's own folder is all that Python would search.
    PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH}
    export PYTHONPATH
    if [ -n "${NPROC:-}" ] && [ -z "${GPUS:-}" ]; then
        launch_devices=
    else
        launch_devices=${GPUS-$(launch_find_gpus)}
    fi
    case $launch_devices in
    *[!0-9,]* | ,* | *, | *,,*)
        echo "launch.sh: GPUS: expected numbers of GPUs as in GPUS=0,1 (empty: the CPU), found '$launch_devices'" >&2
        return 2
        ;;
    esac
    if [ -n "${GPUS:-}" ] && [ -z "$(launch_find_gpus)" ]; then
        echo "launch.sh: GPUS=$GPUS, but Paddle finds no GPU here; leave GPUS out for the CPU" >&2
        return 2
    fi
    launch_say
    case $launch_devices in
    *,*)
        "$PYTHON" "$ROOT/shell/run_module.py" paddle.distributed.launch --gpus "$launch_devices" --log_dir "${LAUNCH_LOG_DIR:-log}" \
            "$launch_target" "$@"
        ;;
    "")
        if [ "${NPROC:-1}" -gt 1 ]; then
            # Paddle's launcher stumbles over an empty list of devices.
            [ -n "${CUDA_VISIBLE_DEVICES:-}" ] || unset CUDA_VISIBLE_DEVICES
            "$PYTHON" "$ROOT/shell/run_module.py" paddle.distributed.launch --nproc_per_node "$NPROC" --log_dir "${LAUNCH_LOG_DIR:-log}" \
                "$launch_target" "$@"
        else
            # A build for GPUs would take them when they are there, whatever was asked for.
            CUDA_VISIBLE_DEVICES='' "$PYTHON" "$launch_target" "$@"
        fi
        ;;
    *)
        CUDA_VISIBLE_DEVICES=$launch_devices "$PYTHON" "$launch_target" "$@"
        ;;
    esac
}
