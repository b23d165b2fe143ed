"""What `station check` says of one thing that it looked at, and how a question becomes a finding. Asks nobody."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from station.faults import Fault, SetupError
from station.usage import UsageError

Word = Literal["ok", "BAD", "n/a"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `n/a`: nothing is wrong with it, but it is not for the order given."""

    subject: str
    word: Word
    text: str

    @property
    def good(self) -> bool:
        """Whether the shift may begin with it."""
        return self.word != "BAD"


class NotReadyError(Exception):
    """Something is not as it must be; the text says what to do."""


async def ask(subject: str, question: Callable[[], Awaitable[str]]) -> Finding:
    """The answer to one question, good or bad."""
    try:
        return Finding(subject, "ok", await question())
    except (NotReadyError, UsageError) as error:
        return Finding(subject, "BAD", str(error))
    except Fault as error:
        return Finding(subject, "BAD", in_a_line(error))


def in_a_line(error: Fault) -> str:
    """A fault without the batch around it: what is wrong, and its remedy unless that is the finding's own."""
    text = error.detail if isinstance(error, SetupError) else f"{error} {error.row.remedy}"
    return " ".join(text.splitlines())
