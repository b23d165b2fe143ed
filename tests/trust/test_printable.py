"""Foreign text on its way to people: nothing in it moves a cursor, begins a line or turns the reading direction."""

from __future__ import annotations

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from trust.dsse import Envelope, EnvelopeError
from trust.order import OrderError
from trust.order_file import from_toml
from trust.printable import printable
from trust.root import RootError
from trust.root_file import ROOT_TYPE, parse
from trust.statement import Event, StatementError, read

HOSTILE = "\x1b[2J\n\x00\u202e\x9b\r\u2028\ud800"


@pytest.mark.parametrize("each", HOSTILE)
def test_a_character_that_is_not_printable_becomes_one_dot(each: str) -> None:
    assert printable(f"a{each}b") == (f"a{each}b" if each in "[2J" else "a·b")


def test_ordinary_text_stays_and_long_text_is_cut() -> None:
    assert printable("Größe 3 µm · 名") == "Größe 3 µm · 名"
    assert (printable("abcd", 4), printable("abcde", 4), printable("a" * 9000)) == ("abcd", "abcd…", "a" * 9000)


def hostile_json() -> bytes:
    return msgspec.json.encode({HOSTILE[:-1]: 1})


def test_errors_about_foreign_bytes_are_printable() -> None:
    with pytest.raises(EnvelopeError) as envelope:
        Envelope.from_json(hostile_json())
    with pytest.raises(StatementError) as statement:
        read(Envelope(b'{"type":"event",' + hostile_json()[1:], Event.PAYLOAD_TYPE), Event)
    with pytest.raises(RootError) as trusted:
        parse(Envelope(b'{"type":"root",' + hostile_json()[1:], ROOT_TYPE).to_json())
    for error in (envelope, statement, trusted):
        assert "unknown field `·[2J·" in str(error.value), "the test must reach the quoted key"
        assert str(error.value).isprintable()


def test_errors_about_a_foreign_order_are_printable() -> None:
    point = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = point.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    text = f'"\\u001b[2J\\n\\u202e" = 1\ncloud_key = """{pem}"""\nauthority_key = """{pem}"""\n'
    with pytest.raises(OrderError) as error:
        from_toml(text, environment="demo", root_sha256="ab" * 32)
    assert "unknown field `·[2J··`" in str(error.value)
