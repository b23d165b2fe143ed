"""What was typed: commands that name their exit codes, and say it when an option has another option for its value.

Never runs anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final

import click

DONE: Final = 0
SETUP_FAILED: Final = 2
LINE_STOPPED: Final = 6
INTERRUPTED: Final = 130
USUAL: Final = (DONE, SETUP_FAILED)
ASKING: Final = (*USUAL, INTERRUPTED)
_WORDS: Final = MappingProxyType(
    {
        DONE: "done",
        SETUP_FAILED: "usage or set-up, or it does not hold",
        LINE_STOPPED: "the signer, or its token, does not answer",
        INTERRUPTED: "interrupted",
    }
)


class Command(click.Command):
    """A command whose help ends with its exit codes."""

    def __init__(self, name: str | None, *, exits: Sequence[int] = USUAL, **more: Any) -> None:
        super().__init__(name, epilog=_exit_codes(exits), **more)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click, after a look for an option that was left without its value: click takes the next one for it."""
        options = [each for each in self.params if isinstance(each, click.Option)]
        known = {name for each in options for name in each.opts}
        taking = {name for each in options if not (each.is_flag or each.count) for name in each.opts}
        for word, after in pairwise(args):
            if word in taking and after in known:
                raise click.UsageError(f"{word} needs a value, and {after} is an option", ctx)
        return super().parse_args(ctx, args)


class Group(click.Group):
    """A group of such commands."""

    command_class = Command
    group_class = type

    def __init__(self, name: str | None = None, **more: Any) -> None:
        super().__init__(name, epilog=_exit_codes(tuple(_WORDS)), **more)


def what_next(error: click.ClickException, program: str) -> str:
    """What was typed wrong, and where to read on."""
    context = getattr(error, "ctx", None)
    path = program if context is None else context.command_path
    said = error.format_message().rstrip(".")
    return f"{said}{'' if said.endswith('?') else '.'} Try: {path} --help"


def _exit_codes(codes: Sequence[int]) -> str:
    return f"Exit codes: {' · '.join(f'{each} {_WORDS[each]}' for each in codes)}"
