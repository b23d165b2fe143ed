#!/bin/sh
# Installs the Debian packages of the two lists beside this script that are missing, from wherever this machine's own
# apt configuration says. It never changes that configuration, never asks a question, and does nothing when all is there.
#
# usage: packages.sh base|board LOG
# exit:  0 nothing is missing any more, 1 something is (the reason and the one command to run are on stderr)
set -eu

here=$(cd "$(dirname "$0")" && pwd)
list=$1
log=$2

names() { sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$here/packages-$1.txt"; }

missing() {
    for name in $(names "$1"); do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || printf ' %s' "$name"
    done
}

if ! command -v dpkg-query >/dev/null; then
    echo "setup: not a Debian machine: see to it that these are here:" $(names "$list") >&2
    exit 0
fi

wanted=$(missing "$list")
[ -n "$wanted" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    as_root="env"
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root="sudo -n env"
else
    echo "setup: Debian packages are missing and you are not root. Run this once, then the same command again:" >&2
    echo "    apt-get install --no-install-recommends$(missing base)$(missing board)" >&2
    exit 1
fi

# A half-finished apt run of another process is waited for; a prompt would hang a batch line, so there is none.
apt() { $as_root DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" >>"$log" 2>&1; }

echo "setup: installing Debian packages:$wanted" >&2
: >"$log"
# Lists may be old or none: an update that fails (no network) is no reason not to try what apt has.
apt update || echo "setup: apt-get update failed (see $log), going on with the lists at hand" >&2
if ! apt install -y --no-install-recommends $wanted; then
    tail -n 5 "$log" >&2
    echo "setup: could not install:$(missing "$list"). The whole story is in $log" >&2
    exit 1
fi
