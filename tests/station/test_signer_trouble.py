"""A signer that says it has trouble with its token: no batch begins with it, and nobody judges by its old counts."""

from __future__ import annotations

from typing import Any

import pytest

from hsm.signer import SignerStatus
from station.agreement import check_signer
from station.faults import LineStop


def test_a_signer_with_trouble_is_down() -> None:
    nothing: Any = None
    status = SignerStatus(
        role="factory", name="st-01", environment="demo", root_sha256="00" * 32, token_label="st-01", token_model="x",
        keys={}, signatures={}, resigned=0, trouble="token 'st-01' has not answered since 2026-01-31T12:00:00Z",
    )  # fmt: skip
    with pytest.raises(LineStop, match="has not answered since 2026") as told:
        check_signer(nothing, nothing, status)
    assert told.value.code == "signer-down"
