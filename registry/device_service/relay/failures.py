"""What ends a relayed handshake and is no fault of the device's. Says nothing that only our log may say."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final

from hsm.signer import SignerError, SignerUnavailableError
from registry.device_service.relay.messages import Refusal
from registry.failures import STORE_FAILED
from registry.pins.reading import UntrustedError
from trust.codes import Code

_log = logging.getLogger(__name__)
BUG: Final = Refusal(code=Code.INTERNAL, message="the device service has a bug here: its log says more")
AGAIN_S: Final = 5.0
NOT_SIGNED: Final = (SignerError, SignerUnavailableError)


def unable(what: str) -> Refusal:
    """The device service is there, and does not do its part now: no order lets that stand for a handshake."""
    return Refusal(code=Code.DEVICE_SERVICE_UNABLE, message=f"{what}: send this again later", after_s=AGAIN_S)


def too_slow(protocol: str) -> Refusal:
    """Nobody has said no: it is us who took too long, and no unit goes into quarantine for that."""
    _log.warning("a relayed handshake took too long here", extra={"part": protocol})
    return unable("the device service was too slow")


def failed(error: BaseException) -> Refusal:
    """Signer, database or a bug of ours: what the registry may tell the station of it; the log has the rest."""
    match error:
        case SignerError() | SignerUnavailableError():
            _log.error("the cloud signer did not do its part in a handshake", exc_info=error)
            return unable("the device service's signer does not sign")
        case UntrustedError():
            _log.error(
                "stored rows do not verify: station-registry check names them", extra={"part": error.tables}
            )  # fmt: skip
            return Refusal(code=Code.RECORD_UNTRUSTED, message=error.told)
        case _ if isinstance(error, STORE_FAILED):
            _log.error("the database failed a handshake", exc_info=error)
            return Refusal(code=Code.STORE_FAILED, message="the registry's database failed: send this again later")
    _log.error("a relayed handshake failed: a bug", exc_info=error)
    return BUG


def trouble(error: BaseException) -> Refusal | None:
    """What of ours was behind this error, if anything was; None if the device brought it on itself."""
    ours = (*NOT_SIGNED, UntrustedError, *STORE_FAILED)
    found = next((each for each in _causes(error) if isinstance(each, ours)), None)
    return None if found is None else failed(found)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
