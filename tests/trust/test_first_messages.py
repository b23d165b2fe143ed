"""The first messages of a kind, read by many threads at the same moment, as registry and signer do when they begin.

What is tried is the library that reads them: before 0.23 such a process died without a word.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

KINDS = 300
PROGRAM = f"""
import sys, threading, types
import msgspec
sys.setswitchinterval(1e-6)
FIELDS = [f"    f{{number}}: Annotated[str, msgspec.Meta(max_length=9)]" for number in range(10)]
SOURCE = "\\n".join([
    "from __future__ import annotations", "from typing import Annotated", "import msgspec",
    "class Inner(msgspec.Struct):", *FIELDS, "class Outer(msgspec.Struct):", "    inner: Inner", *FIELDS,
])
inner = {{f"f{{number}}": "x" for number in range(10)}}
message = msgspec.json.encode({{"inner": inner, **inner}})
read = []
for number in range({KINDS}):
    module = types.ModuleType(f"kind{{number}}")
    sys.modules[module.__name__] = module
    exec(SOURCE, module.__dict__)
    ready = threading.Barrier(4)
    def first(kind=module.Outer, ready=ready):
        ready.wait()
        read.append(msgspec.json.decode(message, type=kind))
    threads = [threading.Thread(target=first) for _ in range(4)]
    for each in threads: each.start()
    for each in threads: each.join()
print(len(read))
"""


@pytest.mark.timeout(60)
def test_a_process_survives_them() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stdout) == (0, f"{4 * KINDS}\n"), (done.returncode, done.stderr[-500:])
