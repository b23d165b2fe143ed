"""The station's settings: what a name may be is what statements take for one."""

from __future__ import annotations

from typing import get_args

import pytest

from station import config
from trust.statement import Name


def test_a_name_is_what_statements_take() -> None:
    """Written twice, because the settings are read where cryptography must not be loaded."""
    (ours,), (theirs,) = get_args(config._Name)[1:], get_args(Name)[1:]
    assert ours.pattern == theirs.pattern


@pytest.mark.parametrize("field", ["name", "environment"])
def test_both_names_have_it(field: str) -> None:
    assert config.StationSettings.__annotations__[field] == "_Name"
