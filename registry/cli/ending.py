"""How a command of `station-registry` ends early: one line on stderr that says what to do next, and an exit code.

The one place where failures of set-up and store become words at the console. Never shows a traceback for one of them,
nor a value of a row, and never hides a bug: what is neither goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import click

from trust.printable import printable

NOT_KNOWN, SETUP, FOUND = 1, 2, 8


def end(text: str, code: int = SETUP) -> NoReturn:
    """End with this line and exit code."""
    click.echo(printable(f"station-registry: {text}"), err=True)
    sys.exit(code)


@contextmanager
def one_line() -> Iterator[None]:
    """What stands in the way (files, configuration, root, signer, the database and its server): a line, and 2."""
    from registry.failures import STORE_FAILED, told  # noqa: PLC0415 - quick --help
    from registry.settings import SetupError  # noqa: PLC0415

    try:
        yield
    except SetupError as error:
        end(str(error))
    except STORE_FAILED as error:
        end(told(error))
