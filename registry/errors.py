"""What the registry refuses, by code. Never knows HTTP: `registry.app` gives each code its status."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trust.codes import Code

if TYPE_CHECKING:
    from registry.pins.record import PinRecord


class RefusedError(Exception):
    """The registry says no; nothing of the request was stored. `stored` is what it holds instead, if that is why."""

    def __init__(self, code: Code, message: str, stored: PinRecord | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.stored = stored


class ReceiptUnavailableError(Exception):
    """What was asked is stored, but its receipt or lease cannot be signed now. The same request again gives it."""


class NotSignedError(Exception):
    """What was asked is stored, and the registry's own signer refuses to sign it: asking again does not mend that.

    `code` is what it means for whoever asked.
    """

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
