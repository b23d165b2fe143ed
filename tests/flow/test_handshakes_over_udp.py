"""State 10's live handshake over UDP: an in-process device's own DTLS and the device service's, carried by the station."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

from cryptography.hazmat.primitives.asymmetric import ec

from fixtures.families.smp.emulated.faults import Faults, Strike, Trouble, Verb
from registry.device_service.pins import BenchPin
from station.events import HandshakeWent, Verdict
from station.jobs import RecordKind
from tests.flow.bench import Bench
from tests.flow.books import drain, play, report
from tests.flow.test_handshakes import claimed, records, relay, went
from tests.registry.device_service.dtls_client import spki_of
from trust.handshake import reported


def test_unit_and_cloud_meet_over_udp_and_all_books_have_it(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        done = await bench.insert()
        assert done.verdict is Verdict.PASS, done
        told = reported(bench.plant.root, (await records(bench))[RecordKind.HANDSHAKE_REPORT])
        assert (told.job, told.protocol, told.suite) == (done.job, "udp", "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8")
        (event,) = [each for each in bench.plant.events if isinstance(each, HandshakeWent) and each.outcome]
        assert event.outcome == "proved" and event.from_unit in range(545, 560) and event.to_unit > 550
        assert len(relay(bench).desk) == 0
        assert await claimed(bench) == ("proved", True, "")
        await drain(bench)
        assert (await report(bench)).passed == 1

    play(tmp_path, story, udp=True)


def test_a_unit_does_not_take_another_cloud_for_its_own(tmp_path: Path) -> None:
    """The order's cloud key, which the unit has got, is not the one that the service has, whatever it says it has."""

    async def story(bench: Bench) -> None:
        relay(bench).cloud["udp"] = bench.plant.work.cloud.fingerprint
        with mock.patch.object(relay(bench), "step", wraps=relay(bench).step) as stepped:
            done = await bench.insert()
        (_, alert), ended = stepped.call_args
        assert ended == {"ended": True} and alert[0][:1] == b"\x15", "the service hears why"
        assert (done.verdict, done.code) == (Verdict.QUARANTINE, "handshake-not-trusted")
        assert len(relay(bench).desk) == 0, "nothing is half open"
        assert went(bench) == [("", "")], "begun, and no more"

    play(tmp_path, story, udp=True, cloud_key=spki_of(ec.generate_private_key(ec.SECP256R1())))


def test_a_step_that_was_lost_is_made_up_for(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        lost = Strike(Verb.TUNNEL, Trouble.ANSWER_LOST, skip=3)
        assert (await bench.insert(bench.slot(Faults(strikes=(lost,))))).verdict is Verdict.PASS
        assert relay(bench).opened == 2

    play(tmp_path, story, udp=True)


def test_a_service_that_refuses_is_believed_before_the_units_echo_of_it(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        with mock.patch.object(BenchPin, "good", return_value=None):
            done = await bench.insert()
        assert (done.verdict, done.code) == (Verdict.QUARANTINE, "handshake-refused")
        assert len(relay(bench).desk) == 0, "nothing is half open"

    play(tmp_path, story, udp=True)
