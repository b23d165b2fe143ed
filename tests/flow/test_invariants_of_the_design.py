"""The invariants that the design names, each with a test of its name: somebody tries to break it with real parties."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fixtures.families.smp.emulated.faults import Faults, Strike, Trouble, Verb
from hsm.signer import SignerError
from hsm.token import TokenUnavailableError
from station.cloud import CloudRefusedError
from station.events import Verdict
from station.jobs import DuplicateKeyError, JobId, RecordConflictError, RecordKind
from tests.faults import disk
from tests.faults.invariants import _spellings
from tests.flow.bench import Bench, ShakyCloud, new_private
from tests.flow.causes import CAUSES
from trust.codes import Code
from trust.identity import DeviceId
from trust.signed_note import Head
from trust.statement import Completion, PinStatement, Vetting, envelope, read


def play(directory: Path, story: Callable[[Bench], Awaitable[Any]], stations=("st-01",), **order) -> Any:
    async def whole() -> Any:
        async with Bench.make(directory, stations, **order) as bench:
            return await story(bench)

    return asyncio.run(whole())


async def evidence(bench: Bench, station: str = "st-01") -> tuple[JobId, dict[RecordKind, Any]]:
    jobs = bench.parties(station).jobs
    (found,) = await jobs.of_device(DeviceId(bench.flash().device_id))
    return found.job.job_id, found.records


async def refusal(ask: Awaitable[Any]) -> Code:
    """The code of the no that this must be answered with."""
    try:
        answer = await ask
    except (SignerError, CloudRefusedError) as error:
        return error.code
    raise AssertionError(f"not refused: {answer}")


async def passed(bench: Bench) -> tuple[PinStatement, Completion, dict[RecordKind, Any]]:
    assert (await bench.insert()).verdict is Verdict.PASS
    _, records = await evidence(bench)
    return read(records[RecordKind.PIN], PinStatement), read(records[RecordKind.COMPLETION], Completion), records


def test_one_active_pin_per_device(tmp_path: Path):
    """The same board under another key: signer and registry refuse each on its own."""

    async def story(bench: Bench) -> None:
        pin, _, records = await passed(bench)
        cloud, device = bench.parties().cloud, DeviceId.parse(pin.device_id)
        await cloud.complete(device, records[RecordKind.COMPLETION])
        bench.plant.new_device("twin")
        bench.flash("twin", device_id=device.raw)
        bench.change("st-02", cloud=ShakyCloud(cloud, {"history"}))
        assert (await bench.insert(bench.slot(name="twin"), "st-02")).code == "other-key-pinned"
        assert disk.query(tmp_path / "registry.db", "SELECT count(*) FROM completions") == [(1,)]
        record = await cloud.history(device)
        assert record is not None
        assert (record.state, record.statement) == ("active", records[RecordKind.PIN])

    play(tmp_path, story, ("st-01", "st-02"))


def test_one_device_per_key_modulus_and_ecdsa_r(tmp_path: Path):
    """Ledger, signer and registry each find the second device, so no one of them is alone."""

    async def story(bench: Bench) -> None:
        private = new_private()
        bench.plant.new_device("dev-2")
        assert (await bench.insert(bench.slot(Faults(weak_key=private)))).verdict is Verdict.PASS
        there = await bench.insert(bench.slot(Faults(weak_key=private), "dev-2"), "st-02")
        assert (there.code, there.step, there.exit_code) == ("key-duplicate", "pinned", 4)  # the registry
        _, records = await evidence(bench)
        first = read(records[RecordKind.INTENT], PinStatement)
        other = DeviceId(bench.flash("dev-2").device_id)
        job = (await bench.parties().jobs.begin(other, first.order_id, slot="dev-2")).job
        moved = msgspec.structs.replace(first, job=str(job.job_id), device_id=str(other))
        with pytest.raises(DuplicateKeyError):  # the ledger
            await bench.parties().jobs.record(job.job_id, RecordKind.INTENT, envelope(moved))

    play(tmp_path, story, ("st-01", "st-02"))


def test_no_pin_without_proof_vetting_and_intent(tmp_path: Path):
    async def story(bench: Bench) -> None:
        steady = bench.parties().cloud
        bench.change(cloud=ShakyCloud(steady, {"pin", "history"}))
        await bench.insert()
        _, records = await evidence(bench)
        pin = read(records[RecordKind.INTENT], PinStatement)
        signer, jobs = bench.parties("st-02").signer, bench.parties("st-02").jobs
        here = msgspec.structs.replace(pin, station="st-02")
        proof = msgspec.structs.replace(here.possession, challenge=bytes(32))
        for changed, code in [
            (msgspec.structs.replace(here, possession=proof), Code.PROOF_INVALID),
            (msgspec.structs.replace(here, vetting=Vetting(verdict="unknown", checks=())), Code.KEY_WEAK),
            (here, Code.CHALLENGE_UNKNOWN),
        ]:
            assert await refusal(signer.sign_pin(changed)) is code
        own = (await jobs.begin(DeviceId.parse(pin.device_id), pin.order_id, slot="dev-1")).job
        unintended = msgspec.structs.replace(records[RecordKind.PIN])
        with pytest.raises(RecordConflictError):
            await jobs.record(own.job_id, RecordKind.PIN, unintended)
        unsigned = envelope(msgspec.structs.replace(pin, vetting=Vetting(verdict="weak", checks=())))
        device = DeviceId.parse(pin.device_id)
        assert await refusal(steady.pin(device, unsigned, bench.plant.order)) is Code.STATEMENT_INVALID

    play(tmp_path, story, ("st-01", "st-02"))


def test_no_completion_without_read_back_waiver_and_closing_report(tmp_path: Path):
    async def story(bench: Bench) -> None:
        _, done, records = await passed(bench)
        signer, receipt = bench.parties("st-02").signer, records[RecordKind.PIN_RECEIPT]
        here = msgspec.structs.replace(done, station="st-02")
        verified = here.verification
        nothing = msgspec.structs.replace(verified.possession, signatures=(b"", b""))
        other = msgspec.structs.replace(here.closing, challenge=bytes(32))
        for changed, code in [
            (
                msgspec.structs.replace(here, verification=msgspec.structs.replace(verified, possession=nothing)),
                Code.PROOF_INVALID,
            ),
            (msgspec.structs.replace(here, closing=other), Code.REPORT_INVALID),
            (msgspec.structs.replace(here, port=1), Code.ORDER_REFUSES),
            (msgspec.structs.replace(here, write_refused_after_lock=False), Code.REPORT_INVALID),
            (msgspec.structs.replace(here, receipt_sha256="00" * 32), Code.STATEMENT_INVALID),
            (here, Code.CHALLENGE_UNKNOWN),
        ]:
            assert await refusal(signer.sign_completion(changed, records[RecordKind.PIN], receipt)) is code, changed

    play(tmp_path, story, ("st-01", "st-02"))


def test_an_order_is_counted_by_devices_signed_for(tmp_path: Path):
    """quantity + allowance = passed + held + quarantined + in work + unused; ended before state 7 uses nothing."""

    async def story(bench: Bench) -> None:
        fates = {
            "passed": {},
            "quarantined": {"faults": Faults(anchor_corrupts=True)},
            "in-work": {"faults": Faults(strikes=(Strike(Verb.REPORT, Trouble.ANSWER_LOST, times=9),))},
            "before": {"faults": Faults(generation_fails=True)},
            "held": {},
        }
        steady = bench.parties().cloud
        for name, fate in fates.items():
            bench.plant.new_device(name)
            bench.change(cloud=ShakyCloud(steady, {"pin", "history"}) if name == "held" else steady)
            for _ in range(2):
                await bench.insert(bench.slot(fate.get("faults"), name))
        counters = tmp_path / "st-01" / "counters.db"
        assert disk.query(counters, "SELECT pins, completions, pin_limit FROM orders") == [(4, 1, 12)]
        tally = await bench.parties().jobs.tally("order-1")  # type: ignore[attr-defined]
        signed_for = tally.signed + tally.refused + tally.pinned + tally.passed
        assert (tally.passed, tally.pinned, tally.signed, signed_for) == (1, 2, 1, 4)

    play(tmp_path, story, quantity=10, allowance=2)


def test_signatures_made_equal_payloads_signed_plus_re_signs(tmp_path: Path):
    async def story(bench: Bench) -> None:
        token = bench.parties().signer.verbs.signatory.token  # type: ignore[attr-defined]
        real = token.sign_ecdsa
        answers = iter([True, False, True])

        def lost(label: str, digest: bytes) -> bytes:
            """The token signs, and the second time its answer is lost."""
            made = real(label, digest)
            if not next(answers, True):
                raise TokenUnavailableError("the answer was lost")
            return made

        token.sign_ecdsa = lost
        assert (await bench.insert()).code == "signer-down"
        assert (await bench.insert()).verdict is Verdict.PASS
        status = await bench.parties().signer.status()
        assert sum(token.signed.values()) == sum(status.signatures.values()) + status.resigned == 3
        assert status.resigned == 1

    play(tmp_path, story)


def test_same_job_same_bytes(tmp_path: Path):
    async def story(bench: Bench) -> None:
        steady = bench.parties().cloud
        sent: list[bytes] = []

        class Listening(ShakyCloud):
            def __getattr__(self, verb: str) -> Any:
                ask = super().__getattr__(verb)

                async def told(*args: Any) -> Any:
                    if verb == "pin":
                        sent.append(args[1].to_json())
                    return await ask(*args)

                return told

        bench.change(cloud=Listening(steady, {"pin", "history"}))
        for _ in range(3):
            await bench.insert()
        bench.change(cloud=Listening(steady))
        await bench.insert()
        assert len(sent) == 4
        assert len(set(sent)) == 1

    play(tmp_path, story)


def test_the_log_never_shrinks(tmp_path: Path):
    async def story(bench: Bench) -> None:
        signer, origin = bench.parties().signer, bench.plant.root.root.log_origin("st-01")
        ask = Head(origin=origin, size=2, root_hash=b"\1" * 32, old_size=0, proof=())
        await signer.sign_checkpoint(ask)
        for size, root in [(1, b"\0" * 32), (2, b"\2" * 32)]:
            other = msgspec.structs.replace(ask, size=size, root_hash=root)
            assert await refusal(signer.sign_checkpoint(other)) is Code.CHECKPOINT_CONFLICT
        ledger = tmp_path / "st-01.db"
        await bench.insert()
        before = disk.entries(ledger)
        for statement in ("DELETE FROM leaves", "UPDATE leaves SET entry = x'00'"):
            with pytest.raises(Exception, match=r"append-only|never|stay|leaves"):
                disk.query(ledger, statement)
        await bench.insert()
        assert disk.entries(ledger)[: len(before)] == before

    play(tmp_path, story)


@pytest.mark.timeout(90)
def test_no_private_key_in_any_record_event_diagnostic_or_exception(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Every fault that a unit can cause, with everything that was said about it."""
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    secrets, public = set[bytes](), set[bytes]()

    async def play_all() -> None:
        for code, causes in CAUSES.items():
            for number, cause in enumerate(causes):
                place = tmp_path / f"{code}-{number}"
                async with Bench.make(place, cause.stations, **cause.order) as bench:
                    result = await cause.play(bench)
                    said.extend(map(repr, [result, *bench.plant.events]))
                    said.append(json.dumps(msgspec.to_builtins([result, *bench.plant.events])))
                found = [disk.device(path) for path in place.rglob("*.flash")]
                secrets.update(each.scalar for each in found if each.scalar is not None)
                public.update(each.fingerprint.encode() for each in found if each.fingerprint is not None)

    asyncio.run(play_all())
    held = "\n".join([*said, caplog.text]).encode()
    held += b"".join(disk.everything(path) for path in tmp_path.rglob("*.db"))
    assert len(secrets) > 20
    for secret in secrets:
        assert not [each for each in (*_spellings(secret), str(int.from_bytes(secret)).encode()) if each in held]
    assert sum(each in held for each in public) > 10, "records, events and diagnostics were searched"
