#!/bin/sh
# menu.py -> build/menu-copy.wasm; componentize-py lives in build/venv.
set -eu
cd "$(dirname "$0")"
if ! cmp -s requirements.txt build/venv/installed.txt; then
    python3 -m venv --clear build/venv
    build/venv/bin/pip install --quiet -r requirements.txt
    cp requirements.txt build/venv/installed.txt
fi
build/venv/bin/componentize-py -d ../../../wit -d world.wit -w example:menu/copy \
    componentize menu -o build/menu-copy.wasm
