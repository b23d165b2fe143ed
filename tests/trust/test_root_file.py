"""A trust root by a careless or hostile hand ends in one named error that says what to do, never in a traceback."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trust.documents import ec_key, root, spki
from trust.dsse import Envelope, EnvelopeError, Signature
from trust.root import Root, RootError
from trust.root_file import ROOT_TYPE, parse, wrap

RIGHT = root()
WHOLE = wrap(RIGHT).to_json()
PAYLOAD: dict[str, Any] = msgspec.json.decode(wrap(RIGHT).payload)
RSA = spki(rsa.generate_private_key(65537, 2048))
P384 = spki(ec.generate_private_key(ec.SECP384R1()))
ED25519 = spki(ed25519.Ed25519PrivateKey.generate())


def told(error: RootError) -> str:
    said = str(error)
    assert said.isprintable()
    assert len(said) < 600
    assert "; give the root file that was made for this environment" in said
    return said


def refused(data: bytes) -> str:
    with pytest.raises(RootError) as caught:
        parse(data)
    return told(caught.value)


def enveloped(payload: object) -> bytes:
    return Envelope(msgspec.json.encode(payload, order="sorted"), ROOT_TYPE).to_json()


def with_station(**keys: bytes) -> Root:
    (name, right), *_ = RIGHT.stations.items()
    return msgspec.structs.replace(RIGHT, stations={name: msgspec.structs.replace(right, **keys)})


def test_the_right_file_is_taken() -> None:
    """Or the refusals below would prove nothing."""
    assert parse(WHOLE).root == RIGHT
    assert parse(b"\n" + WHOLE + b"\n") == parse(WHOLE)
    assert parse(enveloped(PAYLOAD)) == parse(WHOLE)


def test_a_log_key_may_be_of_either_kind() -> None:
    for key in (ED25519, spki(ec_key())):
        assert parse(wrap(with_station(log=key)).to_json()).root.stations["st-01"].log == key


@pytest.mark.parametrize("purpose", ["pin", "completion", "client", "account", "log"])
@pytest.mark.parametrize(
    "key", [b"", b"\x30\x00", b"\xff" * 91, RSA, P384, spki(ec_key()) + b"\0", ED25519[:-1]], ids=range(7)
)
def test_a_key_that_cannot_be_used_is_found_at_once(purpose: str, key: bytes) -> None:
    assert f"st-01's {purpose} key" in refused(wrap(with_station(**{purpose: key})).to_json())


def test_so_is_the_registrys() -> None:
    for key in (b"", RSA, ED25519):
        keys = msgspec.structs.replace(RIGHT.registry_keys, receipt=key)
        assert "receipt key" in refused(wrap(msgspec.structs.replace(RIGHT, registry_keys=keys)).to_json())


def test_so_is_a_certificate() -> None:
    for certificate in (b"no certificate", b"\x30\x00"):
        assert "tls_root" in refused(wrap(msgspec.structs.replace(RIGHT, tls_root=certificate)).to_json())


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://registry.example",
        "https://",
        "https://a b",
        "https://a\n",
        "https://\u202eelpmaxe",
        "file:///etc/passwd",
    ],
)
def test_an_address_that_is_none(url: str) -> None:
    assert "registry_url" in refused(enveloped({**PAYLOAD, "registry_url": url}))


@pytest.mark.parametrize("name", ["", "ST-01", "st 01", "st-01\n", "st/01", "st-\u0660", "\u202est", "a" * 65])
def test_a_station_whose_name_is_none(name: str) -> None:
    stations = {name: PAYLOAD["stations"]["st-01"]}
    assert "not a trust root" in refused(enveloped({**PAYLOAD, "stations": stations}))


# What stands for "none" or "nobody", and the one flag.
RIGHT_TOO = {
    ("stations", "{}"),
    ("approvers", "{}"),
    ("witnesses", "{}"),
    ("previous_sha256", "''"),
    ("soft_tokens", "True"),
}
WRONG = ["", 0, -1, 2**53, 2**63, 2**64, 1.5, None, True, [], {}, "\u202e", [[[]]], {"a": {"b": 1}}]


@pytest.mark.parametrize("value", WRONG, ids=repr)
@pytest.mark.parametrize("field", sorted(set(PAYLOAD) - {"tls_root"}))
def test_a_value_of_the_wrong_kind(field: str, value: object) -> None:
    if (field, repr(value)) in RIGHT_TOO:
        assert getattr(parse(enveloped({**PAYLOAD, field: value})).root, field) == value
        return
    assert "not a trust root" in refused(enveloped({**PAYLOAD, field: value}))


def nested(depth: int, opening: bytes, closing: bytes) -> bytes:
    return opening * depth + closing * depth


HOSTILE: list[tuple[str, Callable[[], bytes]]] = [
    ("empty", lambda: b""),
    ("ten megabytes", lambda: b" " * 10_000_000 + b"x" * 10_000_000),
    ("ten megabytes of JSON", lambda: b'"' + b"x" * 10_000_000 + b'"'),
    ("a NUL byte", lambda: WHOLE.replace(b"payload", b"pay\0oad")),
    ("not UTF-8", lambda: WHOLE.replace(b"payload", b"pay\xffoad")),
    ("UTF-16", lambda: WHOLE.decode().encode("utf-16")),
    ("lists in lists", lambda: nested(30_000, b"[", b"]")),
    ("objects in objects", lambda: nested(9_000, b'{"a":', b"}")),
    ("lists in the payload's place", lambda: b'{"payload":' + nested(15_000, b"[", b"]") + b"}"),
    ("lists in the payload", lambda: Envelope(nested(20_000, b"[", b"]"), ROOT_TYPE).to_json()),
    ("lists in a station", lambda: Envelope(
        wrap(RIGHT).payload.replace(b'"stations":{', b'"stations":{"a":' + nested(15_000, b"[", b"]") + b","), ROOT_TYPE
    ).to_json()),
    ("a huge number", lambda: Envelope(wrap(RIGHT).payload.replace(b'"version":1', b'"version":' + b"9" * 5000), ROOT_TYPE).to_json()),
    ("NaN", lambda: Envelope(wrap(RIGHT).payload.replace(b'"version":1', b'"version":NaN'), ROOT_TYPE).to_json()),
    ("a field twice", lambda: Envelope(wrap(RIGHT).payload.replace(b'"version":1', b'"version":1,"version":1'), ROOT_TYPE).to_json()),
    ("space in it", lambda: Envelope(wrap(RIGHT).payload.replace(b'"version":1', b'"version": 1'), ROOT_TYPE).to_json()),
    ("an unknown field", lambda: enveloped({**PAYLOAD, "\u202e\x1b[2J": 1})),
    ("another type", lambda: enveloped({**PAYLOAD, "type": "pin"})),
    ("another payload type", lambda: Envelope(wrap(RIGHT).payload, "text/plain").to_json()),
    ("another environment", lambda: enveloped({**PAYLOAD, "environment": "plant-a"})),
    ("signatures that nobody looks at", lambda: Envelope(wrap(RIGHT).payload, ROOT_TYPE, (Signature("a", b"b"),)).to_json()),
    ("bad base64", lambda: b'{"payload":"%%%","payloadType":"' + ROOT_TYPE.encode() + b'","signatures":[]}'),
]  # fmt: skip


@pytest.mark.parametrize("make", [each[1] for each in HOSTILE], ids=[each[0] for each in HOSTILE])
def test_a_hostile_file_is_refused_soon(make: Callable[[], bytes]) -> None:
    data, began = make(), time.process_time()
    refused(data)
    assert time.process_time() - began < 2


def test_an_envelope_of_deep_lists_is_no_envelope() -> None:
    for data in (nested(30_000, b"[", b"]"), b'{"payload":' + nested(15_000, b"[", b"]") + b"}"):
        with pytest.raises(EnvelopeError):
            Envelope.from_json(data)


def taken_or_refused(data: bytes) -> None:
    try:
        found = parse(data)
    except RootError as error:
        told(error)
    else:
        assert found.root.environment == "demo"
        assert enveloped(msgspec.to_builtins(found.root)) == data.strip()


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_whatever_bytes_are_put_into_a_right_file(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from([WHOLE, base64.b64decode(msgspec.json.decode(WHOLE)["payload"])]))
    at = data.draw(st.integers(0, len(whole)))
    changed = whole[:at] + data.draw(st.binary(max_size=8)) + whole[at + data.draw(st.integers(0, 8)) :]
    taken_or_refused(changed if whole is WHOLE else Envelope(changed, ROOT_TYPE).to_json())


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(field=st.one_of(st.sampled_from(sorted(PAYLOAD)), st.text(max_size=12)), value=JSON)
def test_whatever_a_field_holds(field: str, value: object) -> None:
    taken_or_refused(enveloped({**PAYLOAD, field: value}))


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300))
def test_whatever_the_file_holds(data: bytes) -> None:
    taken_or_refused(data)
    taken_or_refused(Envelope(data, ROOT_TYPE).to_json())
