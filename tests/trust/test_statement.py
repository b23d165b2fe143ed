"""Statements in envelopes: of the kind that was asked for, in their one spelling, signed by the key that is trusted for it."""

from __future__ import annotations

import json

import msgspec
import pytest

from tests.registry.make import Device, World, ec_key, public, signed, world
from trust.dsse import Envelope
from trust.statement import Completion, PinStatement, Statement, StatementError, encode, envelope, read, verify


@pytest.fixture(scope="module")
def made() -> World:
    return world()


@pytest.fixture(scope="module")
def pin(made: World) -> Envelope:
    return made.pin(Device())


def test_a_right_one_is_read_and_verified(made: World, pin: Envelope) -> None:
    statement = read(pin, PinStatement)
    assert encode(statement) == pin.payload
    assert envelope(statement).same_statement(pin)
    assert verify(pin, PinStatement, public(made.stations["station-01"].pin)) == statement


def respelt(pin: Envelope, payload: bytes) -> Envelope:
    return msgspec.structs.replace(pin, payload=payload)


@pytest.mark.parametrize("kind", [Completion, PinStatement])
def test_another_kind_is_refused(pin: Envelope, kind: type[Statement]) -> None:
    as_another = Envelope(pin.payload, Completion.PAYLOAD_TYPE)
    with pytest.raises(StatementError):
        read(as_another, kind)
    with pytest.raises(StatementError, match="payload type"):
        read(as_another, PinStatement)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + b"\n",
        lambda text: text.replace(b":", b": ", 1),
        lambda text: text.replace(b'"v":1', b'"v":1,"v":1'),
        lambda text: text.replace(b"demo", b"\\u0064emo"),
        lambda text: json.dumps(dict(reversed(json.loads(text).items())), separators=(",", ":")).encode(),
    ],
    ids=["newline", "space", "a key twice", "escaped", "order"],
)
def test_another_spelling_is_refused(pin: Envelope, change) -> None:
    assert change(pin.payload) != pin.payload
    with pytest.raises(StatementError, match="canonical form"):
        read(respelt(pin, change(pin.payload)), PinStatement)


@pytest.mark.parametrize(
    "payload",
    [b"", b"{}", b"[" * 30_000, b"\xff", b'{"\x1b[2J":1}'],
    ids=["nothing", "empty", "nested", "no text", "control"],
)
def test_what_is_no_statement_is_refused_in_a_sentence(pin: Envelope, payload: bytes) -> None:
    with pytest.raises(StatementError, match="not a PinStatement: ") as caught:
        read(respelt(pin, payload), PinStatement)
    assert str(caught.value).isprintable()


def test_another_field_and_a_missing_one_are_refused(pin: Envelope) -> None:
    whole = json.loads(pin.payload)
    for wrong in (whole | {"x": 1}, {name: value for name, value in whole.items() if name != "job"}):
        with pytest.raises(StatementError, match="not a PinStatement: "):
            read(respelt(pin, json.dumps(wrong, separators=(",", ":"), sort_keys=True).encode()), PinStatement)


def test_only_the_trusted_key_makes_it_a_statement(made: World, pin: Envelope) -> None:
    station = made.stations["station-01"]
    for key in (station.completion, made.stations["station-02"].pin, ec_key()):
        with pytest.raises(StatementError, match="not signed by key"):
            verify(pin, PinStatement, public(key))
    with pytest.raises(StatementError, match="and by it alone"):
        verify(signed(read(pin, PinStatement), station.pin, station.completion), PinStatement, public(station.pin))
    with pytest.raises(StatementError, match="not signed by key"):
        verify(respelt(pin, pin.payload), PinStatement, public(ec_key()))
    unsigned = msgspec.structs.replace(pin, signatures=())
    with pytest.raises(StatementError, match="not signed by key"):
        verify(unsigned, PinStatement, public(station.pin))
