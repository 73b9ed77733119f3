#!/bin/sh
# history.c -> build/profile-history.wasm, with the WASI SDK ($WASI_SDK_PATH) or Debian's clang-22;
# `tools` writes the bindings. json.h is that of orders-c.
set -eu
cd "$(dirname "$0")"
mkdir -p build
cargo build --quiet --locked --manifest-path ../tools/Cargo.toml
../tools/target/debug/tools bind c build example:history/history ../../../wit world.wit

if [ -n "${WASI_SDK_PATH:-}" ]; then
    cc="$WASI_SDK_PATH/bin/clang --target=wasm32-wasip2"
elif command -v clang-22 >/dev/null; then
    # The linker that turns a module into a component comes with every Rust toolchain.
    ld=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin/wasm-component-ld
    cc="clang-22 --target=wasm32-wasi -Wno-deprecated -fuse-ld=$ld"
else
    echo "no compiler: set WASI_SDK_PATH, or" >&2
    echo "apt-get install --no-install-recommends clang-22 lld-22 libclang-rt-22-dev-wasm32 wasi-libc" >&2
    exit 1
fi
$cc -mexec-model=reactor -std=c17 -Os -Wall -Wextra -Wno-unused-function -Wl,-s -Wl,-z,stack-size=65536 \
    -I../../orders-c history.c build/history.c build/history_component_type.o -o build/profile-history.wasm
