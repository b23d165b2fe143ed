"""What is our own trouble at the relay, and what a station is told then: never that its unit was refused."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hsm.signer import SignerUnavailableError
from registry.database import Database
from registry.device_service.pins import RegistryPins
from registry.device_service.relay import desk as desks
from registry.device_service.relay import tcp_bench, udp_bench
from registry.device_service.relay.client import NoAnswerError, RelayClient
from registry.device_service.relay.course import Course
from registry.device_service.relay.desk import Desk
from registry.device_service.relay.messages import Open, Progress, Step
from registry.device_service.relay.tcp_bench import TcpBench
from tests.registry.device_service.relayed import Answer, SoftwareKeys
from tests.registry.device_service.service_end import Signer
from tests.registry.device_service.test_relay import STATION, Site, code, opened
from tests.registry.make import Device
from trust.codes import Code

PROTOCOLS = pytest.mark.parametrize("protocol", ["tcp", "udp"])


@pytest.fixture
def site(short_dir: Path, database: Database) -> Iterator[Site]:
    with opened(short_dir, database) as made:
        yield made


# ---- a signer that hangs


def hung(monkeypatch: pytest.MonkeyPatch, keys: type, verb: str, seconds: float) -> list[float]:
    """This verb of the signer's takes so long and then fails; when each was begun."""
    began: list[float] = []

    def hang(*_: object) -> bytes:
        began.append(time.monotonic())
        time.sleep(seconds)
        raise SignerUnavailableError("planted")

    monkeypatch.setattr(keys, verb, hang)
    return began


def all_at_once(site: Site, protocol: str, many: int) -> list[tuple[Answer, float]]:
    """What each of so many units comes to, and in how many seconds; four threads work for them."""
    devices = [site.pinned(protocol) for _ in range(many)] if protocol == "udp" else [site.pinned(protocol)] * many

    def one(device: Device) -> tuple[Answer, float]:
        began = time.monotonic()
        answer = site.carried(protocol, device, site.unit(protocol, device))
        return answer, time.monotonic() - began

    with ThreadPoolExecutor(many) as stations:
        return list(stations.map(one, devices))


def test_a_signer_that_hangs_keeps_nobody_waiting_for_others(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve units, four threads: each hears that the service is unable, before its station gives up by itself."""
    monkeypatch.setattr(udp_bench, "SLOW_S", 0.5)
    began = hung(
        monkeypatch, Signer, "sign", 3.0
    )  # until then all twelve have come, and are over, on a busy machine, too
    told = all_at_once(site, "udp", 12)
    assert {each["code"] for each, _ in told} == {"device-service-unable"}
    assert max(seconds for _, seconds in told) < 6, "the last of three rounds of four would have waited nine"
    time.sleep(3)
    assert len(began) < 12, "nobody signs for a handshake that is over"


def test_control_without_a_bound_the_last_one_waits_for_all(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp_bench, "SLOW_S", 60.0)
    began = hung(monkeypatch, Signer, "sign", 0.9)
    assert max(seconds for _, seconds in all_at_once(site, "udp", 12)) > 2.5
    assert len(began) == 12


@PROTOCOLS
def test_a_report_that_takes_too_long_is_no_refusal(site: Site, protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in (tcp_bench, udp_bench):
        monkeypatch.setattr(each, "SLOW_S", 0.5)
    hung(monkeypatch, SoftwareKeys, "sign_handshake", 1.5)
    ((answer, seconds),) = all_at_once(site, protocol, 1)
    assert (answer["code"], seconds < 1.4) == ("device-service-unable", True)


# ---- a bug


@PROTOCOLS
def test_a_bug_at_the_report_is_told_at_once(site: Site, protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: object) -> bytes:
        raise ValueError("planted")

    monkeypatch.setattr(SoftwareKeys, "sign_handshake", bug)
    ((answer, seconds),) = all_at_once(site, protocol, 1)
    assert (answer["code"], seconds < 2) == ("internal", True)
    assert site.desk is not None and len(site.desk) == 0


def test_a_bug_before_the_report_is_no_refusal_of_the_device(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be in quarantine for it."""

    def bug(*_: object) -> bytes:
        raise ValueError("planted")

    monkeypatch.setattr(tcp_bench, "TIMES", replace(tcp_bench.TIMES, refused_s=0.4))
    monkeypatch.setattr(SoftwareKeys, "tcp_sign", bug)
    ((answer, _),) = all_at_once(site, "tcp", 1)
    assert answer["code"] == "internal"


def test_a_datagram_that_no_tunnel_takes_is_not_cut_in_two(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp_bench, "PIECE", 100)
    ((answer, _),) = all_at_once(site, "udp", 1)
    assert answer["code"] == "internal"


def test_control_a_stream_is_cut_and_datagrams_of_the_size_pass(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_bench, "PIECE", 100)
    assert all_at_once(site, "tcp", 1)[0][0]["state"] == "done"
    assert all_at_once(site, "udp", 1)[0][0]["state"] == "done"
    course = Course()
    course.say(bytes(2_000))
    assert list(map(len, course.take())) == [2_000], "nobody cuts behind the bench"


# ---- the desk's own end


def ended_in_mid_work(site: Site, protocol: str, monkeypatch: pytest.MonkeyPatch) -> Answer:
    """The minute of a handshake is over while the signer works for it."""
    assert site.desk is not None
    site.desk._room = desks.Room(lasts_s=0.6)
    keys, verb = {"tcp": (SoftwareKeys, "tcp_open"), "udp": (Signer, "sign")}[protocol]
    real = getattr(keys, verb)
    monkeypatch.setattr(keys, verb, lambda *words: (time.sleep(1.2), real(*words))[1])
    device = site.pinned(protocol)
    return site.carried(protocol, device, site.unit(protocol, device))


@PROTOCOLS
def test_an_end_of_ours_is_no_word_about_the_device(site: Site, protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = ended_in_mid_work(site, protocol, monkeypatch)
    assert (answer["is"], answer["code"]) == ("refusal", "handshake-unknown")


def test_control_a_bench_that_takes_it_for_the_devices_end_refuses(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TcpBench, "close", lambda self: self._line.close())
    assert ended_in_mid_work(site, "tcp", monkeypatch)["state"] == "refused"


# ---- a database that is slow


@contextmanager
def slow_once(monkeypatch: pytest.MonkeyPatch, seconds: float) -> Iterator[None]:
    """The first look for a pin takes so long."""
    real, waits = RegistryPins.at_bench, [seconds]

    def at_bench(self: RegistryPins, *words: Any) -> Any:
        time.sleep(waits.pop() if waits else 0)
        return real(self, *words)

    monkeypatch.setattr(RegistryPins, "at_bench", at_bench)
    yield
    time.sleep(seconds)


def test_a_slow_database_has_failed_and_its_late_answer_begins_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desks, "HELD_S", 0.4)
    device = site.pinned("udp")
    with slow_once(monkeypatch, 1.0):
        began = time.monotonic()
        assert code(site.open(device, "udp")) is Code.STORE_FAILED
        assert time.monotonic() - began < 0.9
        again = site.open(device, "udp")
    assert isinstance(again, Progress) and site.desk is not None and len(site.desk) == 1
    assert isinstance(site.client.ask(Step(station=STATION, handshake=again.handshake)), Progress)


def left_and_came_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> Code | None:
    """Somebody begins and does not wait; the second beginning of the same device, and what its step is answered."""
    device = site.pinned("udp")
    asked = Open(station=STATION, device_id=str(device.device_id), job=str(device.job), protocol="udp")
    with slow_once(monkeypatch, 0.8):
        with pytest.raises(NoAnswerError):
            RelayClient(site.path, timeout_s=0.2).ask(asked)
        again = site.client.ask(asked)
    assert isinstance(again, Progress)
    return code(site.client.ask(Step(station=STATION, handshake=again.handshake)))


def test_a_beginning_whose_asker_has_gone_begins_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    assert left_and_came_again(site, monkeypatch) is None


def test_control_begun_for_nobody_it_drops_the_newer_one(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Desk.answer
    monkeypatch.setattr(Desk, "answer", lambda self, request, gone: real(self, request))
    assert left_and_came_again(site, monkeypatch) is Code.HANDSHAKE_UNKNOWN
