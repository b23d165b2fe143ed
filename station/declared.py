"""What a unit declares of itself, as statements carry it and orders judge it. Pure; believes and checks nothing."""

from __future__ import annotations

from fixtures.device import Identity
from trust.statement import Declared


def declared(identity: Identity, *, bench_emulated: bool) -> Declared:
    """What device and bench say of themselves; emulated if either does."""
    return Declared(
        hardware=identity.hardware,
        firmware_version=identity.firmware_version,
        firmware_sha256=identity.firmware_sha256.hex(),
        debug_closed=identity.security.debug_closed,
        readout_protected=identity.security.readout_protected,
        key_storage=identity.security.key_storage.value,
        emulated=identity.emulated or bench_emulated,
    )
