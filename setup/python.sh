#!/bin/sh
# Makes the virtual environment anew with exactly what a lock file names. Every file is checked against the lock's
# hashes and no package is built here; where packages come from is this machine's own pip configuration, untouched.
#
# usage: python.sh PYTHON VENV LOG LOCK         a new environment with the lock's packages
#        python.sh PYTHON VENV LOG LOCK --add   the lock's packages into the environment that is there
#        python.sh PYTHON VENV LOG project      this project itself, editable
set -eu

python=$1
venv=$2
log=$3
what=$4

pip() {
    "$venv/bin/python" -m pip --no-input --disable-pip-version-check "$@" >"$log" 2>&1 && return
    grep -v '^WARNING: Location' "$log" | tail -n 8 >&2
    echo "setup: pip could not do it. The whole story is in $log; is the network there, is pip's configuration right?" >&2
    exit 1
}

# Without cached bytecode each start of each command is some 0.3 s slower, and where PYTHONDONTWRITEBYTECODE is set no run
# ever leaves any behind. So all of it is made here; what is there already (pip's) is only looked at. A file that is not
# for this Python is no reason to stop: whoever imports it will hear.
compile() {
    "$venv/bin/python" -m compileall -q -j 0 -x /firmware/ "$@" >>"$log" 2>&1 || echo "setup: not all of it compiles, see $log" >&2
}

if [ "$what" = project ]; then
    # compat: one plain path entry, where the default's import hook would cost every start of every command some ms
    pip install --no-deps --no-build-isolation --config-settings editable_mode=compat --editable .
    compile trust given ledger hsm fixtures station registry migrations
    exit 0
fi

if [ "${5-}" != --add ]; then
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "setup: Python 3.11 or newer is needed, this is $("$python" --version): make PYTHON=python3.11 …" >&2
        exit 1
    }
    "$python" -m venv --clear "$venv"
fi

echo "setup: installing the Python packages of $what" >&2
# --no-deps: the lock is complete, and pyproject.toml's override of one name (crcmod) is known to the lock alone.
pip install --require-hashes --only-binary :all: --no-deps -r "$what"
compile "$venv"/lib/python3*/site-packages
