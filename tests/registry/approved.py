"""A world whose trust root names people, and which has gone on since: for tests of approved orders."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from tests.registry.make import World, ec_key, public, world
from tests.trust.orders import changed
from tests.trust.people import Person, approved_by, approvers, file_of, next_root, people
from trust.dsse import Envelope
from trust.root import CloudKeys, TrustedRoot
from trust.root_file import parse, wrap

WHO = people()
ADA, BEN, CLEO, PIA, QUINN = (WHO[name] for name in ("ada", "ben", "cleo", "pia", "quinn"))


def approved_world(**root_changes: Any) -> World:
    """Its root names these people, and the order's keys for devices."""
    plain = world(**root_changes)
    keys = CloudKeys(
        device_service=(plain.order.cloud_key,), authority=(plain.order.authority_key,), handshake=public(ec_key()).spki
    )  # fmt: skip
    root = msgspec.structs.replace(plain.trusted.root, approvers=approvers(WHO.values()), cloud_keys=keys)
    trusted = parse(file_of(approved_by(wrap(root), ADA, BEN)))
    return replace(plain, trusted=trusted, order=changed(plain.order, root_sha256=trusted.sha256))


def second(made: World, *more: Person, **changes: Any) -> TrustedRoot:
    """The root's next version; these officers of its own approve it, too."""
    line = approved_by(wrap(made.trusted.root), ADA, BEN)
    following = next_root(made.trusted.root, line, **changes)
    return parse(file_of(line, approved_by(wrap(following), ADA, BEN, *more)))


def approved(made: World) -> Envelope:
    """The order, by a product owner and somebody from quality."""
    return approved_by(made.order_envelope, PIA, QUINN)
