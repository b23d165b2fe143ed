"""Which user may ask a signer for which verbs: the device service's user for handshakes, the registry's for the rest.

Two lists keep either of them, taken over, from the other one's keys. Never looks at a request beyond its verb.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from hsm.config import SignerConfig
from hsm.signer import SignerError
from hsm.verbs import STATUS
from trust.codes import Code
from trust.printable import printable

_LOG = logging.getLogger(__name__)
HANDSHAKES: Final = frozenset({"tcp_open", "tcp_sign", "dtls_sign", "sign_handshake"})
"""The device service's verbs."""
_VERB = 40  # characters of one that are said again


@dataclass(frozen=True, slots=True)
class Peers:
    """User ids that may ask for handshakes, and for all else. The same ones, where nobody has told them apart."""

    rest: frozenset[int]
    handshakes: frozenset[int]

    @classmethod
    def alike(cls, uids: Iterable[int]) -> Peers:
        """All of them may ask for everything."""
        everything = frozenset(uids)
        return cls(everything, everything)

    @classmethod
    def of(cls, made: SignerConfig, own: int) -> Peers:
        """Those of the settings; the signer's own user has its keys anyway."""
        rest = frozenset({own, *made.allowed_uids})
        apart = made.device_service_uids
        return cls(rest, rest if apart is None else frozenset({own, *apart}))

    @property
    def named(self) -> str:
        """Where in the settings a user who may connect is named."""
        return "allowed_uids" if self.rest == self.handshakes else "allowed_uids or device_service_uids"

    def may_connect(self, uid: int) -> bool:
        """Whether there is anything that this user may ask."""
        return uid in self.rest or uid in self.handshakes

    def require(self, uid: int, verb: str) -> None:
        """SignerError (NOT_AUTHORISED), which says what to do, for who may not ask for this verb."""
        if verb == STATUS or uid in (self.handshakes if verb in HANDSHAKES else self.rest):
            return
        whose, where = ("device service", "device_service_uids") if verb in HANDSHAKES else ("registry", "allowed_uids")
        text = f"user id {uid} may not ask this signer for {printable(verb, _VERB)!r}, which is the {whose}'s"
        _LOG.warning("user id %d was refused a verb of the %s's", uid, whose)
        remedy = f"if this user is the {whose}'s, name it in {where} of the signer's signer.toml"
        raise SignerError(Code.NOT_AUTHORISED, f"{text}: {remedy}")
