"""A unit that got another key by an approved act is known as that: by what proves the act, and by nothing less."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fixtures.families.smp.emulated import flash
from registry.database import Database
from station.cloud import CloudUnreachableError
from station.cloud.held import Answer, Held
from station.events import Verdict
from station.evidence import Assigned, Identified
from station.faults import Fault
from station.jobs import Job, RecordKind
from station.jobs.leaf import VERIFIED_AGAIN
from station.rework import rekeyed
from station.rework.reworked import of
from station.unit import Unit
from tests.registry.benching import Benched, KilledError, Registry, site_with_signer
from tests.registry.make import ec_key, public
from trust.keys import PublicKey
from trust.statement import StatementError

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def benched(database: Database, tmp_path: Path) -> Benched:
    """A unit with another key than it was finished with."""
    made = Benched(site_with_signer(database, tmp_path), tmp_path)
    done = asyncio.run(made.rework(made.site.act(made.device, "rekey")))
    assert done.verdict is Verdict.PASS, done
    return made


def answer(benched: Benched) -> Any:
    registry = Registry(benched.site, benched.points)
    return json.loads(asyncio.run(registry.asked("GET", f"/v1/devices/{benched.device.device_id}")))


def held(benched: Benched, said: Any) -> Held:
    text = json.dumps(said, separators=(",", ":"), sort_keys=True)
    return Held(benched.device.device_id, msgspec.json.decode(text, type=Answer))


def new_key(benched: Benched) -> PublicKey:
    (found,) = [each.key for each in benched.site.read(benched.device).keys if each.state == "active"]
    return found


def test_the_newest_key_and_no_other(benched: Benched) -> None:
    trusted, said = benched.site.made.trusted, answer(benched)
    (act,) = benched.site.read(benched.device).deeds
    assert held(benched, said).gave_key(new_key(benched).fingerprint, trusted) == act.envelope.payload_sha256
    for other in (public(benched.device.key), public(ec_key())):
        assert held(benched, said).gave_key(other.fingerprint, trusted) is None
    said["acts"] = []
    assert held(benched, said).gave_key(new_key(benched).fingerprint, trusted) is None


TWISTS: dict[str, Callable[[Any], None]] = {
    "one approver": lambda said: said["acts"][0]["act"]["signatures"].pop(),
    "nobody": lambda said: said["acts"][0]["act"].update(signatures=[]),
    "the pin's receipt": lambda said: said["acts"][0].update(receipt=said["receipt"]),
    "no statement of a new key": lambda said: said["acts"][0].update(repin=None),
    "an unsigned receipt": lambda said: said["acts"][0]["receipt"].update(signatures=[]),
    "another's signature": lambda said: said["acts"][0]["receipt"].update(signatures=said["statement"]["signatures"]),
}


@pytest.mark.parametrize("twist", TWISTS)
def test_what_does_not_prove_it_is_not_believed(benched: Benched, twist: str) -> None:
    said = copy.deepcopy(answer(benched))
    TWISTS[twist](said)
    with pytest.raises(StatementError):
        held(benched, said).gave_key(new_key(benched).fingerprint, benched.site.made.trusted)


async def taken(
    benched: Benched, *, key: PublicKey | None = None, asked: bool = True, ledger: bool = False, finished: bool = True,
    answers: bool = True,
) -> str:  # fmt: skip
    """What `station run` says of the unit in its slot: the code of the fault."""
    slot = benched.slot()
    registry = Registry(benched.site, benched.points)

    async def away(*_: object) -> bytes:
        raise CloudUnreachableError("planted")

    cloud = registry if answers else SimpleNamespace(asked=away)
    bench = benched.bench(benched.site.act(benched.device, "rekey"))

    async def nothing(*_: object) -> tuple[()]:
        return ()

    jobs = SimpleNamespace(told_of=benched.memory.told_of if ledger else nothing, note=benched.memory.note)
    line: Any = SimpleNamespace(
        root=benched.site.made.trusted, work=benched.site.made.order, station="st-01", cloud=cloud, jobs=jobs, clock=bench.clock,
        generation_timeout_s=1.0, longest_pause_s=0.01,
    )  # fmt: skip
    unit = Unit(line, slot)
    await unit.open()
    identity = await unit.meet()
    device = benched.device
    pin = benched.site.pins.find(device.device_id)
    assert pin is not None
    records = {RecordKind.PIN: pin.pin.statement}
    if finished:
        assert pin.completion is not None
        records[RecordKind.COMPLETION] = pin.completion.statement
    job = Job(job_id=device.job, device_id=device.device_id, order_id=line.work.order_id, adopted=False)
    assigned = Assigned(
        identified=Identified(identity=identity, registered=None, asked=asked), job=job, attempt=2, records=records
    )
    try:
        found_key = key or (await unit.device.public_key()).public_key
        act = await rekeyed.act_of(line, unit, assigned, found_key)
        if act is not None:
            raise await rekeyed.turned_away(line, unit, assigned, found_key, act)
    except Fault as found:
        return found.code
    finally:
        await unit.close()
        slot._device.power_off()
    return "taken"


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({}, "unit-rekeyed"),
        ({"ledger": True, "answers": False, "asked": False}, "unit-rekeyed"),
        ({"answers": False, "asked": False}, "registry-needed"),
        ({"answers": False}, "key-changed"),
        ({"finished": False}, "key-changed"),
    ],
)
def test_what_a_batch_says_of_it(benched: Benched, told: dict[str, bool], code: str) -> None:
    assert asyncio.run(taken(benched, **told)) == code  # type: ignore[arg-type]


def opened_since(benched: Benched) -> None:
    key = new_key(benched).fingerprint
    act = benched.site.act(benched.device, "rekey", change="unlock", key_type="", fingerprint=key)
    done = asyncio.run(benched.rework(act))
    assert (done.verdict, benched.flash().locked_for) == (Verdict.PASS, None), done


def with_another_anchor(benched: Benched) -> None:
    held = benched.flash()
    assert held.anchor is not None
    flash.store(benched.path, msgspec.structs.replace(held, anchor=msgspec.structs.replace(held.anchor, port=4433)))


@pytest.mark.parametrize("same_anchor", [True, False])
def test_one_that_was_opened_since_is_whole_and_locked_again(benched: Benched, *, same_anchor: bool) -> None:
    """With the order's anchor, which nothing has replaced by an act."""
    before = benched.flash().anchor
    opened_since(benched)
    if not same_anchor:
        with_another_anchor(benched)
    assert asyncio.run(taken(benched, ledger=True)) == "unit-rekeyed"
    assert (benched.flash().locked_for, benched.flash().anchor) == (benched.device.job.raw, before)
    (noted,) = [each for each in benched.memory.events if each.kind == VERIFIED_AGAIN]
    assert len(noted.details["words"].split()) == 1
    assert of(benched.memory.events).reason == ""
    assert asyncio.run(taken(benched, ledger=True)) == "unit-rekeyed"
    assert [each.kind for each in benched.memory.events].count(VERIFIED_AGAIN) == 1, "once is enough"


def test_one_that_was_locked_without_a_record_gets_it_later(benched: Benched) -> None:
    """The station died between lock and record: the next insertion finds it locked, and looks all the same."""
    opened_since(benched)
    benched.points.kill_before = len(benched.points.met) + 1  # behind the question for words, at the record
    with pytest.raises(KilledError):
        asyncio.run(taken(benched, ledger=True))
    assert benched.flash().locked_for is not None
    assert of(benched.memory.events).reason == "not-locked"
    benched.points.kill_before = None
    assert asyncio.run(taken(benched, ledger=True)) == "unit-rekeyed"
    assert of(benched.memory.events).reason == ""


def test_a_locked_one_with_another_anchor_is_not_called_whole(benched: Benched) -> None:
    opened_since(benched)
    with_another_anchor(benched)
    held = benched.flash()
    flash.store(benched.path, msgspec.structs.replace(held, locked_for=benched.device.job.raw))
    assert asyncio.run(taken(benched, ledger=True)) == "unit-rekeyed"
    assert of(benched.memory.events).reason == "not-locked"


def test_control_a_key_of_nobodys_act_is_set_aside_and_one_that_is_only_claimed_is_not_believed(
    benched: Benched,
) -> None:
    assert asyncio.run(taken(benched, key=public(ec_key()), ledger=True)) == "key-changed"
    claimed = new_key(benched)
    other = ec_key().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    clone = flash.KeyRecord(1, other, benched.device.job.raw)
    flash.store(benched.path, msgspec.structs.replace(benched.flash(), key=clone))
    assert asyncio.run(taken(benched, key=claimed)) == "bad-proof"
