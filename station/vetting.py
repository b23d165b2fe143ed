"""Key quality as the flow judges it. Duplicates are decided by the ledger's constraints when the intent is recorded.

Pure; what it did is listed in the statement, so a reader knows what was not checked.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from station.faults import fault
from trust.dsse import Envelope
from trust.keys import KeyType, PublicKey
from trust.statement import Closing, PinStatement, Possession, Verification, Vetting, read


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


def fresh_nonces(key: PublicKey, pin: Envelope, verification: Verification, closing: Closing) -> None:
    """Raise nonce-repeated if an ECDSA r occurs over two messages: then anybody can compute the private key.

    One message may be signed twice with the same r by a deterministic signer (RFC 6979); different messages may not, so
    what the device has signed in the three challenges of its job is compared.
    """
    if key.key_type is not KeyType.EC_P256:
        return
    proven, again = read(pin, PinStatement).possession.signatures, verification.possession.signatures
    seen: set[int] = set()
    for signatures in (proven, again, (closing.signature,)):
        found = {decode_dss_signature(each)[0] for each in signatures}
        if found & seen:
            raise fault("nonce-repeated", "signatures over two challenges share r")
        seen |= found
