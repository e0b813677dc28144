# Sourced, not run:  ROOT=<repository>; . "$ROOT/shell/env.sh"
# Puts a Python with everything installed into PYTHON. In this order: $PYTHON as given, the active virtual environment,
# or $VENV (default .venv in the repository), which is made when it is not there.
#
#   REQUIREMENTS   the requirements files to install, names in the repository (default requirements.txt)
#   PYTHON3        the Python that makes a new environment (default python3)
#
# Packages are installed only when the requirements files differ from those installed last (a stamp in the environment).

: "${ROOT:?set ROOT to the repository before sourcing shell/env.sh}"
REQUIREMENTS=${REQUIREMENTS:-requirements.txt}

env_fail() {
    echo "env.sh: $1" >&2
    exit 2
}

env_check_version() {
    "$1" -c 'import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null ||
        env_fail "$1 is $("$1" --version 2>&1 || echo missing); Paddle has builds for Python 3.9 to 3.13. Set PYTHON3=/path/to/python3"
}

if [ -n "${PYTHON:-}" ]; then
    env_managed=no
elif [ -n "${VIRTUAL_ENV:-}" ] && [ -z "${VENV:-}" ]; then
    PYTHON=$VIRTUAL_ENV/bin/python
    env_managed=yes
else
    VENV=${VENV:-$ROOT/.venv}
    PYTHON=$VENV/bin/python
    env_managed=yes
    if [ ! -x "$PYTHON" ]; then
        env_check_version "${PYTHON3:-python3}"
        echo "making the virtual environment $VENV"
        "${PYTHON3:-python3}" -m venv "$VENV" || env_fail "could not make the virtual environment $VENV; delete it, install the venv module, try again"
    fi
fi
env_check_version "$PYTHON"

if [ "$env_managed" = yes ]; then
    env_stamp=$("$PYTHON" -c 'import sys; print(sys.prefix)')/.installed-requirements
    env_state=$(
        cd "$ROOT" || exit 1
        echo "$ROOT" "$REQUIREMENTS"
        cat requirements*.txt constraints/*.txt pyproject.toml setup.py
    )
    env_state=$(printf '%s' "$env_state" | cksum)
    if [ "$(cat "$env_stamp" 2>/dev/null)" != "$env_state" ]; then
        "$PYTHON" -m pip --version >/dev/null 2>&1 ||
            env_fail "$PYTHON has no pip. Install it: $PYTHON -m ensurepip, or the system's python3-pip"
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
