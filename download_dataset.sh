#!/usr/bin/env bash
# Download data sets: bash download_dataset.sh [--list|--check] [SET[:PART] ...] [--root DIR]
# The work is done by the module pyutils.download; PYTHON names another interpreter.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
python="${PYTHON:-$(command -v python3 || command -v python)}"
PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}" exec "$python" "$here/shell/run_module.py" pyutils.download "$@"
