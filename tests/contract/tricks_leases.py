"""Tricks with leases: old ones, others' ones, forged ones, and requests that are not the signer's or not its next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from tests.contract import tricked as party
from tests.contract.stage import OTHER, STATION, UNITS, Stage, utc
from tests.contract.tricked import Party, Trick
from tests.hsm.floor import Device
from tests.hsm.software_token import sealed
from tests.trust.documents import ec_key
from tests.trust.people import signature, with_signatures
from trust.dsse import Envelope
from trust.lease import Lease, LeaseRequest
from trust.statement import envelope, read

Play = Callable[[Stage], tuple[Any, Any]]
DAY = 24 * 3600


def leased(purpose: str = "lease", **changes: Any) -> Play:
    """The registry's next answer, changed, under this key of the cloud; a function of the stage gives a value."""

    def play(stage: Stage) -> tuple[Envelope, Envelope]:
        right = stage.leases.grant(stage.factory.lease_request())
        says = {name: each(stage) if callable(each) else each for name, each in changes.items()}
        return sealed(stage.cloud, msgspec.structs.replace(read(right, Lease), **says), purpose), right

    return play


def old_lease(stage: Stage) -> tuple[Envelope, Envelope]:
    """The first one again, after the second: it would be a fresh five."""
    first = stage.lease
    stage.renew()
    return first, stage.leases.grant(stage.factory.lease_request())


def bare_lease(stage: Stage) -> tuple[Envelope, Envelope]:
    right = stage.leases.grant(stage.factory.lease_request())
    return msgspec.structs.replace(right, signatures=()), right


def by_the_signer(stage: Stage) -> tuple[Envelope, Envelope]:
    """The station's signer cannot lease to itself: its account key signs other things."""
    right = stage.leases.grant(stage.factory.lease_request())
    return sealed(stage.tokens[STATION], read(right, Lease), "account"), right


def requested(purpose: str = "account", **changes: Any) -> Play:
    """What the signer would ask, changed, under this key of its own."""

    def play(stage: Stage) -> tuple[Envelope, Envelope]:
        right = stage.factory.lease_request()
        wrong = msgspec.structs.replace(read(right, LeaseRequest), **changes)
        return sealed(stage.tokens[STATION], wrong, purpose), right

    return play


def by_the_stations_user(stage: Stage) -> tuple[Envelope, Envelope]:
    """Malware that talks to the socket, and has every right request, but no key."""
    right = stage.factory.lease_request()
    forged = envelope(msgspec.structs.replace(read(right, LeaseRequest), nonce="cd" * 32))
    return with_signatures(forged, signature(ec_key(), forged)), right


def another_question(stage: Stage) -> tuple[Envelope, Envelope]:
    """A second request for a number that was granted: two signers with one key."""
    asked = read(stage.factory.lease_request(), LeaseRequest)
    stage.renew()
    twin = sealed(stage.tokens[STATION], msgspec.structs.replace(asked, nonce="cd" * 32), "account")
    return twin, stage.factory.lease_request()


def sign_after_renewal(stage: Stage, made: object) -> None:
    """First without a new lease, then with one."""
    if made is not None:
        stage.renew()
    stage.factory.sign_pin(stage.floor.pin(Device()))


def used_up(stage: Stage) -> tuple[None, object]:
    """All of the lease's units are made, of other orders with room."""
    floor = stage.floor_of(stage.order(quantity=50))
    for _ in range(UNITS):
        stage.factory.sign_pin(floor.pin(Device()))
    return None, object()


def over_time(stage: Stage) -> tuple[None, object]:
    """The lease is over, as a later signed time shows; the signer's clock is set back."""
    stage.registry_clock.ahead_s = 8 * DAY
    stage.factory.signatory.counters.see_time(int(stage.registry_clock()))
    return None, object()


LEASE, SIGNED, REQUEST = party.ON_LEASE, party.ON_SIGNED_LEASE, party.ON_REQUEST
LEASED: dict[str, Party] = {"signer": sign_after_renewal}
NOT_ROOTS = "not signed by"
ROWS: tuple[tuple[str, dict[str, Party], Play, str], ...] = (
    ("lease: an old one again", LEASE, old_lease, "does not answer"),
    ("lease: another station's", SIGNED, leased(station=OTHER), "does not answer|of 'st-02'"),
    ("lease: of another registry", LEASE, leased(registry="reg-02"), "another environment, registry or trust root"),
    ("lease: of environment demo", SIGNED, leased(environment="demo"), "environment"),
    ("lease: of an unknown root", SIGNED, leased(root_sha256="ab" * 32), "root"),
    ("lease: another request's", LEASE, leased(request_sha256="ab" * 32), "does not answer"),
    ("lease: another number", LEASE, leased(serial=7), "does not answer"),
    ("lease: more units than the root allows", LEASE, leased(up_to=UNITS + 1), f"allows {UNITS} at a time"),
    ("lease: more units by beginning later", LEASE, leased(signed=100, up_to=100 + UNITS), "does not answer"),
    ("lease: longer than the root allows", LEASE, leased(expires_at=lambda s: utc(s.clock() + 8 * DAY)), "allows 7 days"),
    ("lease: ends before it begins", LEASE, leased(expires_at="2020-01-01T00:00:00Z"), "allows 7 days"),
    ("lease: signed by nobody", SIGNED, bare_lease, NOT_ROOTS),
    ("lease: signed with the receipt key", SIGNED, leased("receipt"), NOT_ROOTS),
    ("lease: signed by the station's own signer", SIGNED, by_the_signer, NOT_ROOTS),
    ("lease: used up", LEASED, used_up, "is used up"),
    ("lease: over, and the signer's clock set back", LEASED, over_time, "ended at"),
    ("lease request: by the station's user", REQUEST, by_the_stations_user, "not signed by the account key"),
    ("lease request: under the signer's pin key", REQUEST, requested("pin"), "not signed by the account key"),
    ("lease request: another station's", REQUEST, requested(station=OTHER), "not signed by the account key"),
    ("lease request: of an unknown station", REQUEST, requested(station="st-99"), "not in the trust root"),
    ("lease request: of environment demo", REQUEST, requested(environment="demo"), "environment 'demo'"),
    ("lease request: a number ahead", REQUEST, requested(serial=3), "were granted"),
    ("lease request: the first again", REQUEST, requested(serial=1, previous_sha256=""), "were granted"),
    ("lease request: a number granted to a twin", REQUEST, another_question, "were granted"),
    ("lease request: more made than reported", REQUEST, requested(signed=3), "do not continue"),
    ("lease request: pin statements that nobody made", REQUEST, requested(signed=1, pins=(bytes(32),)), "do not continue"),
)  # fmt: skip
LEASES = tuple(Trick(name=row[0], parties=row[1], play=row[2], because=row[3]) for row in ROWS)
