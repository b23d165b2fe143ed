"""What a file that people gave is, when it is not what was asked for: one sentence instead of a decoder's words.

Pure. Only names what it sees: never says that a document is right.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from trust.account import AllotmentReturn, Balance
from trust.act import Act
from trust.dsse import Envelope, EnvelopeError
from trust.handshake import HandshakeReport
from trust.lease import Lease, LeaseRequest
from trust.minutes import Minutes
from trust.order import WorkOrder
from trust.pin_act import PinAct
from trust.rekey import PAYLOAD_TYPE as AUTHORISATION_TYPE
from trust.repin import Repin
from trust.revocation import Revocation
from trust.root_file import ROOT_TYPE
from trust.roster import Roster
from trust.statement import Completion, PinStatement, Receipt
from trust.toml_text import TomlError, table

ACT: Final = "an act"
MINUTES: Final = "minutes"
ORDER: Final = "an order"
PIN_ACT: Final = "an act on a device"
PRIVATE_KEY: Final = "a private key"
PUBLIC_KEY: Final = "a public key"
ROOT: Final = "a trust root"
TOML: Final = "TOML text"
_NAMES: Final = MappingProxyType(
    {
        ROOT_TYPE: ROOT,
        WorkOrder.PAYLOAD_TYPE: ORDER,
        Act.PAYLOAD_TYPE: ACT,
        PinAct.PAYLOAD_TYPE: PIN_ACT,
        AUTHORISATION_TYPE: "a re-key authorisation",
        Minutes.PAYLOAD_TYPE: MINUTES,
        PinStatement.PAYLOAD_TYPE: "a pin statement",
        Completion.PAYLOAD_TYPE: "a completion",
        Receipt.PAYLOAD_TYPE: "a receipt",
        Repin.PAYLOAD_TYPE: "a device's new key",
        Revocation.PAYLOAD_TYPE: "a revocation",
        Lease.PAYLOAD_TYPE: "a lease",
        Roster.PAYLOAD_TYPE: "a roster",
        HandshakeReport.PAYLOAD_TYPE: "a handshake report",
        LeaseRequest.PAYLOAD_TYPE: "a request for a lease",
        Balance.PAYLOAD_TYPE: "a balance",
        AllotmentReturn.PAYLOAD_TYPE: "a returned allotment",
    }
)


def wrong_kind(data: bytes, wanted: str, *also: str) -> str | None:
    """What follows the file's name when it is plainly something else: "is a trust root; give an order"."""
    found = _found(data)
    return None if found in {None, wanted, *also} else f"is {found}; give {wanted}"


def _found(data: bytes) -> str | None:
    text = data.strip()
    if not text:
        return "empty"
    if text.startswith(b"-----BEGIN"):
        return _pem(text)
    if not text.startswith(b"{"):
        return _toml(text)
    try:
        return _NAMES.get(Envelope.from_json(text.split(b"\n", 1)[0].strip()).payload_type)
    except EnvelopeError:
        return "a public.json of a signer" if text.startswith((b'{\n  "account"', b'{\n  "authority"')) else None


def _pem(text: bytes) -> str:
    label = text.split(b"\n", 1)[0]
    if b"PRIVATE KEY" in label:
        return PRIVATE_KEY
    return PUBLIC_KEY if b"PUBLIC KEY" in label else "a PEM file"


def _toml(text: bytes) -> str | None:
    try:
        return TOML if table(text) else None
    except TomlError:
        return None
