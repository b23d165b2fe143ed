"""Key quality as the flow judges it. Duplicates are decided by the ledger's constraints when the intent is recorded.

Pure; what it did is listed in the statement, so a reader knows what was not checked.
"""

from __future__ import annotations

from station.evidence import Proven
from station.faults import fault
from trust.dsse import Envelope
from trust.identity import DeviceId
from trust.keys import KeyType
from trust.signed import nonce_problem, proof_signed, report_signed, signed_in
from trust.statement import Closing, PinStatement, Verification, Vetting, read


def vet_key(proven: Proven) -> Vetting:
    """The verdict with the list of checks; raises the faults nonce-repeated and key-weak.

    `PublicKey.from_der` has refused wrong algorithms, sizes, exponents, curves and encodings before a key gets here.
    """
    key, device = proven.keyed.key, proven.keyed.assigned.identity.device_id
    checks = ["algorithm", "canonical-encoding", "duplicate-in-ledger"]
    if key.key_type is KeyType.EC_P256:
        checks += ["named-curve", "point-on-curve", "nonce-not-repeated"]
        _require(nonce_problem(proof_signed(device, proven.possession)))
    else:
        size = "modulus-2048" if key.key_type is KeyType.RSA_2048 else "modulus-1024-legacy"
        checks += [size, "exponent-65537", "modulus-odd"]
        if key.modulus is None or key.modulus[-1] % 2 == 0:
            raise fault("key-weak", "the modulus is even")
    return Vetting(verdict="ok", checks=tuple(checks))


def fresh_nonces(pin: Envelope, verification: Verification, closing: Closing) -> None:
    """Raise nonce-repeated if an ECDSA r occurs twice in what the device signed over the three challenges of its job.

    Anybody could compute the private key then. Looked at before the completion is written down.
    """
    pinned = read(pin, PinStatement)
    again = proof_signed(DeviceId.parse(pinned.device_id), verification.possession)
    _require(nonce_problem([*signed_in(pinned), *again, report_signed(closing)]))


def _require(problem: str | None) -> None:
    if problem is not None:
        raise fault("nonce-repeated", problem)
