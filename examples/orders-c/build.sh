#!/bin/sh
# orders.c -> build/orders-c.wasm, with wit-bindgen for the bindings and the WASI SDK
# ($WASI_SDK_PATH) or Debian's clang-22 for the rest.
set -eu
cd "$(dirname "$0")"
mkdir -p build

PATH="$PATH:$PWD/build/tools/bin"
if ! command -v wit-bindgen >/dev/null; then
    # A debug build: it takes a third of the time to make and runs for milliseconds.
    cargo install wit-bindgen-cli --version 0.63.0 --locked --debug \
        --no-default-features --features c --root build/tools
fi
wit-bindgen c ../../wit --world publishing-handler --out-dir build >/dev/null

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
$cc -mexec-model=reactor -std=c17 -Os -Wall -Wextra -Wl,-s -Wl,-z,stack-size=65536 \
    orders.c build/publishing_handler.c build/publishing_handler_component_type.o -o build/orders-c.wasm
