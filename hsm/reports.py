"""Handshake reports in the cloud role: what the device service has seen, signed by a key that signs nothing else.

Whether it has seen it is the service's to say: it holds the handshake, and the signer only its keys' part in it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from hsm.documents import sign_document
from hsm.purposes import Purpose
from hsm.signatory import Signatory
from hsm.signer import SignerError
from trust.codes import Code
from trust.dsse import Envelope
from trust.handshake import HandshakeReport
from trust.statement import StatementError, moment

APART: Final = timedelta(minutes=5)


def sign_handshake(signatory: Signatory, report: HandshakeReport) -> Envelope:
    """The report, signed: of this registry, a station of the root, the signer's own cloud key, and of now."""
    signatory.require_here(report, "handshake report")
    root = signatory.trusted.root
    if report.registry != signatory.name:
        text = f"handshake report of registry {report.registry!r}: this signer is {signatory.name!r}'s"
        raise SignerError(Code.NOT_AUTHORISED, text)
    if not root.cloud_keys.handshake:
        raise SignerError(Code.NOT_AUTHORISED, "the trust root names no handshake key")
    if report.station not in root.stations:
        raise SignerError(Code.NOT_AUTHORISED, f"the trust root names no station {report.station!r}")
    own = signatory.keys.fingerprint(Purpose.CLOUD_TCP if report.protocol == "tcp" else Purpose.CLOUD_UDP)
    if report.cloud_fingerprint != own:
        text = f"the report names cloud key {report.cloud_fingerprint[:16]}…, this signer's is {own[:16]}…"
        raise SignerError(Code.STATEMENT_INVALID, text)
    try:
        at = moment(report.at)
    except StatementError as error:
        raise SignerError(Code.STATEMENT_INVALID, str(error)) from error
    now = datetime.fromtimestamp(signatory.clock(), UTC)

    def remember(_: str) -> None:
        if not signatory.trusted.is_recent(report.root_sha256):
            have = signatory.trusted.sha256[:16]
            text = f"handshake report under trust root {report.root_sha256[:16]}…, this signer has {have}…"
            raise SignerError(Code.WRONG_ROOT, f"{text}: a new one is under it, or under the one before")
        if abs(at - now) > APART:
            text = f"the handshake is of {report.at}, this signer's clock says {now:%Y-%m-%dT%H:%M:%SZ}"
            raise SignerError(Code.STATEMENT_INVALID, f"{text}: correct the clock that is wrong")

    return sign_document(signatory, Purpose.HANDSHAKE, report, remember)
