#!/bin/sh
# Builds the reference firmware: natively always, and for the emulated board where QEMU and the cross compiler are here.
# Writes which of the two the demo is to use into the file BOARD: "emulated" or "native".
#
# usage: firmware.sh BOARD LOG
set -eu

here=$(cd "$(dirname "$0")" && pwd)
board=$1
log=$2
unset MAKEFLAGS MFLAGS MAKELEVEL || true # a make of its own, with its own jobs

run() { make -s -C "$here/../fixtures/firmware" "$@"; }

build() {
    run -q "$1" 2>/dev/null && return
    echo "setup: building the firmware ($1)" >&2
    run -j"$(nproc)" "$1" >"$log" 2>&1 && return
    tail -n 12 "$log" >&2
    echo "setup: the firmware's $1 build failed. The whole story is in $log" >&2
    exit 1
}

use() { [ "$(cat "$board" 2>/dev/null)" = "$1" ] || echo "$1" >"$board"; }

build native
if command -v qemu-system-arm >/dev/null && command -v arm-none-eabi-gcc >/dev/null; then
    build emulated
    use emulated
else
    echo "setup: no QEMU or no cross compiler here: the firmware's native build is used" >&2
    use native
fi
