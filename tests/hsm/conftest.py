"""A miniature factory over software tokens, new for each test, and real signer directories made by the product itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.hsm.floor import Floor, make_order
from tests.hsm.local_signer import Parties, make_parties


@pytest.fixture
def parties(tmp_path: Path) -> Parties:
    return make_parties(tmp_path)


@pytest.fixture
def floor(parties: Parties) -> Floor:
    return Floor(parties.trusted, make_order(parties.trusted), parties.factory, parties.cloud)


def make_signer_dir(directory: Path, role: str, name: str) -> Path:
    """`station-signer init` in a process of its own."""
    command = [sys.executable, "-m", "hsm", "init", "--dir", str(directory), "--role", role, "--name", name]
    subprocess.run(command, check=True, capture_output=True, timeout=15)
    return directory


@pytest.fixture(scope="session")
def factory_dir(worker_dir: Path) -> Path:
    """A factory signer on SoftHSM that tests may use and must leave as it is."""
    return make_signer_dir(worker_dir / "factory", "factory", "st-01")


@pytest.fixture
def new_factory_dir(short_dir: Path) -> Path:
    """A factory signer on SoftHSM of the test's own."""
    return make_signer_dir(short_dir / "factory", "factory", "st-01")
