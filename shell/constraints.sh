#!/usr/bin/env bash
# Writes constraints/python<version>.txt: the newest versions, of dependencies of dependencies too, that
# requirements.txt and requirements-dev.txt allow on each supported Python:
#   bash shell/constraints.sh [3.9 …]
# Nothing is installed, and the Pythons themselves need not be present. Needs uv, which requirements-dev.txt installs.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"
command -v uv >/dev/null || {
    echo "constraints.sh: uv is missing; activate .venv, or: pip install uv" >&2
    exit 2
}
[ $# -gt 0 ] || set -- 3.9 3.10 3.11 3.12 3.13

unpinned=$(mktemp)
resolved=$(mktemp)
trap 'rm -f "$unpinned" "$resolved"' EXIT
# Relative paths in a requirements file start at its own folder.
sed -e '/^-c /d' -e "s|^-r |-r $ROOT/|" requirements.txt >"$unpinned"
for version in "$@"; do
    rm -f "$resolved" # else its versions are kept
    uv pip compile --quiet --no-header --no-annotate --python-version "$version" --output-file "$resolved" \
        "$unpinned" requirements-dev.txt
    {
        echo "# The tested versions on Python $version. Written by shell/constraints.sh."
        # Every line of requirements.txt is read on every Python; the marker keeps these to their own.
        sed "s|\$|; python_version == \"$version\"|" "$resolved"
    } >"constraints/python$version.txt"
    echo "constraints/python$version.txt: $(wc -l <"$resolved") packages"
done
