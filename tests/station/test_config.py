"""The station's settings: what a name may be is what statements take for one."""

from __future__ import annotations

from typing import get_args

import pytest

from station import config
from station.faults import SetupError
from tests.docs.pages import TOP
from trust.statement import Name


def test_a_name_is_what_statements_take() -> None:
    """Written twice, because the settings are read where cryptography must not be loaded."""
    (ours,), (theirs,) = get_args(config._Name)[1:], get_args(Name)[1:]
    assert ours.pattern == theirs.pattern


@pytest.mark.parametrize("field", ["name", "environment"])
def test_both_names_have_it(field: str) -> None:
    assert config.StationSettings.__annotations__[field] == "_Name"


@pytest.mark.parametrize(
    "proxy", ["127.0.0.1:3128", "proxy", "http://", "ftp://p:1", "http://[::1", "http://a b", "http://p:x"]
)
def test_a_proxy_that_is_none_is_named_with_its_form(tmp_path, proxy: str) -> None:
    text = (TOP / "config.example.toml").read_text()
    (tmp_path / "c.toml").write_text(text.replace('proxy = ""', f'proxy = "{proxy}"'))
    with pytest.raises(SetupError) as found:
        config.load(tmp_path / "c.toml")
    assert found.value.detail.startswith(f"{tmp_path / 'c.toml'}: registry.proxy: '{proxy}' is no address of a proxy")
    assert "its form is http://HOST:PORT" in found.value.detail


@pytest.mark.parametrize(
    "proxy", ["", "http://127.0.0.1:3128", "https://p.example", "http://me:secret@p.example:1/", "http://[::1]:3"]
)
def test_a_proxy_that_is_one_is_taken(tmp_path, proxy: str) -> None:
    text = (TOP / "config.example.toml").read_text()
    (tmp_path / "c.toml").write_text(text.replace('proxy = ""', f'proxy = "{proxy}"'))
    assert config.load(tmp_path / "c.toml")[0].registry.proxy == proxy
