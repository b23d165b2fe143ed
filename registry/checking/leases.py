"""Leases and raised limits in the database, verified: requests, grants, what was reported, acts. Never mends anything.

A station's requests are a chain: each names the lease before it, and its head is over all hashes ever reported; so a
row that is edited or gone breaks it, and the rows of `reported_pins` are what the requests say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import and_, or_, select

from registry.database import Database
from registry.errors import RefusedError
from registry.orders.service import raise_on_record
from registry.pins.finding import Finding, differing
from registry.pins.rows import Row
from registry.tables import lease_signatures, leases, order_raises, reported_pins
from trust.dsse import Envelope, EnvelopeError
from trust.keys import PublicKey
from trust.lease import NO_PINS, Lease, LeaseRequest, chained
from trust.root import Root, RootError, TrustedRoot
from trust.statement import StatementError, moment, read

_CHUNK: Final = 20  # leases of up to 500 hashes each
_UNREADABLE = (EnvelopeError, StatementError, RootError)


@dataclass(slots=True)
class _Chain:
    """One station's requests up to here: head, hash of the last lease, and its number."""

    head: bytes = NO_PINS
    previous: str = ""
    serial: int = 0


@dataclass(slots=True, kw_only=True)
class _Page:
    """Some leases in their order, with signatures and reported hashes (hex, by number) of their stations."""

    rows: Sequence[Row]
    signatures: dict[tuple[str, int], bytes]
    reported: defaultdict[str, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))


def lease_findings(database: Database, trusted: TrustedRoot) -> Iterator[Finding]:
    """Everything about leases that is edited, missing or extra."""
    chains: defaultdict[str, _Chain] = defaultdict(_Chain)
    station, serial = "", 0
    while True:
        page = _page(database, station, serial)
        for row in page.rows:
            if row["station"] != station:
                chains.clear()
            station, serial = row["station"], row["serial"]
            yield from _lease(row, page, chains[station], trusted)
        if len(page.rows) < _CHUNK:
            return


def raise_findings(database: Database, trusted: TrustedRoot) -> Iterator[Finding]:
    """Each act that has raised a limit is approved, and its row says what it says."""
    with database.read() as connection:
        rows = [dict(row) for row in connection.execute(select(order_raises)).mappings()]  # officers' acts are few
    for row in rows:
        try:
            envelope = Envelope.from_json(row["envelope"])
            act = raise_on_record(envelope, trusted, moment(row["taken_at"]))
        except (EnvelopeError, RefusedError, StatementError) as error:
            yield Finding("order_raises", row["act_sha256"], f"envelope: {error}")
            continue
        columns = [
            ("act_sha256", row["act_sha256"], envelope.payload_sha256),
            ("order_sha256", row["order_sha256"], act.order_sha256),
            ("station", row["station"], act.signer), ("units", row["units"], act.units),
        ]  # fmt: skip
        yield from differing("order_raises", row["act_sha256"], columns)


def _page(database: Database, station: str, serial: int) -> _Page:
    after = or_(leases.c.station > station, and_(leases.c.station == station, leases.c.serial > serial))
    query = select(leases).where(after).order_by(leases.c.station, leases.c.serial).limit(_CHUNK)
    with database.read() as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
        page = _Page(rows=rows, signatures={})
        for row in rows:
            own = select(lease_signatures.c.envelope).where(
                lease_signatures.c.station == row["station"], lease_signatures.c.serial == row["serial"]
            )
            signed = connection.execute(own).scalar_one_or_none()
            if signed is not None:
                page.signatures[row["station"], row["serial"]] = signed
            told = select(reported_pins.c.number, reported_pins.c.statement_sha256).where(
                reported_pins.c.station == row["station"],
                reported_pins.c.number > row["signed"] - len(_request(row)),
                reported_pins.c.number <= row["signed"],
            )
            page.reported[row["station"]].update({each.number: each[1] for each in connection.execute(told)})
    return page


def _request(row: Row) -> tuple[bytes, ...]:
    """The hashes that the request reports; none if it cannot be read, which is found later."""
    try:
        return read(Envelope.from_json(row["request"]), LeaseRequest).pins
    except _UNREADABLE:
        return ()


def _lease(row: Row, page: _Page, chain: _Chain, trusted: TrustedRoot) -> Iterator[Finding]:
    key = f"{row['station']} serial {row['serial']}"
    try:
        asked, given = Envelope.from_json(row["request"]), Envelope.from_json(row["lease"])
        request, lease = read(asked, LeaseRequest), read(given, Lease)
        if not _signed(asked, trusted, request.root_sha256, lambda root: root.account_key(request.station)):
            yield Finding("leases", key, "request: not signed by the station's account key")
    except _UNREADABLE as error:
        yield Finding("leases", key, f"request or lease: {error}")
        return
    yield from differing("leases", key, _columns(row, asked, request, lease))
    follows = [
        ("serial after the last one", row["serial"], chain.serial + 1),
        ("lease before it", request.previous_sha256, chain.previous),
        ("head", request.head, chained(chain.head, request.pins)),
    ]
    yield from differing("leases", key, follows)
    chain.head, chain.previous, chain.serial = request.head, given.payload_sha256, row["serial"]
    yield from _reported(row, request, page)
    yield from _signature(row, given, lease, page, trusted)


def _columns(row: Row, asked: Envelope, request: LeaseRequest, lease: Lease) -> list[tuple[str, object, object]]:
    of_request = ("station", "serial", "signed", "head", "log_size", "log_root_hash")
    of_both = ("station", "serial", "signed")
    return [
        *((name, row[name], getattr(request, name)) for name in of_request),
        ("request_sha256", row["request_sha256"], asked.payload_sha256),
        *((f"{name} of the lease", getattr(lease, name), getattr(request, name)) for name in of_both),
        ("request of the lease", lease.request_sha256, asked.payload_sha256),
        ("up_to", row["up_to"], lease.up_to),
        ("granted_at", row["granted_at"], lease.granted_at),
    ]  # fmt: skip


def _reported(row: Row, request: LeaseRequest, page: _Page) -> Iterator[Finding]:
    first = request.signed - len(request.pins) + 1
    for number, sha256 in enumerate(request.pins, first):
        found = page.reported[row["station"]].get(number)
        if found != sha256.hex():
            key = f"{row['station']} number {number}"
            yield Finding("reported_pins", key, "missing" if found is None else "not the hash that was reported")


def _signature(row: Row, given: Envelope, lease: Lease, page: _Page, trusted: TrustedRoot) -> Iterator[Finding]:
    key = f"{row['station']} serial {row['serial']}"
    data = page.signatures.get((row["station"], row["serial"]))
    if data is None:
        yield Finding("lease_signatures", key, "missing", due=True)
        return
    try:
        signed = Envelope.from_json(data)
        held = _signed(signed, trusted, lease.root_sha256, lambda root: root.lease_key)
    except _UNREADABLE as error:
        yield Finding("lease_signatures", key, f"envelope: {error}")
        return
    if not held or not signed.same_statement(given):
        yield Finding("lease_signatures", key, "envelope: not the registry's word on this lease")


def _signed(envelope: Envelope, trusted: TrustedRoot, since: str, key_of: Callable[[Root], PublicKey | None]) -> bool:
    """By the key of the version that it names, or of one that followed: it may have been signed anew since."""
    keys = [key_of(root) for root in trusted.since(since)]
    return any(key is not None and envelope.signed_by(key) for key in keys)
