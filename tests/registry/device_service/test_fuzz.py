"""The parsers of both device services under mangled input: a slice of each; a million inputs each in `make soak`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from registry.device_service.coap import CoapError
from tests.registry.device_service import fuzzing
from tests.registry.device_service.fuzzing import campaign, targets

Record = Callable[[str, object], None]
NAMES = (
    "CoAP messages", "message 2", "TCP sessions", "UDP hellos", "UDP first flights", "UDP handshakes", "UDP records",
    "relay requests", "tunnel answers",
)  # fmt: skip


def play(name: str, inputs: int, seed: int, record_property: Record) -> None:
    played, seconds = campaign(dict(targets())[name], inputs=inputs, seed=seed)
    record_property("figures", f"fuzz {name}: {played} inputs, 0 uncaught, {seconds:.0f} s")


def test_all_are_here() -> None:
    assert [name for name, _ in targets()] == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_slice(name: str, record_property: Record) -> None:
    play(name, 600, 1, record_property)


def test_control_a_parser_that_lets_an_error_through_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    class OtherError(Exception):
        pass

    monkeypatch.setattr(fuzzing, "CoapError", OtherError)
    with pytest.raises(AssertionError, match="plays it again") as caught:
        campaign(fuzzing.coap_message, inputs=600, seed=1)
    assert isinstance(caught.value.__cause__, CoapError)


@pytest.mark.soak
@pytest.mark.parametrize("name", NAMES)
def test_a_million(name: str, record_property: Record) -> None:
    play(name, 1_000_000, 2, record_property)
