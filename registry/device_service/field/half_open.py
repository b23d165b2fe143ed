"""Half-open handshakes at the UDP port: so many in all, so many of an address, and who makes room for whom.

Each is begun with nothing but a cookie shown, costs a signature and waits for half a minute: so no address may hold
the room, and where several hold it all, a newcomer gets the oldest place of the address that has the most. One event
loop's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from registry.limits.rates import network


@dataclass(frozen=True, slots=True)
class _Handshake:
    place: str
    give_up: Callable[[], None]


class HalfOpen:
    """Of one port, by whoever they are of."""

    def __init__(self, most: int, of_an_address: int) -> None:
        self._most, self._of_an_address = most, of_an_address
        self._there: dict[object, _Handshake] = {}
        self._places: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._there)

    def room_for(self, host: str) -> bool:
        """Whether one of this address may be begun; for it another one may have to be given up."""
        if self._places[network(host)] >= self._of_an_address:
            return False
        if len(self._there) >= self._most:
            self._crowd_out()
        return len(self._there) < self._most

    def begun(self, whose: object, host: str, give_up: Callable[[], None]) -> None:
        """One is under way; `give_up` must end it, by `ended`."""
        place = network(host)
        self._there[whose] = _Handshake(place, give_up)
        self._places[place] += 1

    def ended(self, whose: object) -> None:
        """It is over, however."""
        found = self._there.pop(whose, None)
        if found is None:
            return
        self._places[found.place] -= 1
        if not self._places[found.place]:
            del self._places[found.place]

    def _crowd_out(self) -> None:
        most = max(self._places.values())
        oldest = next(each for each in self._there.values() if self._places[each.place] == most)
        oldest.give_up()
