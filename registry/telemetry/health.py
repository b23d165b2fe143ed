"""Whether this process could take a pin now: a write committed, the schema this version's, the signer able to sign.

Looked at every two seconds, by a thread a part, however many ask: who asks gets the last answer, and nobody can load
database or signer by asking. An answer that is too old is a bad one: whatever was asked hangs. Never says more than
which part it is and what to do: anybody may ask.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from trust.codes import Code

_log = logging.getLogger(__name__)
_EVERY_S = 2.0
_STALE_S = 6.0
_END_S = 0.2
Question = Callable[[], bool]
"""Whether one part is well. Blocks as long as that part; raises nothing."""


@dataclass(frozen=True, slots=True)
class _Found:
    good: bool
    at_s: float


class Health:
    """The last answers of the parts. Safe to call from many threads."""

    def __init__(
        self, parts: Mapping[str, tuple[Question, Code]], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._parts = dict(parts)
        self._monotonic = monotonic
        self._found: dict[str, _Found] = {}
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []

    def watch(self) -> None:
        """Look from now on, at each part in a thread of its own: one that hangs keeps no other waiting."""
        for name in self._parts:
            thread = threading.Thread(target=self._go_on, args=(name,), name=f"health {name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def end(self) -> None:
        """Look no more; who hangs is not waited for."""
        self._ended.set()
        for thread in self._threads:
            thread.join(_END_S)

    def look(self) -> None:
        """Ask every part once, now."""
        for name in self._parts:
            self._ask(name)

    def good(self, name: str) -> bool:
        """Whether this part was well a moment ago."""
        found = self._found.get(name)
        return found is not None and found.good and self._monotonic() - found.at_s <= _STALE_S

    def wrong(self) -> tuple[str, Code] | None:
        """The first part that is not well, and its code; None if all are."""
        return next(((name, code) for name, (_, code) in self._parts.items() if not self.good(name)), None)

    def _go_on(self, name: str) -> None:
        while not self._ended.is_set():
            self._ask(name)
            self._ended.wait(_EVERY_S)

    def _answer(self, name: str) -> bool:
        try:
            return self._parts[name][0]()
        except Exception:  # noqa: BLE001 - the thread's loop: its end would leave the part unwell until a restart
            _log.exception("whether this part is well cannot be told: a bug", extra={"part": name})
            return False

    def _ask(self, name: str) -> None:
        good = self._answer(name)
        before = self._found.get(name)
        self._found[name] = _Found(good, self._monotonic())
        if not good if before is None else before.good != good:
            told = {"part": name}
            if good:
                _log.info("this part is well", extra=told)
            else:
                _log.warning("this part is not well: what needs it is refused", extra=told)
