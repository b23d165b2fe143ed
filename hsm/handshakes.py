"""What the cloud's own keys do in a device's handshake: open its message, sign a MAC, sign a digest.

The two protocols sign what they sign, so these verbs take bytes that were composed elsewhere, of lengths that nothing
else here has; no other purpose's key can be reached through them. Never tells why a message was refused, and never
looks at what it has opened but for its length and the nonce in front.
Sources: RFC 8017 §7.2 and §8.2 (TCP), RFC 8422 §5.4 (DTLS), docs/wire.md.
"""

from __future__ import annotations

import hmac
from typing import Final

from hsm.messages import DtlsSignBody, TcpOpenBody, TcpSignBody
from hsm.purposes import Purpose
from hsm.signatory import Signatory
from hsm.signer import NONCE_BYTES, SignerError
from trust.codes import Code

OPENED_BYTES: Final = frozenset({52, 214})  # nonce, device id and, in the longer form, an RSA-1024 key
COUNTED_AHEAD: Final = 256  # a write to the disk for each would be dearer than the signature


def tcp_open(signatory: Signatory, body: TcpOpenBody) -> bytes:
    """What follows the nonce in a device's message; HANDSHAKE_REFUSED for everything else, whatever it was."""
    opened = signatory.keys.open(Purpose.CLOUD_TCP, body.ciphertext)
    plain = opened if opened is not None and len(opened) in OPENED_BYTES else bytes(NONCE_BYTES)
    same = hmac.compare_digest(plain[:NONCE_BYTES], body.nonce)
    if plain is not opened or not same:
        raise SignerError(Code.HANDSHAKE_REFUSED, "the message is none for this handshake")
    return plain[NONCE_BYTES:]


def tcp_sign(signatory: Signatory, body: TcpSignBody) -> bytes:
    """The MAC over what is for the device, signed without DigestInfo, 256 bytes."""
    _count(signatory, Purpose.CLOUD_TCP)
    return signatory.keys.sign_mac(Purpose.CLOUD_TCP, body.mac)


def dtls_sign(signatory: Signatory, body: DtlsSignBody) -> bytes:
    """ECDSA in DER over the digest of a server's key exchange."""
    _count(signatory, Purpose.CLOUD_UDP)
    return signatory.keys.sign_digest(Purpose.CLOUD_UDP, body.digest)


def _count(signatory: Signatory, purpose: Purpose) -> None:
    """Count before signing, many at a time: what is counted is never less than what was signed."""
    left = signatory.counted_ahead.get(purpose, 0)
    if left == 0:
        with signatory.counters.transaction():
            signatory.counters.count_signature(purpose, times=COUNTED_AHEAD)
        left = COUNTED_AHEAD
    signatory.counted_ahead[purpose] = left - 1
