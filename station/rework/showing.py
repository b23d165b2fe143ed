"""A new key shown to the registry: proved by itself, vouched for by the key in use, over the registry's challenge."""

from __future__ import annotations

from station.cloud.devices import ShownKey
from station.faults import fault
from station.rework.bench import ReworkBench
from station.rework.evidence import NewKey
from station.unit import Unit
from trust.dsse import Envelope
from trust.repin import NEW, OLD, bound
from trust.signed import nonce_problem, possession_problem, proof_signed
from trust.statement import Possession


async def show(bench: ReworkBench, unit: Unit, new: NewKey, leave: Envelope) -> ShownKey:
    """Both proofs, verified here first: `bad-proof`, `nonce-repeated`."""
    device, identity = unit.device, new.asked.met.identity
    challenge = await bench.registry.challenge(bench.device_id)
    over = bound(challenge, bench.act.payload_sha256, leave.payload_sha256, new.key.fingerprint)
    fresh = Possession(
        challenge=over, context=NEW,
        signatures=(await device.prove_beside(over, NEW), await device.prove_beside(over, NEW)),
    )  # fmt: skip
    wrong = possession_problem(new.key, identity.device_id, NEW, fresh)
    if wrong is not None:
        raise fault("bad-proof", wrong)
    old = await unit.possession(over, OLD, new.asked.met.key.public_key, identity)
    both = [each for proof in (fresh, old) for each in proof_signed(identity.device_id, proof)]
    repeated = nonce_problem(both)
    if repeated is not None:
        raise fault("nonce-repeated", repeated)
    return ShownKey(
        challenge=challenge, spki=new.key.spki, signatures=fresh.signatures, old_signatures=old.signatures, leave=leave
    )
