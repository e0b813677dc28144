# Sourced, not run:  ROOT=<repository>; . "$ROOT/shell/env.sh"
# Puts a Python with everything installed into PYTHON:
#
#   1. $PYTHON as given; nothing is installed
#   2. $VENV as given, or the .venv that an earlier call made in the repository
#   3. the running Python (virtual environment, conda, system, AI Studio) if `import paddle` works in it: its Paddle is
#      used, and only what is missing of requirements-core.txt is installed
#   4. the active virtual environment, else a new .venv in the repository, with Paddle for the CPU
#
#   REQUIREMENTS   the requirements files of 2 and 4, names in the repository (default requirements.txt)
#   ENV_EXTRAS     further requirements of 3, e.g. "easy-vqa==1.0 matplotlib"
#   OWN_PADDLE=no  leaves out 3
#   PYTHON3        the Python of 3 and 4 (default python3)
#
# Packages are installed only when the requirements files differ from those installed last (a stamp in the environment).

: "${ROOT:?set ROOT to the repository before sourcing shell/env.sh}"
REQUIREMENTS=${REQUIREMENTS:-requirements.txt}
# AI Studio keeps this directory between sessions, unlike its site-packages.
env_kept=${AISTUDIO_HOME:-/home/aistudio}/external-libraries

env_fail() {
    echo "env.sh: $1" >&2
    exit 2
}

env_check_version() {
    "$1" -c 'import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null ||
        env_fail "$1 is $("$1" --version 2>&1 || echo missing); Paddle has builds for Python 3.9 to 3.13. Set PYTHON3=/path/to/python3"
}

env_check_pip() {
    "$1" "$ROOT/shell/run_module.py" pip --version >/dev/null 2>&1 ||
        env_fail "$1 has no pip. Install it: $1 -m ensurepip, or the system's python3-pip"
}

env_stamp_of() { echo "$("$1" -c 'import sys; print(sys.prefix)')/.installed-requirements"; }

# True when Paddle works in a Python that this script has not filled itself.
env_has_paddle() {
    [ "${OWN_PADDLE:-yes}" = yes ] && command -v "$1" >/dev/null 2>&1 && [ ! -e "$(env_stamp_of "$1")" ] &&
        "$1" -W ignore -c 'import sys; sys.path[:] = [folder for folder in sys.path if folder]; import paddle; paddle.to_tensor([1.0])' >/dev/null 2>&1
}

# Installs into a Python with its own Paddle what it lacks:  env_add_missing PYTHON
env_add_missing() {
    if [ -d "${env_kept%/*}" ]; then
        PYTHONPATH=$env_kept${PYTHONPATH:+:$PYTHONPATH}
        export PYTHONPATH
    fi
    # shellcheck disable=SC2086 # several requirements, without spaces
    env_lacking=$("$1" "$ROOT/shell/missing_requirements.py" "$ROOT/requirements-core.txt" ${ENV_EXTRAS:-}) ||
        env_fail "$1 has no pip to compare packages with. Install it: $1 -m ensurepip, or the system's python3-pip"
    [ -n "$env_lacking" ] || return 0
    echo "installing into $1, beside its own Paddle: $env_lacking"
    env_python=$1
    if [ -d "${env_kept%/*}" ]; then set -- --target "$env_kept"; else set --; fi
    # shellcheck disable=SC2086
    "$env_python" "$ROOT/shell/run_module.py" pip install --quiet --disable-pip-version-check "$@" $env_lacking ||
        env_fail "pip could not install $env_lacking, for the reason above. OWN_PADDLE=no makes an environment of the suite's own"
}

env_active=${VIRTUAL_ENV:+$VIRTUAL_ENV/bin/python}
env_managed=yes
if [ -n "${PYTHON:-}" ]; then
    env_managed=no
elif [ -n "${VENV:-}" ] || { [ -z "$env_active" ] && [ -x "$ROOT/.venv/bin/python" ]; }; then
    PYTHON=${VENV:-$ROOT/.venv}/bin/python
elif env_has_paddle "${env_active:-${PYTHON3:-python3}}"; then
    PYTHON=$(command -v "${env_active:-${PYTHON3:-python3}}")
    env_managed=no
    env_check_version "$PYTHON"
    env_add_missing "$PYTHON"
else
    PYTHON=${env_active:-$ROOT/.venv/bin/python}
fi
if [ "$env_managed" = yes ] && [ ! -x "$PYTHON" ]; then
    env_folder=${PYTHON%/bin/python}
    env_check_version "${PYTHON3:-python3}"
    env_gpu=$(nvidia-smi -L 2>/dev/null | head -n 1) || env_gpu=
    if [ -n "$env_gpu" ]; then
        echo "env.sh: this machine has a GPU ($env_gpu), and no Python with Paddle was found. To use the GPU, install Paddle for CUDA:
  ${PYTHON3:-python3} -m pip install -r requirements-gpu.txt   (a newer build: docs/dependencies.md)
and run the command again. Going on with Paddle for the CPU." >&2
    fi
    echo "making the virtual environment $env_folder"
    "${PYTHON3:-python3}" "$ROOT/shell/run_module.py" venv "$env_folder" || env_fail "could not make the virtual environment $env_folder; delete it, install the venv module, try again"
fi
env_check_version "$PYTHON"

if [ "$env_managed" = yes ]; then
    env_stamp=$(env_stamp_of "$PYTHON")
    env_state=$(
        cd "$ROOT" || exit 1
        echo "$ROOT" "$REQUIREMENTS"
        cat requirements*.txt constraints/*.txt pyproject.toml setup.py
    )
    env_state=$(printf '%s' "$env_state" | cksum)
    if [ "$(cat "$env_stamp" 2>/dev/null)" != "$env_state" ]; then
        env_check_pip "$PYTHON"
        echo "installing $REQUIREMENTS"
        env_files=
        for env_file in $REQUIREMENTS; do
            env_files="$env_files -r $env_file"
        done
        # File names in REQUIREMENTS hold no spaces, so splitting env_files is meant.
        # shellcheck disable=SC2086
        (cd "$ROOT" && "$PYTHON" -m pip install --quiet --disable-pip-version-check $env_files) ||
            env_fail "pip could not install $REQUIREMENTS, for the reason above. Check the network and the free disk space, then run the command again"
        (cd "$ROOT" && "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-deps --editable .) ||
            env_fail "pip could not install the packages of $ROOT"
        printf '%s\n' "$env_state" >"$env_stamp"
    fi
fi
export PYTHON
