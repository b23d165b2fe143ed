"""Each import contract refuses what it is there to refuse: a planted import breaks it, and the plain tree breaks none.

That the real tree keeps all of them is `make lint`'s business; here each contract shows that it can fail.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.imports.tree import TOP, paths

# contract → the module that gets the line, and the line; a module that is not there is made
PLANTS = {
    "trust-alone": ("trust/planted.py", "import station.events"),
    "trust-pure": ("trust/planted.py", "import socket"),
    "given-alone": ("given/planted.py", "import trust.root"),
    "ledger-trust": ("ledger/planted.py", "import hsm.signer"),
    "hsm-trust": ("hsm/planted.py", "from ledger import append"),
    "fixtures-alone": ("fixtures/planted.py", "from station import events"),
    "fixtures-trust": ("fixtures/planted.py", "import trust.order"),
    "floor-and-cloud": ("station/planted.py", "import registry.tables"),
    "signer-door": ("registry/planted.py", "import hsm.purposes"),
    "signer-process": ("hsm/signer.py", "import hsm.policy"),
    "device-service-apart": ("registry/routes/planted.py", "from registry.device_service.relay.desk import Desk"),
    "serves-only": ("hsm/roots.py", "from hsm.token.pkcs11 import making"),
    "screens": ("station/cli/planted.py", "def run():\n    from station.provision import Provisioning"),
    "screens-on-top": ("station/readiness.py", "from station.cli.output import note"),
    "one-builder": ("station/floor.py", "import station.cloud.http"),
    "audit-unasked": ("station/checks.py", "from station.audit import closing"),
    "audit-own-rules": ("station/jobs/leaf.py", "from trust import signed"),
    "one-builder-parties": ("station/readiness.py", "from hsm.client import SignerClient"),
    "one-bench": ("station/planted.py", "import fixtures.families.smp.driver"),
    "driver-not-emulated": ("fixtures/families/smp/frame.py", "import fixtures.families.smp.emulated.receiver"),
    "emulated-own-codec": ("fixtures/families/smp/emulated/planted.py", "from fixtures.families.smp import frame"),
    "library-pkcs11": ("hsm/planted.py", "import pkcs11"),
    "library-serial": ("fixtures/planted.py", "import serial.tools"),
    "library-sqlalchemy": ("station/planted.py", "from sqlalchemy import select"),
    "library-sqlite3": ("registry/planted.py", "import sqlite3"),
    "library-http-client": ("registry/planted.py", "import httpx2"),
    "library-http-server": ("station/planted.py", "from uvicorn import Server"),
    "library-argon2": ("registry/planted.py", "from argon2 import PasswordHasher"),
    "verifiers-apart": ("hsm/planted.py", "import trust.verifier"),
    "library-otp": ("station/planted.py", "import pyotp"),
    "library-coap": ("registry/device_service/tcp/planted.py", "import aiocoap"),
    "library-prometheus": ("station/planted.py", "import prometheus_client"),
    "library-ctypes": ("registry/device_service/udp/planted.py", "from ctypes import CDLL"),
    "library-terminal": ("station/planted.py", "import rich.table"),
    "library-smp": ("fixtures/families/smp/planted.py", "from smp import packet"),
}

CONTRACTS = {
    each["id"]: each["name"]
    for each in tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The product's sources, alone in a directory."""
    top = tmp_path_factory.mktemp("tree")
    for path in paths():
        copied = top / path.relative_to(TOP)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copied)
    shutil.copyfile(TOP / "pyproject.toml", top / "pyproject.toml")
    return top


@pytest.fixture
def planted(copy: Path, contract: str) -> Iterator[Path]:
    """The copy with the contract's violation in it, and without it again afterwards."""
    name, line = PLANTS[contract]
    path = copy / name
    before = path.read_text() if path.exists() else None
    path.write_text(f"{before or ''}\n{line}\n")
    yield copy
    if before is None:
        path.unlink()
    else:
        path.write_text(before)


def broken(top: Path) -> set[str]:
    """Names of the contracts that import-linter finds broken in the tree under `top`."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"]
    wide = {**os.environ, "COLUMNS": "400", "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=top, env=wide, capture_output=True, text=True, check=False)
    assert "Contracts: " in done.stdout, done.stdout + done.stderr
    verdicts = done.stdout[: done.stdout.index("Contracts: ")].splitlines()
    found = {line.partition(" BROKEN")[0] for line in verdicts if " BROKEN" in line}
    assert bool(found) == bool(done.returncode)
    return found


def test_every_contract_has_its_plant() -> None:
    assert set(PLANTS) == set(CONTRACTS)


def test_plain_tree_keeps_all(copy: Path) -> None:
    assert broken(copy) == set()


@pytest.mark.parametrize("contract", PLANTS)
def test_planted_import_breaks(contract: str, planted: Path) -> None:
    assert CONTRACTS[contract] in broken(planted)
