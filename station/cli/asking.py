"""What somebody is asked at a terminal. Never keeps an answer.

Ctrl-C ends the question at once, also where an event loop runs: the loop's own handling of it only begins to end the
work, and a question that waits for its answer would hear nothing of that.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from station.cli.output import is_asked
from station.usage import UsageError

if TYPE_CHECKING:
    from station.signed_in import SignIn


def typed(what: str, *, hidden: bool = True) -> str:
    """An answer, unseen on the screen unless said otherwise; click.Abort when it is interrupted."""
    with _at_once():
        return str(click.prompt(what, hide_input=hidden, err=True))


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
        raise click.Abort from None
    finally:
        signal.signal(signal.SIGINT, held)
