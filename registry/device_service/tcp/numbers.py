"""Message ids of a session, 16 bits: the device's must go up by one, so that nothing is replayed, left out or moved.

Acknowledgements repeat an id of the other side's and do not count. Pure but for its own place.
"""

from __future__ import annotations

from typing import Final

from registry.device_service.tcp.session import SessionError

_NUMBERS: Final = 65_536


class FromDevice:
    """The next id that the device has to use."""

    def __init__(self, first: int) -> None:
        self._next = first

    def require_next(self, number: int) -> None:
        """Take the id of a message that is no acknowledgement; SessionError for any but the next one."""
        if number != self._next:
            raise SessionError(f"message id {number} where {self._next} is due: replayed, lost or out of order")
        self._next = (number + 1) % _NUMBERS


class FromService:
    """The service's own ids: they begin anywhere but at zero, and go up by one."""

    def __init__(self, first: int) -> None:
        if not 0 < first < _NUMBERS:
            raise ValueError("ids begin at 1 to 65535")
        self._last = first - 1

    def take(self) -> int:
        """The next one; after 65535 comes 0."""
        self._last = (self._last + 1) % _NUMBERS
        return self._last
