"""Key quality as the flow judges it. Duplicates are decided by the ledger's constraints when the intent is recorded.

Pure; what it did is listed in the statement, so a reader knows what was not checked.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from station.faults import fault
from trust.keys import KeyType, PublicKey
from trust.statement import Possession, Vetting


def vet_key(key: PublicKey, possession: Possession) -> Vetting:
    """The verdict with the list of checks; raises the faults nonce-repeated and key-weak.

    `PublicKey.from_der` has refused wrong algorithms, sizes, exponents, curves and encodings before a key gets here.
    """
    checks = ["algorithm", "canonical-encoding", "duplicate-in-ledger"]
    if key.key_type is KeyType.EC_P256:
        checks += ["named-curve", "point-on-curve", "nonce-not-repeated"]
        first, second = possession.signatures
        if first != second and decode_dss_signature(first)[0] == decode_dss_signature(second)[0]:
            raise fault("nonce-repeated", "two signatures share r")
    else:
        checks += ["modulus-2048", "exponent-65537", "modulus-odd"]
        if key.modulus is None or key.modulus[-1] % 2 == 0:
            raise fault("key-weak", "the modulus is even")
    return Vetting(verdict="ok", checks=tuple(checks))
