"""What `station check` can only ask once the trust root is known: order, ledger and clock, signer, registry."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hsm.signer import SignerError, SignerForbiddenError, SignerStatus, SignerUnavailableError
from station import config as settings
from station import rostering, wiring
from station.agreement import check_signer, require_known_root, require_same_order
from station.cloud.trouble import of_certificate
from station.cloud.way import Way, WayError
from station.disk import require_writable
from station.faults import Fault
from station.finding import Finding, NotReadyError, ask, in_a_line
from station.greeting import greet
from station.jobs import LedgerError
from station.jobs.store import JobStore
from station.leaves import classify
from station.line import Clock
from station.objections import beside, read_objections
from station.order_report import passed_and_not_scrapped, room_left
from station.outstanding import left_over, objections
from station.plan import for_this_station, load_order
from station.same_log import require_same_log
from trust.dsse import Envelope
from trust.identity import DeviceId
from trust.order import WorkOrder, window_problem
from trust.root import TrustedRoot
from trust.statement import read


@dataclass(frozen=True, slots=True)
class Known:
    """One station and its trust root."""

    config: settings.Config
    paths: settings.Paths
    root: TrustedRoot

    async def findings(self, order_file: Path | None, work: WorkOrder | None) -> list[Finding]:
        """Order, ledger and clock, what was objected to, signer, registry. `work`: the file's order, if it is one."""
        signer, ledger = await self._signer_and_ledger()
        if not ledger.good:  # a batch may have ended between the two answers, and its log got a new head
            signer, ledger = await self._signer_and_ledger()
        return [
            await ask("order", lambda: self._order(order_file)),
            ledger,
            *(await self._objected() if ledger.good else ()),
            await ask("signer", lambda: self._signer(signer)),
            await ask("registry", lambda: self._registry(signer, work)),
            *((await ask("roster", self._roster),) if ledger.good else ()),
        ]

    async def _order(self, order_file: Path | None) -> str:
        if order_file is None:
            return "none given (--order FILE checks one)"
        order = load_order(order_file, self.root)
        work = read(order, WorkOrder)
        for_this_station(work, self.config)
        part = work.allotted(self.config.station.name)
        total = f"{work.order_id}: {part.quantity} + {part.allowance} of {work.product}, {work.key_type}"
        passed, closed = await self._room(order)
        total += f", {signed(bool(order.signatures))}; {passed} have passed here"
        if closed is None:
            return total
        raise NotReadyError(f"{total}; no unit may be begun, only what was signed for can be finished: {closed}")

    async def _room(self, order: Envelope) -> tuple[int, str | None]:
        """How many units have passed, and what keeps a new one from being begun, as the flow judges it."""
        if not wiring.begun(self.paths.database):
            return 0, window_problem(read(order, WorkOrder), dt.datetime.now(dt.UTC))
        store = wiring.read_store(self.config, self.paths, self.root)
        try:
            work = await require_same_order(store, order)
            room, passed = await room_left(store, work), await passed_and_not_scrapped(store, work.order_id)
        except LedgerError as error:
            raise classify(error) from error
        finally:
            await store.close()
        try:
            room.enter("", DeviceId(secrets.token_bytes(12)))
        except Fault as error:
            return passed, error.detail if error.code == "order-full" else str(error)
        return passed, None

    async def _signer_and_ledger(self) -> tuple[SignerStatus | NotReadyError, Finding]:
        signer = await self._status()
        return signer, await ask("ledger", lambda: self._ledger(signer))

    async def _status(self) -> SignerStatus | NotReadyError:
        """What the root's signer says of itself: ledger and signer are both judged by it."""
        signer = wiring.open_signer(self.paths)
        try:
            status = await signer.status()
            check_signer(self.config, self.root, status)
        except SignerForbiddenError as error:
            return NotReadyError(str(error))
        except (SignerError, SignerUnavailableError) as error:
            return NotReadyError(
                f"{error}. Start it: its service, or station-signer serve --dir DIR --root ROOT as its user"
            )
        except Fault as error:
            return NotReadyError(in_a_line(error))
        finally:
            await signer.close()
        return status

    async def _ledger(self, signer: SignerStatus | NotReadyError) -> str:
        require_writable(self.paths.database)
        if not wiring.begun(self.paths.database):
            return await self._no_ledger(signer)
        store = wiring.read_store(self.config, self.paths, self.root)
        try:
            await require_known_root(store, self.root)
            compared = await self._compared(signer, store)
            tip, newest = await store.tip(), await store.newest_event()
            waiting = await left_over(store, Clock().now())
        except LedgerError as error:
            raise classify(error) from error
        finally:
            await store.close()
        clock = Clock()
        now = clock.utc()
        if newest is not None and newest.at > now:
            raise NotReadyError(f"the clock says {now}, the newest record is of {newest.at}. Set the clock.")
        return f"{tip.size} leaves; {waiting}; {compared}; the clock is not behind"

    async def _no_ledger(self, signer: SignerStatus | NotReadyError) -> str:
        if isinstance(signer, NotReadyError):
            return "none here; whether there was one, the signer would know"
        await require_same_log(signer, self._origin, None)
        return "none yet; the first batch makes it"

    async def _compared(self, signer: SignerStatus | NotReadyError, store: JobStore) -> str:
        if isinstance(signer, NotReadyError):
            return "not compared with the signer"
        await require_same_log(signer, self._origin, store)
        return "the log that the signer knows"

    async def _objected(self) -> tuple[Finding, ...]:
        """A finding for each statement that waits because the registry objected to it."""
        told = read_objections(beside(self.paths.database))
        found = await self._objections(told) if told else ()
        return tuple(Finding("objected", "BAD", f"{each}. Nothing is lost; call the line engineer.") for each in found)

    async def _objections(self, told: Mapping[str, str]) -> tuple[str, ...]:
        store = wiring.read_store(self.config, self.paths, self.root)
        try:
            return await objections(store, told)
        finally:
            await store.close()

    @property
    def _origin(self) -> str:
        return self.root.root.log_origin(self.config.station.name)

    async def _signer(self, status: SignerStatus | NotReadyError) -> str:
        if isinstance(status, NotReadyError):
            raise status
        total = sum(status.signatures.values())
        token = f"{status.token_label} ({status.token_model})"
        return f"{status.name}, token {token}, {total} signatures, keys are the root's"

    async def _roster(self) -> str:
        if self.root.root.roster_key is None:
            return "none: the trust root names no key for it"
        seen = None
        if wiring.begun(self.paths.database):
            store = wiring.read_store(self.config, self.paths, self.root)
            try:
                seen = await store.last_event(rostering.TAKEN_UP)
            except LedgerError as error:
                raise classify(error) from error
            finally:
                await store.close()
        now = dt.datetime.now(dt.UTC)
        if seen is None and not rostering.beside(self.paths.database).exists():
            return "none yet; a batch fetches it while the registry answers"
        try:
            return rostering.in_words(rostering.read_kept(self.paths.database, self.root, seen, now), now)
        except rostering.RosterError as error:
            raise NotReadyError(str(error)) from error

    async def _registry(self, status: SignerStatus | NotReadyError, work: WorkOrder | None) -> str:
        signer_there = not isinstance(status, NotReadyError)
        signer = wiring.open_signer(self.paths)
        cloud = wiring.open_cloud(self.config, self.root, signer)
        try:
            said = await greet(cloud, self.root, work, as_ourselves=signer_there)
        except NotReadyError as error:
            if not of_certificate(error):
                raise
            raise NotReadyError(await self._intercepted(str(error))) from error
        finally:
            await cloud.close()
            await signer.close()
        takes_us = "takes this station" if signer_there else "not asked whether it takes this station: no signer"
        there = f"{self.root.root.registry_url} answers, signs receipts, has this root"
        meets = said.device_service or "its device service is there"
        return f"{there}; {takes_us}; TLS certificate is the root's; {meets}"

    async def proxy(self) -> str:
        """What the proxy says; NotReadyError if it keeps this station from the registry."""
        try:
            return await self._way.let_through()
        except WayError as error:
            raise NotReadyError(str(error)) from error

    async def _intercepted(self, said: str) -> str:
        """What was said of a certificate that was refused, with whose it is."""
        shown = await self._way.shown_instead(self.root.root.tls_root)
        if shown is None:
            return said
        return (
            f"{said} TLS is opened on the way, or another server answers: {shown}. Have "
            f"{self._way.host}:{self._way.port} passed through unopened; no setting makes this station trust that one."
        )

    @property
    def _way(self) -> Way:
        return Way.to(self.root.root.registry_url, self.config.registry.proxy, self.config.registry.timeout_s)


def signed(yes: bool) -> str:  # noqa: FBT001 - a word for a fact
    """How a document stands, in a word."""
    return "approved" if yes else "unsigned"
