"""What somebody is asked at a terminal. Never keeps an answer.

Ctrl-C ends the question at once, also where an event loop runs: the loop's own handling of it only begins to end the
work, and a question that waits for its answer would hear nothing of that. And it does so from the moment at which the
question is shown: Python's own `input` does not notice a signal that comes just before its read.
"""

from __future__ import annotations

import select
import signal
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from station.cli.output import is_asked, note
from station.usage import UsageError

if TYPE_CHECKING:
    from station.signed_in import SignIn


_LOOK_S = 0.1  # a signal that came before the wait is heard so late at most


def typed(what: str, *, hidden: bool = True) -> str:
    """An answer at this terminal, unseen on the screen unless said otherwise; click.Abort when it is interrupted."""
    with _at_once(), _echo(not hidden):
        answer = ""
        while not answer:
            note(f"{what}: ", end="")
            answer = _answer()
            if hidden:
                note("")
        return answer


def line() -> str:
    """One line of a pipe, empty at its end."""
    with _at_once():
        return sys.stdin.readline()


def sign_in(instead: str) -> SignIn:
    """Id, password and one-time code; UsageError, with what to do instead, where nobody can answer."""
    from station.signed_in import SignIn  # noqa: PLC0415 - keeps --help fast

    if not is_asked():
        raise UsageError(f"who you are is asked at a terminal, and nowhere else; {instead}")
    who = typed("Your id", hidden=False)
    password = typed("Password")
    return SignIn(user_id=who, password=password, code=typed("Code"))


def _answer() -> str:
    """A line of the terminal without its end, as soon as there is one."""
    while not select.select([sys.stdin], [], [], _LOOK_S)[0]:
        pass  # between two looks Python calls the handler of a signal
    answer = sys.stdin.readline()
    if not answer:  # Ctrl-D
        note("")
        raise click.Abort
    return answer.removesuffix("\n")


@contextmanager
def _echo(wanted: bool) -> Iterator[None]:
    """Whether the terminal shows what is typed; what was typed before nobody asked is no answer where it does not."""
    if wanted:
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    unseen = [*before]
    unseen[3] &= ~termios.ECHO
    try:
        termios.tcsetattr(sys.stdin, termios.TCSAFLUSH, unseen)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSAFLUSH, before)


@contextmanager
def _at_once() -> Iterator[None]:
    held = signal.getsignal(signal.SIGINT)
    if held is signal.SIG_IGN:  # whoever started us wants it ignored
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        note("")  # below what the terminal shows for the key
        raise click.Abort from None
    finally:
        signal.signal(signal.SIGINT, held)
