"""Whether the registry could sign a receipt now, for whoever asks: told by the signer's own status, nothing is signed.

The signer is asked at most once in a while, however many ask the registry. Never decides what is pinned.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from hsm.signer import ReceiptSigner, SignerError, SignerStatus, SignerUnavailableError
from trust.root import TrustedRoot

_LASTS_S = 0.5


class Signing:
    """What keeps the registry's signer from signing. Safe to call from many threads; blocks as long as the signer."""

    def __init__(
        self, signer: ReceiptSigner, trusted: TrustedRoot, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._signer = signer
        self._trusted = trusted
        self._monotonic = monotonic
        self._turn = threading.Lock()
        self._found = ""
        self._until = 0.0

    def trouble(self) -> str:
        """Why no receipt can be signed now; empty if one can."""
        with self._turn:  # who waits here finds the answer made
            if self._monotonic() >= self._until:
                self._found = self._ask()
                self._until = self._monotonic() + _LASTS_S
            return self._found

    def _ask(self) -> str:
        try:
            return self._wrong(self._signer.status())
        except (SignerUnavailableError, SignerError) as error:
            return str(error)

    def _wrong(self, status: SignerStatus) -> str:
        if status.trouble:
            return status.trouble
        if status.root_sha256 != self._trusted.sha256:
            return f"the signer serves trust root version {status.root_version}, {status.root_sha256}"
        if status.keys.get("receipt") != self._trusted.root.registry_keys.receipt:
            return "the signer's receipt key is not the trust root's"
        return ""
