"""What each party raises when it fails, as the real one does, and whether it may have done what was asked."""

from __future__ import annotations

from fixtures.device import (
    DeviceBusyError,
    GarbledAnswerError,
    LinkLostError,
    NoAnswerError,
    RefusalReason,
    RefusedError,
)
from fixtures.link import PortBusyError, PortMissingError
from fixtures.power import PowerError
from hsm.signer import SignerError, SignerUnavailableError
from hsm.token import TokenError
from station.cloud import CloudRefusedError, CloudUnreachableError, DeviceServiceAwayError
from station.jobs import LedgerError
from tests.faults.points import Failure
from trust.codes import Code

SAYS = "planted"
# A question that was answered and one that was not are the same to the device: one "failed but applied" is enough.
READ = (
    Failure(lambda: NoAnswerError(SAYS)),
    Failure(lambda: LinkLostError(SAYS), may_have_applied=False),
    Failure(lambda: GarbledAnswerError(SAYS), may_have_applied=False),
)
WRITE = (
    Failure(lambda: NoAnswerError(SAYS)),
    Failure(lambda: LinkLostError(SAYS)),
    Failure(lambda: GarbledAnswerError(SAYS)),
    Failure(lambda: RefusedError(RefusalReason.FLASH_FAILED, SAYS), may_have_applied=False),
    Failure(lambda: DeviceBusyError(SAYS), may_have_applied=False),
)
TUNNEL = (Failure(lambda: NoAnswerError(SAYS)), Failure(lambda: LinkLostError(SAYS)))
OPEN = (
    Failure(lambda: PortMissingError(SAYS), may_have_applied=False),
    Failure(lambda: PortBusyError(SAYS), may_have_applied=False),
)
CYCLE = (
    Failure(lambda: PowerError(SAYS)),
    Failure(lambda: NoAnswerError(SAYS)),
    Failure(lambda: PortMissingError(SAYS)),
)
SWITCH = (Failure(lambda: PowerError(SAYS)),)
CLOSE = (Failure(lambda: LinkLostError(SAYS)),)
SIGNER = (
    Failure(lambda: SignerUnavailableError(SAYS)),
    Failure(lambda: SignerError(Code.STORE_FAILED, SAYS)),
    Failure(lambda: SignerError(Code.INTERNAL, SAYS)),
)
CLOUD = (
    Failure(lambda: CloudUnreachableError(SAYS)),
    Failure(lambda: CloudRefusedError(Code.INTERNAL, SAYS)),
)
RELAY = (
    Failure(lambda: CloudUnreachableError(SAYS)),
    Failure(lambda: DeviceServiceAwayError(SAYS)),
    Failure(lambda: CloudRefusedError(Code.HANDSHAKE_UNKNOWN, SAYS)),
)
LEDGER = (Failure(lambda: LedgerError(SAYS)),)
LAMP = (Failure(lambda: NoAnswerError(SAYS)),)
TOKEN = (Failure(lambda: TokenError(SAYS)),)
RECEIPTS = (Failure(lambda: SignerUnavailableError(SAYS)),)
