"""The TCP service's protocol against a device in plain numbers, and against vectors: both key sizes, whatever is odd."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo
from hypothesis import given, settings
from hypothesis import strategies as st

from hsm.signer import SignerError, SignerUnavailableError
from registry.device_service.tcp.claim import Claim, ClaimError
from registry.device_service.tcp.credentials import Credentials
from registry.device_service.tcp.handshake import Accepted, Handshake, RefusedHandshakeError
from registry.device_service.tcp.numbers import FromDevice, FromService
from registry.device_service.tcp.session import MOST_BYTES, Session, SessionError
from tests.registry.device_service.oracle import OracleDevice, type_2
from tests.registry.device_service.seeded import Rsa, seeded, stream
from trust.codes import Code
from trust.dsse import Envelope
from trust.handshake import HandshakeReport
from trust.identity import DeviceId

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "tcp_service.json").read_text())
ID = bytes(range(12))


@dataclass(slots=True)
class Keys:
    """The signer's verbs over a key in plain numbers."""

    cloud: Rsa
    away: bool = False
    signed: int = 0

    def tcp_open(self, ciphertext: bytes, nonce: bytes) -> bytes:
        if self.away:
            raise SignerUnavailableError("planted")
        block = self.cloud.private(ciphertext)
        plain = block[block.find(0, 2) + 1 :]
        if block[:2] != b"\x00\x02" or len(plain) not in {52, 214} or plain[:40] != nonce:
            raise SignerError(Code.HANDSHAKE_REFUSED, "no")
        return plain[40:]

    def tcp_sign(self, mac: bytes) -> bytes:
        self.signed += 1
        return self.cloud.key.sign(mac, padding.PKCS1v15(), NoDigestInfo())

    def dtls_sign(self, digest: bytes) -> bytes:
        raise AssertionError("not of this service")

    def sign_handshake(self, report: HandshakeReport) -> Envelope:
        raise AssertionError("a session is not reported by itself")


@dataclass(slots=True)
class Pins:
    known: dict[DeviceId, bytes] = field(default_factory=dict)

    older: tuple[bytes, ...] = ()

    def keys_of(self, device: DeviceId) -> Sequence[bytes]:
        return (self.known[device], *self.older) if device in self.known else ()


@dataclass(slots=True)
class Case:
    """A device of one key size, pinned, and a service."""

    device: OracleDevice
    keys: Keys
    pins: Pins

    def accept(self, nonce: bytes | None = None) -> Accepted:
        handshake = Handshake.begin(self.keys, self.pins)
        return handshake.accept(self.device.message_2(handshake.nonce if nonce is None else nonce))

    def opened(self) -> tuple[Session, Accepted]:
        accepted = self.accept()
        self.device.read_3(accepted.message_3)
        return Session(accepted.credentials), accepted


@pytest.fixture(scope="module")
def rsa_keys() -> dict[str, Rsa]:
    return {
        name: seeded(name, bits) for name, bits in (("cloud", 2048), ("small", 1024), ("large", 2048), ("other", 1024))
    }


@pytest.fixture(params=["small", "large"])
def case(request: pytest.FixtureRequest, rsa_keys: dict[str, Rsa]) -> Case:
    own = rsa_keys[request.param]
    device = OracleDevice(own, rsa_keys["cloud"], ID, spki=own.spki if request.param == "small" else b"")
    return Case(device, Keys(rsa_keys["cloud"]), Pins({DeviceId(ID): own.spki}))


# ---- the handshake


def test_a_device_and_the_service_come_to_the_same_credentials(case: Case) -> None:
    session, accepted = case.opened()
    assert (accepted.device_id, accepted.spki) == (DeviceId(ID), case.device.own.spki)
    assert len(accepted.message_3) == case.device.own.size + 256
    assert (accepted.credentials.raw, accepted.credentials.first_id) == (case.device.credentials, case.device.first_id)
    assert session.feed(case.device.seal(b"hello")) == [b"hello"]
    assert case.device.open(session.seal(b"and you")) == b"and you"


def test_the_short_form_is_taken_of_a_small_key_too(case: Case) -> None:
    case.device.spki = b""
    assert case.accept().spki == case.device.own.spki


def test_an_older_key_that_is_still_good_is_taken_if_it_is_sent_along(case: Case, rsa_keys: dict[str, Rsa]) -> None:
    case.pins.older, case.pins.known[DeviceId(ID)] = (case.device.own.spki,), rsa_keys["other"].spki
    if case.device.spki:
        assert case.accept().spki == case.device.own.spki
    else:
        assert case.accept().spki == rsa_keys["other"].spki, "it does not say which"


def reason(case: Case, nonce: bytes | None = None) -> str:
    with pytest.raises(RefusedHandshakeError) as caught:
        case.accept(nonce)
    assert case.keys.signed == 0, "nothing is signed for it"
    return caught.value.reason


def test_what_is_refused_before_anything_is_signed(case: Case, rsa_keys: dict[str, Rsa]) -> None:
    assert reason(case, bytes(40)) == "not-opened"
    own, case.device.cloud = case.device.cloud, rsa_keys["large"]
    if case.device.own is not rsa_keys["large"]:
        assert reason(case) == "not-opened"
    case.device.cloud = own
    for nobody in (bytes(12), b"\xff" * 12):
        case.device.device_id = nobody
        assert reason(case) == "not-opened"
    case.device.device_id = b"\x01" * 12
    assert reason(case) == "not-pinned"
    case.device.device_id, case.device.spki = ID, rsa_keys["other"].spki
    assert reason(case) == "other-key"
    case.device.spki = b""
    case.pins.known[DeviceId(ID)] = bytes.fromhex(VECTORS["an EC key"])
    assert reason(case) == "other-key-type"


@pytest.mark.parametrize("size", [0, 255, 257, 512])
def test_a_message_of_another_size_is_refused(case: Case, size: int) -> None:
    with pytest.raises(RefusedHandshakeError, match="not-opened"):
        Handshake.begin(case.keys, case.pins).accept(bytes(size))


def test_a_signer_that_is_away_is_no_refusal(case: Case) -> None:
    case.keys.away = True
    with pytest.raises(SignerUnavailableError):
        case.accept()


def test_whoever_has_the_public_key_alone_reads_nothing(case: Case, rsa_keys: dict[str, Rsa]) -> None:
    """A device that claims another's id and key is answered, and cannot go on: no first message of it opens."""
    accepted = case.accept()
    thief = OracleDevice(rsa_keys["other"] if case.device.own.size == 128 else rsa_keys["cloud"], rsa_keys["cloud"], ID)
    with pytest.raises((AssertionError, ValueError)):
        thief.read_3(accepted.message_3)


def test_claims_have_two_lengths() -> None:
    for size in {*range(200)} - {12, 174}:
        with pytest.raises(ClaimError):
            Claim.parse(bytes(size))
    assert Claim.parse(ID + b"k" * 162) == Claim(DeviceId(ID), b"k" * 162)


# ---- vectors


@pytest.mark.parametrize("vector", VECTORS["handshakes"], ids=lambda each: each["name"])
def test_vectors_of_the_handshake(vector: dict[str, Any], rsa_keys: dict[str, Rsa]) -> None:
    own, cloud = rsa_keys[vector["device key"]], rsa_keys["cloud"]
    assert (own.spki.hex(), cloud.spki.hex()) == (vector["device spki"], vector["cloud spki"]), "keys of these seeds"
    nonce, message_2 = bytes.fromhex(vector["nonce"]), bytes.fromhex(vector["message 2"])
    device = OracleDevice(own, cloud, ID, filling=filling(vector["name"]), spki=own.spki if vector["with key"] else b"")
    assert device.message_2(nonce) == message_2
    randoms = iter([nonce, bytes.fromhex(vector["credentials"])])
    handshake = Handshake.begin(Keys(cloud), Pins({DeviceId(ID): own.spki}), lambda _: next(randoms))
    accepted = handshake.accept(message_2)
    assert accepted.credentials.raw.hex() == vector["credentials"]
    assert accepted.credentials.first_id == vector["first id"]
    device.read_3(bytes.fromhex(vector["message 3"]))
    assert device.credentials == accepted.credentials.raw
    assert len(accepted.message_3) == len(vector["message 3"]) // 2, "its padding is random: no two are alike"


def filling(name: str) -> bytes:
    return bytes(each for each in stream(f"{name} filling", 600) if each)


def test_vectors_of_the_session() -> None:
    session = Session(Credentials(bytes.fromhex(VECTORS["session"]["credentials"])))
    for each in VECTORS["session"]["frames"]:
        plain, frame = bytes.fromhex(each["plain"]), bytes.fromhex(each["frame"])
        if each["from"] == "device":
            assert session.feed(frame) == [plain]
        else:
            assert session.seal(plain) == frame


def test_the_vectors_are_what_openssl_makes_of_them() -> None:
    """Each frame by itself, the IVs chained as the protocol says."""
    raw = bytes.fromhex(VECTORS["session"]["credentials"])
    ivs = {"device": raw[16:32], "service": raw[16:32]}
    for each in VECTORS["session"]["frames"]:
        sealed = bytes.fromhex(each["frame"])[2:]
        words = ["-K", raw[:16].hex(), "-iv", ivs[each["from"]].hex()]
        done = subprocess.run(
            ["openssl", "enc", "-d", "-aes-128-cbc", *words], input=sealed, capture_output=True, check=True
        )
        assert done.stdout.hex() == each["plain"]
        ivs[each["from"]] = sealed[:16]


def test_control_with_the_last_block_as_next_iv_the_vectors_do_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """As CBC is chained elsewhere: right up to the first frame of more than one block."""

    class Chained(Session):
        def seal(self, message: bytes) -> bytes:
            frame = super().seal(message)
            self._sent = frame[-16:]
            return frame

    session = Chained(Credentials(bytes.fromhex(VECTORS["session"]["credentials"])))
    sent = [each for each in VECTORS["session"]["frames"] if each["from"] == "service"]
    same = [session.seal(bytes.fromhex(each["plain"])).hex() == each["frame"] for each in sent]
    assert same[0] and not all(same)


# ---- the session


def fresh() -> tuple[Session, OracleDevice]:
    raw = random.randbytes(40)
    device = OracleDevice(Rsa(3, 5), Rsa(3, 5), ID, credentials=raw, _sent=raw[16:32], _received=raw[16:32])
    return Session(Credentials(raw)), device


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_frames_come_out_as_they_went_in_however_they_are_cut(messages: list[bytes], dice: random.Random) -> None:
    session, device = fresh()
    data = b"".join(device.seal(each) for each in messages)
    cuts = sorted(dice.randrange(len(data)) for _ in range(5))
    pieces = [data[a:b] for a, b in itertools.pairwise([0, *cuts, len(data)])]
    assert [each for piece in pieces for each in session.feed(piece)] == messages
    assert [device.open(session.seal(each)) for each in messages] == messages


def over(session: Session) -> bool:
    """For good: nothing is opened or sealed any more."""
    for again in (lambda: session.feed(b""), lambda: session.seal(b"x")):
        with pytest.raises(SessionError):
            again()
    return True


ODD: dict[str, Callable[[OracleDevice], bytes]] = {
    "a length of nothing": lambda _: bytes(2),
    "a length that is no blocks": lambda _: b"\x00\x11" + bytes(17),
    "a length beyond the limit": lambda _: (MOST_BYTES + 32).to_bytes(2, "big"),
    "the longest length": lambda _: b"\xff\xff",
    "no padding": lambda device: device.seal_blocks(bytes(16)),
    "padding of 17": lambda device: device.seal_blocks(b"\x11" * 32),
    "padding that is not alike": lambda device: device.seal_blocks(b"x" * 13 + b"\x02\x03\x03"),
    "an empty message": lambda device: device.seal_blocks(b"\x10" * 16),
}


@pytest.mark.parametrize("odd", ODD)
def test_whatever_is_odd_ends_the_session(odd: str) -> None:
    session, device = fresh()
    assert session.feed(device.seal(b"good")) == [b"good"]
    with pytest.raises(SessionError):
        session.feed(ODD[odd](device))
    assert over(session)


def test_what_is_cut_short_waits_and_is_nothing() -> None:
    session, device = fresh()
    frame = device.seal(b"x" * 40)
    assert [session.feed(frame[at : at + 1]) for at in range(len(frame) - 1)] == [[]] * (len(frame) - 1)
    assert session.feed(frame[-1:]) == [b"x" * 40]


def test_a_message_has_bounds() -> None:
    session, device = fresh()
    assert device.open(session.seal(b"x" * MOST_BYTES)) == b"x" * MOST_BYTES
    assert session.feed(device.seal(b"x" * MOST_BYTES)) == [b"x" * MOST_BYTES]
    for message in (b"", b"x" * (MOST_BYTES + 1)):
        with pytest.raises(ValueError, match="fit"):
            session.seal(message)


# ---- message ids


def test_ids_go_up_by_one_and_wrap() -> None:
    ids = FromDevice(65_535)
    for number in (65_535, 0, 1):
        ids.require_next(number)
    for wrong in (1, 0, 3, 65_535):
        with pytest.raises(SessionError, match="replayed, lost or out of order"):
            FromDevice(2).require_next(wrong)
    assert Credentials(bytes(32) + b"\xff\xff" + bytes(6)).first_id == 0
    assert Credentials(bytes(32) + b"\x01\x02" + bytes(6)).first_id == 0x0202
    own = FromService(65_534)
    assert [own.take() for _ in range(4)] == [65_534, 65_535, 0, 1]
    for first in (0, 65_536):
        with pytest.raises(ValueError, match="begin"):
            FromService(first)


def test_credentials_are_not_shown() -> None:
    assert "ab" not in repr(Credentials(b"\xab" * 40))
    with pytest.raises(ValueError, match="40 bytes"):
        Credentials(bytes(39))


def test_a_block_without_room_is_not_made() -> None:
    with pytest.raises(AssertionError):
        type_2(bytes(246), 256, bytes(range(1, 256)))
