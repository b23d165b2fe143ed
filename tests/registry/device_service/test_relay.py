"""The relay's desk behind its socket: which pins it takes for whom, what becomes of each handshake, and who may ask."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hsm.signer import SignerUnavailableError
from registry.database import Database
from registry.device_service.pins import RegistryPins
from registry.device_service.relay import desk as desks
from registry.device_service.relay import tcp_bench
from registry.device_service.relay.client import AwayError, NoAnswerError, RelayClient
from registry.device_service.relay.desk import Desk
from registry.device_service.relay.listening import listening
from registry.device_service.relay.messages import (
    LENGTH,
    MAX_FRAME_BYTES,
    Answer,
    Open,
    Progress,
    Refusal,
    Step,
    body_length,
    read_answer,
)
from registry.device_service.udp.conversation import Conversation
from registry.pins.service import PinService
from registry.settings import SetupError
from tests.registry.device_service.dtls_client import CERTIFICATE, spki_of
from tests.registry.device_service.relayed import (
    SoftwareKeys,
    TcpUnit,
    UdpUnit,
    desk_at,
    for_service,
    parts_of,
    software_keys,
    tcp_unit,
    udp_unit,
)
from tests.registry.device_service.relayed import carried as carried_by
from tests.registry.device_service.seeded import seeded
from tests.registry.living import Living, living
from tests.registry.make import Device, SoftwareReceiptSigner, World, ec_key, world
from trust.codes import Code
from trust.dsse import Envelope
from trust.handshake import problem, reported
from trust.root import CloudKeys
from trust.root_file import parse, wrap
from trust.statement import PinStatement, read

STATION = "station-01"
OWN = seeded("large", 2048)


@dataclass(slots=True)
class Site:
    """A registry's database with an order for each service, and a desk over it."""

    made: World
    database: Database
    keys: SoftwareKeys
    path: Path
    signer: SoftwareReceiptSigner
    desk: Desk | None = None

    @property
    def client(self) -> RelayClient:
        return RelayClient(self.path)

    def world(self, protocol: str) -> World:
        return for_service(self.made, protocol, self.cloud(protocol))

    def cloud(self, protocol: str) -> bytes:
        return self.keys.cloud.spki if protocol == "tcp" else spki_of(self.keys.udp.key)

    def pinned(self, protocol: str, *, active: bool = False, **changes: Any) -> Device:
        made = self.world(protocol)
        device = Device(key=OWN.key if protocol == "tcp" else ec_key())
        pins = PinService(self.database, made.trusted, self.signer)
        pin = made.pin(device, **changes)
        record = pins.pin(device.device_id, pin, made.order_envelope)
        if active:
            pins.complete(device.device_id, made.completion(device, pin, record.pin.receipt))
        return device

    def unit(self, protocol: str, device: Device) -> TcpUnit | UdpUnit:
        return tcp_unit(OWN, device, self.keys.cloud) if protocol == "tcp" else udp_unit(device, self.cloud(protocol))

    def open(self, device: Device, protocol: str, station: str = STATION, **changes: Any) -> Answer:
        words = {"device_id": str(device.device_id), "job": str(device.job), "protocol": protocol, **changes}
        return self.client.ask(Open(station=station, **words))

    async def post(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """As the HTTPS route has it, without HTTPS."""
        received = tuple(map(base64.b64decode, body.pop("received", ())))
        asked: Open | Step = Open(station=STATION, received=received, **body) if "job" in body else Step(
            station=STATION, handshake=path.rpartition("/")[2], ended=body["ended"], received=received,
        )  # fmt: skip
        answer = await asyncio.to_thread(self.client.ask, asked)
        return 0, msgspec.to_builtins(answer)

    def carried(self, protocol: str, device: Device, unit: TcpUnit | UdpUnit) -> dict[str, Any]:
        return asyncio.run(carried_by(self.post, device, protocol, unit))[-1]


@contextmanager
def opened(place: Path, database: Database, **config: Any) -> Iterator[Site]:
    keys = software_keys()
    plain = world()
    handshake = spki_of(keys.handshake)
    root = msgspec.structs.replace(plain.trusted.root, cloud_keys=CloudKeys(handshake=handshake))
    trusted = parse(wrap(root).to_json())
    order = msgspec.structs.replace(plain.order, root_sha256=trusted.sha256)
    made = replace(plain, trusted=trusted, order=order)
    site = Site(made, database, keys, place / "run" / "devices.sock", made.signer())
    with desk_at(site.path, parts_of(database, trusted, keys, **config)) as site.desk:
        yield site


@pytest.fixture
def site(short_dir: Path, database: Database) -> Iterator[Site]:
    with opened(short_dir, database) as made:
        yield made


def code(answer: Answer) -> Code | None:
    return answer.code if isinstance(answer, Refusal) else None


# ---- what it comes to


@pytest.mark.parametrize("active", [False, True], ids=["provisional", "active"])
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_pinned_device_gets_its_report(site: Site, protocol: str, active: bool) -> None:
    device = site.pinned(protocol, active=active)
    unit = site.unit(protocol, device)
    answer = site.carried(protocol, device, unit)
    assert (answer["state"], unit.through) == ("done", True)
    report = reported(site.made.trusted, msgspec.convert(answer["report"], Envelope))
    made = site.world(protocol)
    assert problem(report, read(made.pin(device), PinStatement), made.order, station=STATION) is None
    assert (report.station, report.path, report.protocol) == (STATION, "relay", protocol)
    assert site.desk is not None and len(site.desk) == 0, "over with its report"
    if isinstance(unit, TcpUnit):
        assert report.transcript_sha256 == hashlib.sha256(unit.heard).hexdigest(), "all that went over the line"


def test_a_certificate_will_do_where_raw_keys_are_not_known(site: Site) -> None:
    device = site.pinned("udp")
    assert site.carried("udp", device, udp_unit(device, site.cloud("udp"), kind=CERTIFICATE))["state"] == "done"


def test_a_handshake_takes_as_many_requests_as_it_has_turns(site: Site) -> None:
    for protocol in ("tcp", "udp"):
        device = site.pinned(protocol)
        answers = asyncio.run(carried_by(site.post, device, protocol, site.unit(protocol, device)))
        assert [each["state"] for each in answers] == ["running", "running", "done"]
        assert answers[-1]["send"], "the Hello comes with the report"


def test_a_first_flight_is_as_good_as_the_same_in_a_step(site: Site) -> None:
    """Whoever begins without it gets there too; what is no flight ends what it began, and says which it was."""
    device = site.pinned("udp")
    unit = site.unit("udp", device)
    (hello,) = unit.take()
    begun = site.open(device, "udp")
    assert isinstance(begun, Progress) and begun.send == ()
    stepped = site.client.ask(Step(station=STATION, handshake=begun.handshake, received=(hello,)))
    at_once = site.open(device, "udp", received=(hello,))
    for each in (stepped, at_once):
        assert isinstance(each, Progress) and each.state == "running" and each.send
    broken = hello[:13] + b"\x02" + hello[14:]  # a ServerHello
    refused = site.open(device, "udp", received=(broken,))
    assert isinstance(refused, Progress) and refused.state == "refused"
    assert site.desk is not None and len(site.desk) == 0
    silent = site.open(site.pinned("tcp"), "tcp", received=(b"early",))
    assert isinstance(silent, Progress) and (silent.state, len(silent.send[0])) == ("running", 40)


def test_nothing_longer_than_a_tunnel_takes_is_sent(site: Site) -> None:
    for protocol in ("tcp", "udp"):
        device = site.pinned(protocol)
        answers = asyncio.run(carried_by(site.post, device, protocol, site.unit(protocol, device)))
        assert max(len(base64.b64decode(data)) for each in answers for data in each["send"]) <= 640


STRANGERS = ("another key", "another id", "a pinned key that it does not have")


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_device_that_is_not_the_pinned_one_is_refused(
    site: Site, stranger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp_bench, "TIMES", replace(tcp_bench.TIMES, refused_s=0.5))
    for protocol in ("tcp", "udp"):
        device, other = site.pinned(protocol), site.pinned("udp")
        unit = site.unit(protocol, device)
        match stranger, unit:
            case "another key", TcpUnit():
                unit.device.spki = bytes(162)
            case "another key", UdpUnit():
                unit = udp_unit(Device(key=ec_key(), device_id=device.device_id), site.cloud("udp"))
            case "another id", TcpUnit():
                unit.device.device_id = other.device_id.raw
            case "another id", UdpUnit():
                unit.device_id = other.device_id.raw
            case _, TcpUnit():
                unit.device.cloud = OWN  # what it sends is encrypted to another cloud's key
            case _, UdpUnit():
                unit = udp_unit(device, site.cloud("udp"), signs=ec_key())
        answer = site.carried(protocol, device, unit)
        assert (answer["state"], answer["report"]) == ("refused", None), (protocol, answer)
    assert not site.keys.reports


def test_control_a_hello_that_nobody_compares_is_taken(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the id in the Hello were not held against the pin: what the test above must see."""
    real = Conversation.__init__

    def blind(self: Conversation, _device: object, number: int) -> None:
        real(self, unit.device_id and other.device_id, number)

    device, other = site.pinned("udp"), site.pinned("udp")
    unit = udp_unit(device, site.cloud("udp"))
    unit.device_id = other.device_id.raw
    monkeypatch.setattr(Conversation, "__init__", blind)
    assert site.carried("udp", device, unit)["state"] == "done"


def test_a_refused_tcp_handshake_ends_at_its_fixed_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_bench, "TIMES", replace(tcp_bench.TIMES, refused_s=0.6))
    device = site.pinned("tcp")
    for sent in (bytes(256), b"\x01" * 256):
        began = site.open(device, "tcp")
        assert isinstance(began, Progress) and len(began.send[0]) == 40
        at = time.monotonic()
        answer = site.client.ask(Step(station=STATION, handshake=began.handshake, received=(sent,)))
        assert isinstance(answer, Progress) and (answer.state, answer.send) == ("refused", ())
        assert 0.55 < time.monotonic() - at < 2


# ---- which pins, and for whom


def test_only_this_very_job_of_an_order_that_names_the_station_and_this_service(site: Site) -> None:
    device = site.pinned("udp", station=STATION)
    assert isinstance(site.open(device, "udp"), Progress)
    assert isinstance(site.open(device, "udp", "station-02"), Progress), "the order names it, too"
    assert code(site.open(device, "udp", "station-03")) is Code.NOT_PINNED
    assert code(site.open(device, "tcp")) is Code.NOT_PINNED
    assert code(site.open(device, "udp", job="ab" * 16)) is Code.NOT_PINNED
    assert code(site.open(Device(), "udp")) is Code.NOT_PINNED


def another_cloud_key(site: Site, protocol: str) -> tuple[Device, bytes]:
    """A unit that was pinned under an order for a cloud key that was replaced since."""
    cloud = seeded("other", 2048).spki if protocol == "tcp" else spki_of(ec_key())
    made = for_service(site.made, protocol, cloud)
    device = Device(key=OWN.key if protocol == "tcp" else ec_key())
    pins = PinService(site.database, made.trusted, site.signer)
    pins.pin(device.device_id, made.pin(device), made.order_envelope)
    return device, cloud


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_an_order_for_another_cloud_key_is_refused_before_any_unit_is(site: Site, protocol: str) -> None:
    device, _ = another_cloud_key(site, protocol)
    refused = site.open(device, protocol)
    assert code(refused) is Code.CLOUD_KEY_DIFFERS and "order-" in str(refused)
    assert site.desk is not None and len(site.desk) == 0


def test_control_where_nobody_compares_the_cloud_keys_the_unit_itself_fails(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Desk, "_of_our_key", lambda _self, held, _protocol: held)
    device, cloud = another_cloud_key(site, "udp")
    unit = udp_unit(device, cloud)
    assert isinstance(site.open(device, "udp"), Progress)
    site.carried("udp", device, unit)
    assert unit.client.failed, "its quarantine"


def test_a_device_whose_key_was_ended_or_replaced_has_no_pin_for_it(short_dir: Path, database: Database) -> None:
    lives = living(database, count=1)
    keys = software_keys()
    parts = parts_of(database, lives.made.trusted, keys, order=lives.made.order)
    parts = replace(parts, pins=RegistryPins(database, lives.made.trusted, now=lambda: lives.now))
    with desk_at(short_dir / "run" / "devices.sock", parts):
        site = Site(lives.made, database, keys, short_dir / "run" / "devices.sock", lives.signer)
        revoked, replaced, fine = lives.device(), lives.device(), lives.device()
        assert [code(site.open(each, "udp")) for each in (revoked, replaced, fine)] == [None, None, None]
        ended(lives, revoked)
        lives.repinned(replaced, ec_key())
        assert [code(site.open(each, "udp")) for each in (revoked, replaced, fine)] == [
            Code.NOT_PINNED, Code.NOT_PINNED, None,
        ]  # fmt: skip


def ended(lives: Living, device: Device) -> None:
    lives.acts.do(device.device_id, "revoke", lives.act(device, "revoke"))


def test_a_row_that_somebody_has_edited_is_not_believed(site: Site) -> None:
    device = site.pinned("udp")
    with site.database.write() as connection:
        names = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'pins'"
        for (name,) in connection.exec_driver_sql(names).fetchall():
            connection.exec_driver_sql(f"DROP TRIGGER {name}")
        connection.exec_driver_sql("UPDATE pins SET station = 'station-09'")
    assert code(site.open(device, "udp")) is Code.RECORD_UNTRUSTED


# ---- sessions


def test_a_handshake_is_its_stations_and_over_when_it_is_over(site: Site) -> None:
    device = site.pinned("udp")
    began = site.open(device, "udp")
    assert isinstance(began, Progress)
    step = Step(station=STATION, handshake=began.handshake)
    assert code(site.client.ask(msgspec.structs.replace(step, station="station-02"))) is Code.HANDSHAKE_UNKNOWN
    assert isinstance(site.client.ask(step), Progress), "nobody else sees it"
    assert isinstance(site.client.ask(msgspec.structs.replace(step, ended=True)), Progress)
    assert code(site.client.ask(step)) is Code.HANDSHAKE_UNKNOWN


def both_steps(site: Site) -> tuple[Answer, float, Answer]:
    """What a second step hears, and after how long, while one of the same handshake waits for its end; and that one's."""
    device = site.pinned("tcp")
    began = site.open(device, "tcp")
    assert isinstance(began, Progress)
    step = Step(station=STATION, handshake=began.handshake)
    with ThreadPoolExecutor(1) as beside:
        refused = beside.submit(site.client.ask, msgspec.structs.replace(step, received=(bytes(256),)))
        time.sleep(0.3)
        at = time.monotonic()
        second = site.client.ask(step)
        return second, time.monotonic() - at, refused.result()


def test_one_step_of_a_handshake_is_answered_at_a_time(site: Site) -> None:
    second, took, first = both_steps(site)
    assert isinstance(second, Refusal) and (second.code, second.after_s) == (Code.TOO_MANY_REQUESTS, 1.0)
    assert took < 1
    assert isinstance(first, Progress) and first.state == "refused", "the first goes on as if there had been no other"


def test_control_otherwise_each_of_them_waits(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    class Nobody(set[str]):
        def __contains__(self, _: object) -> bool:
            return False

    monkeypatch.setattr(site.desk, "_stepping", Nobody())
    second, took, _ = both_steps(site)
    assert isinstance(second, Progress) and took > 2


def test_a_second_handshake_of_a_device_drops_its_first(site: Site) -> None:
    device = site.pinned("udp")
    first, second = site.open(device, "udp"), site.open(device, "udp")
    assert isinstance(first, Progress) and isinstance(second, Progress)
    assert code(site.client.ask(Step(station=STATION, handshake=first.handshake))) is Code.HANDSHAKE_UNKNOWN
    assert isinstance(site.client.ask(Step(station=STATION, handshake=second.handshake)), Progress)


def test_the_last_bytes_of_a_unit_whose_tunnel_is_over_still_count(site: Site) -> None:
    """`ended` comes with the Hello: the answer is the report, and not that nothing became of it."""
    for protocol in ("tcp", "udp"):
        device = site.pinned(protocol)
        unit, answer = site.unit(protocol, device), site.open(device, protocol)
        while isinstance(answer, Progress) and answer.state == "running":
            for each in answer.send:
                unit.give(each)
            sent = tuple(unit.take())
            last = unit.state == 3 if isinstance(unit, TcpUnit) else unit.greeted
            answer = site.client.ask(
                Step(station=STATION, handshake=answer.handshake, received=sent, ended=last)
            )  # fmt: skip
        assert isinstance(answer, Progress) and answer.state == "done" and answer.report is not None


def test_handshakes_end_by_themselves_and_there_is_room_for_so_many(
    short_dir: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desks.Room, "__init__", _room(desks.Room.__init__, lasts_s=0.8))
    with opened(short_dir, database, relay_sessions=3, relay_sessions_of_a_station=2) as site:
        devices = [site.pinned("udp") for _ in range(4)]
        first = site.open(devices[0], "udp")
        assert isinstance(site.open(devices[1], "udp"), Progress)
        full = site.open(devices[2], "udp")
        assert isinstance(full, Refusal) and (full.code, full.after_s > 0) == (Code.TOO_MANY_REQUESTS, True)
        assert isinstance(site.open(devices[2], "udp", "station-02"), Progress)
        assert code(site.open(devices[3], "udp", "station-02")) is Code.TOO_MANY_REQUESTS
        time.sleep(1)
        assert site.desk is not None and len(site.desk) == 0
        assert isinstance(first, Progress)
        assert code(site.client.ask(Step(station=STATION, handshake=first.handshake))) is Code.HANDSHAKE_UNKNOWN
        assert isinstance(site.open(devices[2], "udp"), Progress)


def _room(real: Any, **changes: Any) -> Any:
    def made(self: desks.Room, **given: Any) -> None:
        real(self, **given, **changes)

    return made


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_signer_that_is_away_is_nobodys_refusal_and_comes_back(
    site: Site, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp_bench, "TIMES", replace(tcp_bench.TIMES, refused_s=0.4))
    device = site.pinned(protocol)
    site.keys.fault = SignerUnavailableError("planted")
    answer = site.carried(protocol, device, site.unit(protocol, device))
    assert (answer["is"], answer["code"]) == ("refusal", "device-service-unable")
    site.keys.fault = None
    assert site.carried(protocol, device, site.unit(protocol, device))["state"] == "done"


def test_a_service_that_is_too_slow_refuses_nobody(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """No unit goes into quarantine for a busy signer; what is wrong is refused all the same."""
    monkeypatch.setattr(tcp_bench, "TIMES", replace(tcp_bench.TIMES, refused_s=0.3))
    real = SoftwareKeys.tcp_sign
    monkeypatch.setattr(SoftwareKeys, "tcp_sign", lambda self, mac: (time.sleep(0.8), real(self, mac))[1])
    device = site.pinned("tcp")
    answer = site.carried("tcp", device, site.unit("tcp", device))
    assert (answer["is"], answer["code"]) == ("refusal", "device-service-unable")
    for sent in (b"\x01" * 256, b"\x01" * 300):
        began = site.open(device, "tcp")
        assert isinstance(began, Progress)
        told = site.client.ask(Step(station=STATION, handshake=began.handshake, received=(sent,)))
        assert isinstance(told, Progress) and told.state == "refused"


# ---- the socket


def raw(site: Site, data: bytes) -> Answer | None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(10)
        line.connect(str(site.path))
        line.sendall(data)
        line.shutdown(socket.SHUT_WR)
        came = b""
        while part := line.recv(65_536):
            came += part
    return read_answer(came[4 : 4 + body_length(came[:4])]) if came else None


def test_what_is_no_frame_of_ours_is_refused_and_the_version_is_looked_at_first(site: Site) -> None:
    def framed(body: bytes) -> bytes:
        return LENGTH.pack(len(body)) + body

    assert raw(site, b"") is None
    assert raw(site, framed(b"{}")[:-1]) is None
    assert code(raw(site, LENGTH.pack(MAX_FRAME_BYTES + 1))) is Code.TOO_LARGE  # type: ignore[arg-type]
    for body in (b"", b"{}", b"[]", b'{"v":1,"do":"fly"}', b'{"v":1,"do":"step","station":"s","handshake":"x"}'):
        assert code(raw(site, framed(body))) is Code.MALFORMED  # type: ignore[arg-type]
    newer = raw(site, framed(b'{"v":2,"do":"fly"}'))
    assert isinstance(newer, Refusal) and "version 2" in newer.message
    many = msgspec.json.encode(
        {"v": 1, "do": "step", "station": "s", "handshake": "ab" * 16, "received": ["AA=="] * 17}
    )
    assert code(raw(site, framed(many))) is Code.MALFORMED  # type: ignore[arg-type]


def test_only_users_who_are_named_may_use_the_socket_and_no_other_reaches_it(short_dir: Path, site: Site) -> None:
    assert (site.path.stat().st_mode & 0o777, site.path.parent.stat().st_mode & 0o777) == (0o660, 0o750)
    place = short_dir / "other" / "devices.sock"
    place.parent.mkdir(0o750)
    parts = parts_of(site.database, site.made.trusted, site.keys)
    with desk_at(place, parts, uids=(os.geteuid() + 1,)):
        refused = RelayClient(place).ask(Step(station=STATION, handshake="ab" * 16))
    assert code(refused) is Code.NOT_AUTHORISED


def test_a_socket_where_somebody_listens_or_something_else_is_stays(short_dir: Path, site: Site) -> None:
    with pytest.raises(SetupError, match="stop that one first"), listening(site.path):
        pass
    assert site.client.ask(Step(station=STATION, handshake="ab" * 16))
    (short_dir / "run" / "file").write_text("mine")
    with pytest.raises(SetupError, match="nothing was removed"), listening(short_dir / "run" / "file"):
        pass
    assert (short_dir / "run" / "file").read_text() == "mine"
    (short_dir / "open").mkdir(0o755)
    with pytest.raises(SetupError, match="let nobody else in"), listening(short_dir / "open" / "s"):
        pass


def test_whether_units_could_be_met_is_told_in_words(site: Site, short_dir: Path) -> None:
    assert site.client.trouble() == ""
    assert RelayClient(short_dir / "nowhere").trouble() == "no device service is there"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.bind(str(short_dir / "silent"))
        silent.listen()
        began = time.monotonic()
        assert RelayClient(short_dir / "silent").trouble() == "the device service does not answer"
        assert time.monotonic() - began < 4


def test_a_service_that_is_away_or_silent_is_one_error_in_bounded_time(short_dir: Path) -> None:
    with pytest.raises(AwayError, match="no device service"):
        RelayClient(short_dir / "nowhere").ask(Step(station=STATION, handshake="ab" * 16))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.bind(str(short_dir / "silent"))
        silent.listen()
        began = time.monotonic()
        with pytest.raises(NoAnswerError) as caught:
            RelayClient(short_dir / "silent", timeout_s=0.3).ask(Step(station=STATION, handshake="ab" * 16))
        assert time.monotonic() - began < 2
        assert not isinstance(caught.value, AwayError), "somebody is there: nothing may stand for it"
