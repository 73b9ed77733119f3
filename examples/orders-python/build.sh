#!/bin/sh
# orders.py -> build/orders-python.wasm; componentize-py lives in build/venv.
set -eu
cd "$(dirname "$0")"
if ! cmp -s requirements.txt build/venv/installed.txt; then
    python3 -m venv --clear build/venv
    build/venv/bin/pip install --quiet -r requirements.txt
    cp requirements.txt build/venv/installed.txt
fi
build/venv/bin/componentize-py -d ../../wit -w publishing-handler \
    componentize orders -o build/orders-python.wasm
