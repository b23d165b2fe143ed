"""A miniature factory over software tokens, new for each test, and real signer directories made by the product itself."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests import warm
from tests.hsm.floor import Floor, make_order
from tests.hsm.local_signer import Parties, make_parties
from tests.hsm.people_at_work import People, at_work
from tests.hsm.shim.shim import Shim, compiled


@pytest.fixture
def parties(tmp_path: Path) -> Parties:
    return make_parties(tmp_path)


@pytest.fixture
def floor(parties: Parties) -> Floor:
    return Floor(parties.trusted, make_order(parties.trusted), parties.factory, parties.cloud)


def make_signer_dir(directory: Path, role: str, name: str) -> Path:
    """`station-signer init` in a process of its own."""
    command = [sys.executable, "-m", "hsm", "init", "--dir", str(directory), "--role", role, "--name", name]
    warm.run(command, check=True, timeout=15)
    return directory


@pytest.fixture(scope="session")
def people_as_made(worker_dir: Path) -> Path:
    """A directory of people at work with their first root, as its commands made it."""
    place, kept = worker_dir / "people", worker_dir / "people.kept"
    place.mkdir()
    at_work(place).make_root()
    shutil.copytree(place, kept)
    return kept


@pytest.fixture
def people(worker_dir: Path, people_as_made: Path) -> People:
    """Two new signers, four people and their root: the same for each test, at the same place, as settings name it."""
    place = worker_dir / "people"
    shutil.rmtree(place)
    shutil.copytree(people_as_made, place)
    return People(place)


@pytest.fixture(scope="session")
def factory_dir(worker_dir: Path) -> Path:
    """A factory signer on SoftHSM that tests may use and must leave as it is."""
    return make_signer_dir(worker_dir / "factory", "factory", "st-01")


@pytest.fixture
def new_factory_dir(short_dir: Path) -> Path:
    """A factory signer on SoftHSM of the test's own."""
    return make_signer_dir(short_dir / "factory", "factory", "st-01")


@pytest.fixture(scope="session")
def shim_module(worker_dir: Path) -> Path:
    """The PKCS#11 module that misbehaves on request, compiled for this session."""
    if shutil.which("gcc") is None:
        pytest.skip("not installed: gcc")
    return compiled(worker_dir)


@pytest.fixture
def shim(shim_module: Path, short_dir: Path) -> Shim:
    """It, with a control file of the test's own."""
    return Shim.over(shim_module, short_dir / "shim.control")


@pytest.fixture
def shimmed_dir(new_factory_dir: Path, shim: Shim) -> Path:
    """A factory signer whose token is behind the shim."""
    shim.serve_by(new_factory_dir)
    return new_factory_dir
