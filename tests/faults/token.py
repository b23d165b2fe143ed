"""The campaign of the token: so many PKCS#11 faults during running batches. Run by `python -m tests.faults.token --faults N`.

Real floor, ledger, registry service and signer process over its socket; in-process devices. Whatever happens, every unit
passes in the end, under one job, with one pin statement; no record stays unsigned; a refused PIN is given once; and the
signer's count of signatures holds against the token's own. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from fixtures.indicators import Lamp
from hsm.client import SignerClient
from hsm.signer import SignerError, SignerStatus, SignerUnavailableError
from station import patience
from station.agreement import log_key
from station.audit import audit
from station.events import AnyEvent, LineStopped, UnitFinished, Verdict
from station.floor import Floor
from station.line import StopSwitch
from station.patience import PatientSigner
from station.port import Batch
from station.voice import Voice
from station.wiring import outbox_maker
from tests.faults import disk
from tests.faults.result import Result
from tests.faults.token_plant import STATION, SignerProcess, make_plant
from tests.faults.token_trouble import Trouble
from tests.flow.plant import LocalCloud, Plant
from trust.dsse import Envelope
from trust.statement import PinStatement

IN_MEMORY = "/dev/shm"  # processes are killed here, power is not cut: no disk is waited for
_SLOTS, _PATIENCE_S = 12, 15.0
PLANTED = {
    "": "",
    "silent": "from hsm.counters import Counters; Counters.count_again = lambda *_: None",
    "stubborn": "from hsm.token.pin_tries import PinTries; PinTries.refused = lambda _: None; PinTries.begin = lambda _: None",
}


class Recorded:
    """A signer's client; what it answered to each job's pin statement is kept."""

    def __init__(self, client: SignerClient) -> None:
        self._client = client
        self.pins: dict[str, set[bytes]] = {}

    async def sign_pin(self, statement: PinStatement) -> Envelope:
        signed = await self._client.sign_pin(statement)
        self.pins.setdefault(statement.job, set()).add(signed.to_json())
        return signed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


class Dark:
    """Lamps that nobody looks at."""

    async def show(self, slot: str, lamp: Lamp) -> None:
        """Nothing to light."""


@dataclass(slots=True)
class Campaign:
    """One plant, its signer, and units without end. `left` have begun and not passed."""

    plant: Plant
    signer: SignerProcess
    trouble: Trouble
    result: Result
    recorded: Recorded
    left: list[str] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)
    stops: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        """Batches under injection, then quiet ones until every unit has passed."""
        assert await self.signer.start(), "\n".join(self.signer.said())[-2000:]
        await self.recorded.import_order(self.plant.order)
        injecting = asyncio.create_task(self.trouble.run())
        while not injecting.done():
            await self._batch(
                [*self.left, *(f"dev-{len(self.devices) + more}" for more in range(_SLOTS - len(self.left)))]
            )
            await self._see_to_the_pin()
        await injecting
        await self._see_to_the_pin()
        self.signer.shim.quiet()
        while self.left:
            await self._batch(self.left)
        status = await self.recorded.status()
        await self.recorded.close()
        await self.signer.stop()
        self.result.violations += judged(self, status)

    async def _batch(self, names: list[str]) -> None:
        """One batch at the real floor, a unit a slot; `left` are those that did not pass."""
        for name in names:
            if name not in self.left:
                self.devices.append(str(self.plant.new_device(name)))
        store, voice, stop = self.plant.jobs(STATION), Voice(), StopSwitch()
        await store.keep_order(self.plant.order)
        said: list[AnyEvent] = []
        signer: Any = self.recorded
        line = self.plant.line_of(
            STATION, jobs=store, cloud=LocalCloud(self.plant.registry()), stop=stop, emit=said.append, indicators=Dark(),
            signer=PatientSigner(signer=signer, emit=said.append, patience_s=_PATIENCE_S, stop=stop),
        )  # fmt: skip
        slots = [self.plant.slot(name) for name in names]
        floor = Floor(line, slots, outbox_maker(line, store, self.plant.stamp(STATION)), voice)
        await floor.run(Batch(count=len(slots), slots=(), retries=1))
        with contextlib.suppress(SignerError, SignerUnavailableError):
            await store.publish(log_key(self.plant.root, STATION), signer.sign_checkpoint)
        await store.close()
        self.plant.close()
        passed = {each.slot for each in said if isinstance(each, UnitFinished) and each.verdict is Verdict.PASS}
        self.left = [name for name in names if name not in passed]
        self.stops.update(each.code for each in said if isinstance(each, LineStopped))
        for event in said:
            if isinstance(event, UnitFinished):
                end = event.code or event.verdict.value
                self.result.verdicts[end] = self.result.verdicts.get(end, 0) + 1

    async def _see_to_the_pin(self) -> None:
        """A PIN that is out: no restart gives it again, until a person has seen to it."""
        if not self.trouble.pin_is_out:
            return
        shim, self.trouble.pin_is_out = self.signer.shim, False
        await self.signer.stop()
        given = shim.logins
        for _ in range(2):
            if await self.signer.start():
                self.result.violations.append("a signer started with a PIN that is out")
                await self.signer.stop()
        if shim.logins != given:
            self.result.violations.append(f"a PIN that is out was given {shim.logins - given} times more")
        shim.quiet()
        self.signer.allow_pin()
        assert await self.signer.start(), "\n".join(self.signer.said())[-2000:]
        self.trouble.may_go_on.set()


def judged(campaign: Campaign, status: SignerStatus) -> list[str]:
    """What does not hold at the end."""
    return [*_records(campaign), *_statements(campaign), *_signatures(campaign, status)]


def _records(campaign: Campaign) -> Iterator[str]:
    """Every unit has passed under one job, and the log is whole."""
    ledger = campaign.plant.directory / f"{STATION}.db"
    for device in campaign.devices:
        jobs = disk.jobs(ledger, device)
        if len(jobs) != 1 or not disk.is_completed(ledger, device):
            yield f"device {device}: {len(jobs)} jobs, completed: {disk.is_completed(ledger, device)}"
    if waiting := disk.pending(ledger):
        yield f"{len(waiting)} statements wait in the outbox"
    engine = campaign.plant.ledger(STATION)
    report = audit(engine, campaign.plant.root, STATION)
    engine.dispose()
    yield from (f"audit: {each}" for each in report.findings)
    if report.covered != report.leaves:
        yield f"{report.covered} of {report.leaves} leaves are under a checkpoint"


def _statements(campaign: Campaign) -> Iterator[str]:
    """One pin statement a device, the same bytes everywhere, and nothing unsigned."""
    counters, registry = campaign.plant.directory / "signer" / "counters.db", campaign.plant.directory / "registry.db"
    for table, column in (("statements", "envelope"), ("checkpoints", "note")):
        unsigned = disk.query(counters, f"SELECT count(*) FROM {table} WHERE {column} IS NULL")[0][0]
        if unsigned:
            yield f"{unsigned} {table} without a signature"
    pins: dict[str, set[bytes]] = {}
    for device, envelope in disk.query(counters, "SELECT device_id, envelope FROM statements WHERE kind = 'pin'"):
        pins.setdefault(device, set()).add(disk.Sealed.of(envelope).payload)
    for device, statement in disk.query(registry, "SELECT device_id, statement FROM pins"):
        pins.setdefault(device, set()).add(disk.Sealed.of(statement).payload)
    yield from (f"device {device}: {len(held)} pin statements" for device, held in pins.items() if len(held) != 1)
    if pins.keys() != set(campaign.devices):
        yield f"{len(pins)} devices have pin statements, of {len(campaign.devices)}"
    answers = campaign.recorded.pins
    yield from (f"job {job} was answered with {len(each)} signatures" for job, each in answers.items() if len(each) > 1)


def _signatures(campaign: Campaign, status: SignerStatus) -> Iterator[str]:
    """Made by the token <= payloads + re-signs; what is over is explained by attempts that are known not to have signed.

    A killed signer cannot tell: each kill explains at most what its slots had asked for.
    """
    shim, counted = campaign.signer.shim, sum(status.signatures.values()) + status.resigned
    unmade = shim.entered("C_Sign") - shim.signatures
    never = sum("not signed: " in line for line in campaign.signer.said())
    over = counted - shim.signatures - unmade - never
    campaign.result.figures = (
        f"{shim.signatures} signatures by the token, {counted} counted ({status.resigned} again), "
        f"{unmade + never} known not made, {over} unexplained by {campaign.trouble.struck['killed']} kills; "
        f"{shim.logins} logins, {shim.refused} PINs refused; line stops {dict(campaign.stops)}"
    )
    if shim.signatures > counted:
        yield f"the token made {shim.signatures} signatures, {counted} are counted"
    if not 0 <= over <= campaign.trouble.struck["killed"] * _SLOTS:
        yield f"{over} signatures are counted, not made, and not explained"
    if shim.refused != campaign.trouble.pins_refused:
        yield f"{shim.refused} PINs were refused, {campaign.trouble.pins_refused} by the plan"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="token", description=__doc__)
    parser.add_argument("--faults", type=int, default=200, help="so many faults")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plant", default="", choices=sorted(PLANTED), help="a fault in the signer itself")
    parser.add_argument("--part", default="0/1", help="not used: a campaign is one run")
    chosen = parser.parse_args(argv)
    result = Result(name="token")
    logging.disable(logging.CRITICAL)
    patience._FIRST_PAUSE_S = 0.03
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ks-", dir=IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None) as name:
        place = Path(name)
        plant = make_plant(place, quantity=chosen.faults * 4 + 1000)
        signer = SignerProcess.over(place, PLANTED[chosen.plant])
        trouble = Trouble(signer, chosen.faults, chosen.seed)
        campaign = Campaign(plant, signer, trouble, result, Recorded(SignerClient(signer.socket)))
        asyncio.run(campaign.run())
    result.points, result.trials = trouble.struck.total(), len(campaign.devices)
    result.children = trouble.struck["killed"]
    result.seconds = round(time.monotonic() - began, 1)
    sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
    sys.stderr.write(f"{dict(trouble.struck)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
