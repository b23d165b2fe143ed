"""The text types take what they name and nothing beside: no newline at the end, no digits of other scripts."""

from __future__ import annotations

from typing import Any

import cbor2
import msgspec
import pytest

from fixtures.families.smp.emulated.requests import MalformedError, Prove, WriteAnchor, parse
from hsm.config import SignerConfig
from station.config import StationSettings
from trust.identity import DeviceId, IdentityError, JobId, parse_name
from trust.order import WorkOrder
from trust.statement import DeviceHex, Hex32, JobHex, MaybeHex32, Name, Utc

UTC = "2026-11-22T20:00:00"
GOOD: list[tuple[Any, str]] = [
    (Hex32, "0f" * 32),
    (MaybeHex32, "0f" * 32),
    (MaybeHex32, ""),
    (DeviceHex, "0f" * 12),
    (JobHex, "0f" * 16),
    (Name, "order-1"),
    (Name, "a"),
    (Name, "a" * 64),
    (Utc, f"{UTC}Z"),
    (Utc, f"{UTC}.123456Z"),
]


def other_digits(text: str) -> str:
    """The first digit in Arabic-Indic."""
    at = next(place for place, each in enumerate(text) if each.isdigit())
    return text[:at] + chr(0x0660 + int(text[at])) + text[at + 1 :]


@pytest.mark.parametrize(("kind", "text"), GOOD)
def test_the_right_form_is_taken(kind: Any, text: str) -> None:
    assert msgspec.json.decode(msgspec.json.encode(text), type=kind) == text


@pytest.mark.parametrize(("kind", "text"), GOOD)
def test_a_newline_at_either_end_is_refused(kind: Any, text: str) -> None:
    for wrong in (f"{text}\n", f"\n{text}", f"{text}\r\n", f"{text}\n{text}", f"{text} ", f"{text}\0"):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(msgspec.json.encode(wrong), type=kind)


@pytest.mark.parametrize(("kind", "text"), [each for each in GOOD if any(char.isdigit() for char in each[1])])
def test_digits_of_another_script_are_refused(kind: Any, text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(other_digits(text)), type=kind)


def test_every_digit_of_a_time_is_an_ascii_digit() -> None:
    whole = f"{UTC}.1Z"
    for at, char in enumerate(whole):
        if char.isdigit():
            wrong = f"{whole[:at]}{chr(0x0660 + int(char))}{whole[at + 1 :]}"
            with pytest.raises(msgspec.ValidationError):
                msgspec.json.decode(msgspec.json.encode(wrong), type=Utc)


@pytest.mark.parametrize(
    ("struct", "field", "good"),
    [
        (WorkOrder, "host", "cloud.example"),
        (WorkOrder, "order_id", "order-1"),
        (WorkOrder, "product", "lamp-1"),
        (StationSettings, "name", "st-01"),
        (StationSettings, "environment", "demo1"),
        (SignerConfig, "name", "st-01"),
        (SignerConfig, "environment", "demo1"),
    ],
)
def test_settings_and_orders_name_hosts_and_parties_in_ascii_on_one_line(struct: Any, field: str, good: str) -> None:
    kind = next(each.type for each in msgspec.inspect.type_info(struct).fields if each.name == field)  # type: ignore[attr-defined]
    assert kind.pattern.startswith(r"\A") and kind.pattern.endswith(r"\Z")
    declared = next(each.type for each in msgspec.structs.fields(struct) if each.name == field)
    assert msgspec.convert(good, declared) == good
    for wrong in (f"{good}\n", f"\n{good}", good.replace(good[-1], "٣")):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, declared)


@pytest.mark.parametrize(("read", "good"), [(DeviceId.parse, "0f" * 12), (JobId.parse, "0f" * 16)])
def test_ids_are_read_from_hex_digits_only(read: Any, good: str) -> None:
    assert str(read(good)) == good
    for wrong in (f"{good}\n", other_digits(good)):
        with pytest.raises(IdentityError):
            read(wrong)


def test_names_have_no_newline_and_no_other_digits() -> None:
    assert parse_name("st-01", "station") == "st-01"
    for wrong in ("st-01\n", "st-\u06601", "st-\u0660"):
        with pytest.raises(IdentityError):
            parse_name(wrong, "station")


def test_the_emulated_device_takes_no_newline_either() -> None:
    prove, anchor = (
        {"ch": bytes(32), "ctx": "pin"},
        {"cloud": b"", "auth": b"", "svc": 1, "host": "h.example", "port": 1},
    )
    for kind, good, field in ((Prove, prove, "ctx"), (WriteAnchor, anchor, "host")):
        parse(cbor2.dumps(good), kind)
        with pytest.raises(MalformedError):
            parse(cbor2.dumps({**good, field: f"{good[field]}\n"}), kind)  # type: ignore[dict-item]
