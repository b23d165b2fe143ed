"""A miniature factory over software tokens, new for each test."""

from __future__ import annotations

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
