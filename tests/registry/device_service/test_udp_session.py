"""DTLS sessions against GnuTLS's own client in memory: who comes in, who does not, and what any link may do to them."""

from __future__ import annotations

import ctypes
import gc
import hashlib
import os
import random
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from hsm.signer import SignerUnavailableError
from registry.device_service.udp import session as session_module
from registry.device_service.udp.gnutls.endpoint import Endpoint, Presented, Timing
from registry.device_service.udp.gnutls.hello import takes_raw_key
from registry.device_service.udp.packing import packed, unpacked
from registry.device_service.udp.reasons import Reason
from registry.device_service.udp.session import BENCH_MTU, MTU, Recognition, Session, SessionError, Suite
from registry.device_service.udp.transcript import Transcript
from tests.registry.device_service.dtls_client import CERTIFICATE, PRIORITY, RAW, Client, Text, self_signed, spki_of
from tests.registry.device_service.service_end import ID, Meeting, Pins, Rule, Service, new_key, shaken, untouched
from trust.identity import DeviceId
from trust.keys import PublicKey

KINDS = {RAW: Presented.RAW_KEY, CERTIFICATE: Presented.CERTIFICATE}
REPOSITORY = Path(__file__).parents[3]
CIPHERS = {"AES-128-CCM-8": Suite.CCM_8, "AES-128-GCM": Suite.GCM}


@pytest.fixture
def service() -> Service:
    return Service()


def meet(service: Service, rule: Rule | None = None, *, cookie: bool = True, mtu: int = MTU, **client: Any) -> Meeting:
    device = Client(client.pop("shows", service.device), **client)
    session = service.session(device, cookie=cookie, mtu=mtu)
    return Meeting(device, session, **({} if rule is None else {"rule": rule}))


# ---- who comes in


@pytest.mark.parametrize("cookie", [True, False], ids=["with cookie", "without"])
@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_pinned_device_and_the_cloud_come_to_an_understanding(
    service: Service, kind: str, cipher: str, cookie: bool
) -> None:
    meeting = meet(service, kind=kind, cipher=cipher, cookie=cookie, cloud=spki_of(service.signer.key)).run()
    assert meeting.through
    peer = meeting.session.peer
    assert peer is not None
    assert (peer.device_id, peer.spki) == (ID, spki_of(service.device))
    assert (peer.presented, peer.suite) == (KINDS[kind], CIPHERS[cipher])
    assert (service.signer.asked, service.pins.asked) == (1, 1)
    meeting.client.send(b"hello")
    meeting.session.send(b"and you")
    meeting.carry()
    assert (meeting.heard, meeting.told) == ([b"hello"], [b"and you"])


def test_what_was_exchanged_is_what_the_client_says(service: Service) -> None:
    """Its random value, and a signature by the pinned key over the transcript: nobody else can have made that."""
    meeting = meet(service).run()
    assert meeting.session.peer is not None
    exchanged = meeting.session.peer.exchanged
    own, other = Text(), Text()
    meeting.client.c.gnutls_session_get_random(meeting.client.session, ctypes.byref(own), ctypes.byref(other))
    at = ctypes.cast(ctypes.addressof(own), ctypes.POINTER(ctypes.c_void_p))[0]
    assert exchanged.client_random == ctypes.string_at(at, own.size) and len(exchanged.client_random) == 32
    ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), exchanged.client_point)
    assert PublicKey.from_der(spki_of(service.device)).verifies_digest(exchanged.signature, exchanged.transcript)
    again = meet(service).run().session.peer
    assert again is not None
    for name in ("client_random", "client_point", "transcript", "signature"):
        assert getattr(again.exchanged, name) != getattr(exchanged, name), name


# ---- who does not


def refused(meeting: Meeting, reason: Reason) -> bool:
    """Both know of it, and nothing can be sent."""
    meeting.run(3)
    session = meeting.session
    assert not session.established and session.peer is None
    with pytest.raises(SessionError) as caught:
        session.feed(b"x")
    assert meeting.refusal is not None
    assert (meeting.refusal.reason, caught.value.reason) == (reason, reason)
    assert session.due_s() is None
    return not meeting.told and meeting.client.failed != 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_without_a_good_pin_is_refused(service: Service, kind: str) -> None:
    assert refused(meet(service, shows=new_key(), kind=kind), Reason.NOT_PINNED)


def test_the_log_gets_the_fingerprint_of_a_key_without_a_pin(service: Service) -> None:
    stranger = new_key()
    meeting = meet(service, shows=stranger).run()
    assert hashlib.sha256(spki_of(stranger)).hexdigest() in str(meeting.refusal)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pinned_key_without_its_private_half_is_refused(service: Service, kind: str) -> None:
    assert refused(meet(service, signs=new_key(), kind=kind), Reason.BAD_SIGNATURE)


@pytest.mark.parametrize("kind", KINDS)
def test_a_device_without_a_key_is_refused(service: Service, kind: str) -> None:
    meeting = meet(service, shows=None, kind=kind)
    assert refused(meeting, Reason.NO_KEY)
    assert service.pins.asked == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_device_that_expects_another_cloud_key_leaves(service: Service, kind: str) -> None:
    meeting = meet(service, kind=kind, cloud=spki_of(new_key()))
    meeting.run()
    assert meeting.client.failed == -43
    assert meeting.refusal is not None and meeting.refusal.reason in {Reason.REFUSED_BY_DEVICE, Reason.CLOSED}


OTHER = {
    "DTLS 1.0": "NONE:+VERS-DTLS1.0:+ECDHE-ECDSA:+AES-128-CBC:+SHA1:+SIGN-ALL:+GROUP-SECP256R1:+COMP-NULL:+CTYPE-ALL",
    "RSA": "NONE:+VERS-DTLS1.2:+ECDHE-RSA:+AES-128-GCM:+AEAD:+SIGN-ALL:+GROUP-SECP256R1:+COMP-NULL:+CTYPE-ALL",
    "another curve": PRIORITY.format(cipher="AES-128-GCM", kind="X509").replace("SECP256R1", "SECP384R1"),
    "another cipher": PRIORITY.format(cipher="AES-256-GCM", kind="X509"),
}


@pytest.mark.parametrize("words", OTHER)
def test_nothing_but_what_the_service_speaks_is_agreed_on(service: Service, words: str) -> None:
    device = Client(service.device, kind=CERTIFICATE, priority=OTHER[words])
    with pytest.raises(SessionError) as caught:
        service.session(device)
    assert caught.value.reason is Reason.NOTHING_IN_COMMON
    assert service.signer.asked == 0


def test_a_certificate_counts_by_its_key_alone(service: Service) -> None:
    """Whatever it says else: the pinned key under any name is the device, any other under its name is not."""

    class Named(Client):
        def certificate(self, shows: ec.EllipticCurvePrivateKey) -> bytes:
            return self_signed(shows, "device-service")

    device = Named(service.device, kind=CERTIFICATE)
    assert Meeting(device, service.session(device)).run().through
    thief = Named(new_key(), kind=CERTIFICATE)
    assert refused(Meeting(thief, service.session(thief)), Reason.NOT_PINNED)


def test_no_session_is_resumed(service: Service) -> None:
    """A client that wants to go on with an old one has to show its key anew."""
    first = meet(service).run()
    saved = Text()
    assert first.client.c.gnutls_session_get_data2(first.client.session, ctypes.byref(saved)) == 0
    at = ctypes.cast(ctypes.addressof(saved), ctypes.POINTER(ctypes.c_void_p))[0]
    data = ctypes.string_at(at, saved.size)
    again = Client(service.device)
    assert again.c.gnutls_session_set_data(again.session, data, ctypes.c_size_t(len(data))) == 0
    service.pins.known.clear()
    assert refused(Meeting(again, service.session(again)), Reason.NOT_PINNED)
    assert again.c.gnutls_session_is_resumed(again.session) == 0


def test_a_renegotiation_ends_the_session(service: Service) -> None:
    meeting = meet(service).run()
    meeting.client.c.gnutls_handshake(meeting.client.session)
    meeting.carry()
    assert meeting.refusal is not None and meeting.refusal.reason is Reason.RENEGOTIATION


# ---- faults on the service's side


class PlantedError(Exception):
    pass


def raising(error: BaseException) -> Callable[..., Any]:
    def act(*_: Any) -> Any:
        raise error

    return act


@pytest.mark.parametrize(
    "error", [PlantedError("planted"), RecursionError(), MemoryError(), UnicodeError("x")], ids=repr
)
def test_pins_that_fail_let_nobody_in(service: Service, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.pins, "good", raising(error))
    meeting = meet(service)
    assert refused(meeting, Reason.FAULT)
    assert meeting.refusal is not None and meeting.refusal.__cause__ is error


@pytest.mark.parametrize("answer", [True, 1, "yes", b"", 0, False], ids=repr)
def test_pins_that_answer_nonsense_are_nobodys_identity(service: Service, answer: Any) -> None:
    """Not a thing that types allow; what comes of it is no device id that was looked up for another."""
    service.pins.known = {}
    meeting = meet(service).run(3)
    assert meeting.refusal is not None, answer


def test_an_interrupt_in_a_callback_is_passed_on(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.pins, "good", raising(KeyboardInterrupt()))
    meeting = meet(service)
    with pytest.raises(KeyboardInterrupt):
        meeting.run()
    assert not meeting.session.established


def test_an_interrupt_while_the_signer_signs_is_passed_on(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.credentials, "_sign", raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        service.session(Client(service.device))


@pytest.mark.parametrize("error", [SignerUnavailableError("planted"), PlantedError("planted")], ids=repr)
def test_a_signer_that_is_away_is_told_apart(
    service: Service, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.signer, "key", None)
    monkeypatch.setattr(service.credentials, "_sign", raising(error))
    device = Client(service.device)
    with pytest.raises(SessionError) as caught:
        service.session(device)
    assert (caught.value.reason, caught.value.__cause__) == (Reason.NOT_SIGNED, error)
    assert service.credentials.failure() is None, "told once"


@pytest.mark.parametrize("made", [b"", b"x", bytes(72), b"x" * 100_000], ids=len)
def test_a_signer_that_signs_nonsense_convinces_no_device(
    service: Service, made: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.credentials, "_sign", lambda _: made)
    device = Client(service.device)
    try:
        meeting = Meeting(device, service.session(device)).run(2)
    except SessionError:
        return
    assert not meeting.through and not meeting.client.done


def test_a_handshake_that_nobody_goes_on_with_times_out(service: Service) -> None:
    device = Client(service.device, retransmit_ms=8_000)
    session = service.session(device, timing=Timing(retransmit_ms=30, total_ms=1_000))
    meeting = Meeting(device, session, rule=lambda *_: []).run()
    assert meeting.refusal is not None and meeting.refusal.reason is Reason.TIMED_OUT
    assert 2 <= meeting.count["down"] < 12, "sent again, and not as fast as it goes"


A_HANDSHAKE = """
from tests.registry.device_service.dtls_client import Client
from tests.registry.device_service.service_end import Meeting, Service
service = Service()
client = Client(service.device)
assert Meeting(client, service.session(client)).run().through
"""


def test_session_secrets_go_nowhere_whatever_the_environment_says(tmp_path: Path) -> None:
    """SSLKEYLOGFILE makes GnuTLS write them: the client of this test does, which is the control, and the service does not."""
    log = tmp_path / "secrets"
    environment = {**os.environ, "SSLKEYLOGFILE": str(log)}
    subprocess.run([sys.executable, "-c", A_HANDSHAKE], cwd=REPOSITORY, env=environment, check=True, timeout=15)
    assert len(log.read_text().splitlines()) == 1


# ---- controls: what the above would be worth without what is tested


def test_control_pins_that_are_good_to_everybody_are_noticed(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.pins, "good", lambda _: ID)
    with pytest.raises(AssertionError):
        refused(meet(service, shows=new_key()), Reason.NOT_PINNED)


def test_control_a_callback_that_accepts_all_opens_no_session(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second look: with GnuTLS told that everybody is good, whoever was not looked up is nobody."""
    monkeypatch.setattr(Recognition, "is_good", lambda *_: True)
    meeting = meet(service, shows=new_key()).run(3)
    assert meeting.client.done, "GnuTLS itself has let it in"
    assert meeting.refusal is not None and meeting.refusal.reason is Reason.NOT_PINNED
    assert meeting.session.peer is None and not meeting.session.established


def test_control_a_callback_that_raises_into_c_opens_no_session(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ctypes makes of it may be a yes: then, too, nobody was looked up."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    monkeypatch.setattr(service.pins, "good", raising(PlantedError()))
    monkeypatch.setattr(Endpoint, "_kept", lambda self, act, _: lambda _handle, *rest: act(self, *rest))
    meeting = meet(service).run(3)
    assert meeting.session.peer is None and not meeting.session.established


@pytest.mark.parametrize("what", ["a number", "a byte", "a message less"])
def test_control_another_transcript_is_not_what_the_device_has_signed(
    service: Service, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    see, seen = Transcript.see, []

    def wrong(self: Transcript, kind: int, incoming: bool, body: bytes) -> None:
        seen.append(kind)
        if what == "a number" and len(seen) == 1:
            self._numbers[True] += 1
        if what == "a message less" and kind == 14:
            return
        see(self, kind, incoming, body[:-1] + b"x" if what == "a byte" and kind == 2 else body)

    monkeypatch.setattr(Transcript, "see", wrong)
    meeting = meet(service).run(3)
    assert meeting.client.done
    assert meeting.refusal is not None and meeting.refusal.reason is Reason.BAD_SIGNATURE


# ---- any link


def lost(way: str, number: int) -> Rule:
    return lambda datagram, a, n: [] if (a, n) == (way, number) else [datagram]


@pytest.mark.parametrize(("way", "number"), [("down", 0), ("down", 1), *(("up", n) for n in range(5))])
def test_each_datagram_may_be_lost_once(service: Service, way: str, number: int) -> None:
    meeting = meet(service, lost(way, number)).run()
    assert meeting.through
    meeting.client.send(b"hello")
    meeting.carry()
    assert meeting.heard == [b"hello"]


def test_control_without_time_a_lost_datagram_is_the_end_of_it(service: Service) -> None:
    meeting = meet(service, lost("up", 0), retransmit_ms=8_000)
    meeting.ticking = False
    assert not meeting.run().through


def answered_at_once(service: Service) -> bool:
    """Whether ours comes again when the client, who has not heard it, says all of its last flight again in one datagram."""
    meeting = meet(service)
    meeting.client.inbox.extend(meeting.session.outgoing())
    meeting.client.step()
    for datagram in meeting.client.outbox:
        meeting.session.feed(datagram)
    meeting.client.outbox.clear()
    assert meeting.session.established and meeting.session.outgoing(), "and that is lost"
    while not meeting.client.outbox:
        time.sleep(0.01)
        meeting.client.step()
    assert meeting.session.feed(b"".join(meeting.client.outbox)) == []
    return bool(meeting.session.outgoing())


def test_a_last_flight_is_said_again_when_it_is_asked_for_once(service: Service) -> None:
    assert answered_at_once(service)


def test_control_gnutls_itself_drops_what_stands_behind_an_old_record(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "unpacked", lambda datagram: [datagram])
    assert not answered_at_once(service)


@pytest.mark.parametrize("kind", KINDS)
def test_everything_may_come_twice(service: Service, kind: str) -> None:
    meeting = meet(service, lambda datagram, *_: [datagram] * 2, kind=kind).run()
    assert meeting.through and service.pins.asked == 1
    meeting.client.send(b"once")
    meeting.carry()
    assert meeting.heard == [b"once"]


def test_a_flight_may_come_backwards(service: Service) -> None:
    meeting = meet(service)
    meeting.client.inbox.extend(meeting.session.outgoing())
    meeting.client.step()
    for datagram in reversed(meeting.client.outbox):
        meeting.session.feed(datagram)
    meeting.client.outbox.clear()
    assert meeting.run().through


@pytest.mark.parametrize("seed", range(10))
def test_links_that_lose_repeat_and_move(service: Service, seed: int) -> None:
    dice = random.Random(seed)
    meeting = meet(service, shaken(dice, 0.25), kind=list(KINDS)[seed % 2], mtu=BENCH_MTU, retransmit_ms=40)
    assert meeting.run(15).through
    meeting.rule = untouched
    meeting.client.send(b"hello")
    meeting.session.send(b"and you")
    meeting.carry()
    assert (meeting.heard, meeting.told) == ([b"hello"], [b"and you"])


@pytest.mark.parametrize("kind", KINDS)
def test_no_datagram_is_longer_than_the_bench_takes(service: Service, kind: str) -> None:
    sizes: list[int] = []
    meeting = meet(
        service, lambda data, way, _: sizes.append(len(data) * (way == "down")) or [data], kind=kind, mtu=BENCH_MTU
    )
    assert meeting.run().through
    assert max(sizes) <= BENCH_MTU and meeting.count["down"] <= 4


@pytest.mark.parametrize("kind", KINDS)
def test_messages_in_many_pieces_are_one_transcript(service: Service, kind: str) -> None:
    """With small datagrams both sides cut their messages up, and the device signs what they are as a whole."""
    sizes: list[int] = []
    rule: Rule = lambda data, *_: sizes.append(len(data)) or [data]  # type: ignore[func-returns-value]  # noqa: E731
    device = Client(service.device, kind=kind, mtu=150)
    meeting = Meeting(device, service.session(device, mtu=160), rule=rule).run()
    assert meeting.through
    assert max(sizes) <= 160 and len(sizes) > 6


def test_a_fault_while_sending_ends_the_session(opened: Meeting) -> None:
    opened.session._endpoint.outgoing = None  # type: ignore[assignment]
    with pytest.raises(SessionError) as caught:
        opened.session.send(b"x")
    assert caught.value.reason is Reason.FAULT and not opened.session.established


def test_records_are_packed_and_messages_are_not() -> None:
    made = [
        b"\x16" + b"a" * 99,
        b"\x16" + b"b" * 99,
        b"\x14" + b"c" * 19,
        b"\x17" + b"d" * 9,
        b"\x17" + b"e" * 9,
        b"\x15f",
    ]
    assert packed(made, 210) == [made[0] + made[1], made[2], made[3], made[4], made[5]]
    assert packed(made, 1000)[0] == made[0] + made[1] + made[2]
    assert packed([], 1000) == []


def test_records_are_unpacked_as_they_are() -> None:
    def record(size: int) -> bytes:
        return bytes(11) + size.to_bytes(2, "big") + b"r" * size

    made = [record(0), record(7), record(300)]
    assert unpacked(b"".join(made)) == made
    assert unpacked(made[1]) == [made[1]]
    assert unpacked(made[0] + made[1]) == [made[0], made[1]]
    for rest in (b"x", made[1][:-1], b"tail", b"\xff" * 90, bytes(12)):
        assert unpacked(made[2] + made[0] + rest) == [made[2], made[0]]
        assert unpacked(rest) == []


def heard_after_beginnings(service: Service) -> bool:
    """Whether what a device sends is heard, after forged datagrams that end early, of each length."""
    meeting = meet(service).run()
    meeting.client.send(b"honest")
    datagram = meeting.client.outbox.popleft()
    for size in range(1, len(datagram)):
        assert meeting.session.feed(datagram[:size]) == []
    return meeting.session.feed(datagram) == [b"honest"]


def test_the_beginning_of_a_record_costs_no_other(service: Service) -> None:
    assert heard_after_beginnings(service)


def test_control_gnutls_itself_takes_the_next_datagram_for_the_rest(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "unpacked", lambda datagram: [datagram])
    assert not heard_after_beginnings(service)


def hello(*extensions: tuple[int, bytes]) -> bytes:
    told = b"".join(kind.to_bytes(2, "big") + len(what).to_bytes(2, "big") + what for kind, what in extensions)
    return bytes(34) + b"\0" + b"\x02cc" + b"\0\x02ss" + b"\x01\0" + len(told).to_bytes(2, "big") + told


def test_a_hello_says_how_the_key_may_be_shown() -> None:
    assert takes_raw_key(hello((10, b"xx"), (20, b"\x02\x00\x02"), (19, b"\x01\x00")))
    for other in ((20, b"\x01\x00"), (19, b"\x01\x02"), (20, b""), (20, b"\x02")):
        assert not takes_raw_key(hello(other, (10, b"\x02")))
    whole = hello((20, b"\x01\x02"))
    assert [takes_raw_key(whole[:size]) for size in range(len(whole))] == [False] * len(whole)
    dice = random.Random(2)
    for _ in range(500):
        takes_raw_key(dice.randbytes(dice.randrange(120)))


# ---- an open session


@pytest.fixture
def opened(service: Service) -> Meeting:
    meeting = meet(service).run()
    assert meeting.through
    return meeting


def test_what_is_not_of_the_session_is_dropped(opened: Meeting) -> None:
    opened.client.send(b"once")
    record = opened.client.outbox.popleft()
    assert opened.session.feed(record[:-1] + bytes([record[-1] ^ 1])) == [], "tampered"
    assert opened.session.feed(record) == [b"once"]
    assert opened.session.feed(record) == [], "replayed"
    for odd in (b"", b"\0", record[:13], bytes(60), b"\xff" * 3_000, b"\x16\xfe\xfd" + bytes(80), b"\xfd" + record[1:]):
        assert opened.session.feed(odd) == [], odd[:20]
    assert not opened.session.outgoing()
    opened.client.send(b"more")
    opened.carry()
    assert opened.heard == [b"more"]


def test_a_new_hello_does_not_disturb_an_open_session(opened: Meeting, service: Service) -> None:
    """A device that has started again begins by a cookie, as everybody does; until then the old session is untouched."""
    client = Client(service.device)
    for _ in range(2):
        client.step()
        hello = client.outbox.popleft()
        assert opened.session.feed(hello) == [] and not opened.session.outgoing()
        client.inbox.append(service.cookies.question(b"client", hello) or b"")
    opened.client.send(b"still here")
    opened.carry()
    assert opened.heard == [b"still here"]


def test_an_alert_without_the_session_s_keys_ends_nothing(opened: Meeting) -> None:
    assert opened.session.feed(b"\x15\xfe\xfd\0\0" + bytes(5) + b"\x09\0\x02\x02\x28") == []
    assert opened.session.established


def test_either_side_may_close(service: Service) -> None:
    meeting = meet(service).run()
    meeting.client.bye()
    meeting.carry()
    assert meeting.refusal is not None and meeting.refusal.reason is Reason.CLOSED
    meeting = meet(service).run()
    meeting.session.close()
    meeting.session.close()
    meeting.carry()
    assert meeting.client.failed
    for again in (lambda: meeting.session.send(b"x"), lambda: meeting.session.feed(b"x"), meeting.session.tick):
        with pytest.raises(SessionError):
            again()


def test_a_message_before_the_close_in_one_datagram_is_heard(opened: Meeting) -> None:
    opened.client.send(b"last")
    opened.client.bye()
    assert opened.session.feed(b"".join(opened.client.outbox)) == [b"last"]
    with pytest.raises(SessionError):
        opened.session.feed(b"x")


def test_a_message_has_bounds(service: Service) -> None:
    device = Client(service.device)
    meeting = Meeting(device, service.session(device, mtu=BENCH_MTU))
    with pytest.raises(ValueError, match="not established"):
        meeting.session.send(b"x")
    meeting.run()
    most = meeting.session.most_bytes
    assert 560 < most < BENCH_MTU
    meeting.session.send(b"x" * most)
    assert len(meeting.session._endpoint.outgoing[0]) <= BENCH_MTU
    meeting.carry()
    assert meeting.told == [b"x" * most]
    for wrong in (b"", b"x" * (most + 1)):
        with pytest.raises(ValueError, match="fit"):
            meeting.session.send(wrong)


# ---- whatever comes


@pytest.mark.parametrize("seed", range(4))
def test_mutated_handshakes_end_in_one_kind_of_error_or_go_on(service: Service, seed: int) -> None:
    """Never in another device, nor in anything but SessionError."""
    dice, reasons = random.Random(seed), set()
    for _ in range(25):
        at = dice.randrange(5)

        def mutated(datagram: bytes, way: str, number: int, at: int = at) -> list[bytes]:
            if way == "down" or number != at:
                return [datagram]
            changed = bytearray(datagram)
            for _ in range(dice.choice((1, 1, 4))):
                changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
            return [bytes(changed[: dice.choice((len(changed), len(changed), dice.randrange(len(changed))))])]

        meeting = meet(service, mutated, kind=dice.choice(list(KINDS)))
        meeting.ticking = False
        meeting.run(1)
        assert meeting.session.peer is None or meeting.session.peer.spki == spki_of(service.device)
        reasons.add(meeting.refusal and meeting.refusal.reason)
    assert len(reasons) > 1, "some of it was noticed"


def test_first_datagrams_of_nothing_open_nothing(service: Service) -> None:
    dice = random.Random(1)
    for size in (0, 1, 12, 13, 25, 60, 200, 1_400, 2_048, 2_049, 9_000):
        session = Session(service.credentials, service.pins)
        assert session.feed(dice.randbytes(size)) == []
        assert session.peer is None and not session.outgoing()


# ---- many


def test_threads_share_a_key(service: Service) -> None:
    results: list[bool] = []

    def one() -> None:
        key = new_key()
        service.pins.known[spki_of(key)] = DeviceId(spki_of(key)[-12:])
        for _ in range(5):
            meeting = meet(service, shows=key).run()
            peer = meeting.session.peer
            results.append(peer is not None and peer.device_id.raw == spki_of(key)[-12:])

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 30


def test_a_session_that_nobody_has_is_gone_at_once(service: Service) -> None:
    """Without waiting for a collection of rings: its memory in GnuTLS is more than Python knows of."""
    gc.disable()
    try:
        session = meet(service).run().session
        gone, freed = weakref.ref(session), session._endpoint._freed
        assert freed.alive
        del session
        assert gone() is None and not freed.alive
    finally:
        gc.enable()


def test_pins_are_asked_by_the_bytes_that_were_shown(service: Service) -> None:
    asked: list[bytes] = []

    class Noting(Pins):
        def good(self, spki: bytes) -> DeviceId | None:
            asked.append(spki)
            return super().good(spki)

    service.pins = Noting(service.pins.known)
    for kind in KINDS:
        assert meet(service, kind=kind).run().through
    assert asked == [spki_of(service.device)] * 2
