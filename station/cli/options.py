"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from station.cli.called import Here

F = TypeVar("F", bound=Callable[..., Any])


def _remembered(context: click.Context, _: click.Parameter, file: Path) -> Path:
    """Whoever reports a fault later can complete the commands in it."""
    here = context.find_object(Here)
    if here is not None:
        here.config_file = file
    return file


def config_option(default: str) -> Callable[[F], F]:
    """`--config FILE`, with this file where nothing is said."""
    return click.option(
        "--config", "config_file", default=default, show_default=True, type=click.Path(path_type=Path),
        callback=_remembered, help="Settings file.",
    )  # fmt: skip


def _names(_context: click.Context, _parameter: click.Parameter, text: str | None) -> tuple[str, ...]:
    """Names from a list with commas, each once; a list of none is no list: it could stand for all or for nothing."""
    if text is None:
        return ()
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise click.BadParameter(f"{text!r} names no slot; without --slots all are served")
    return names


CONFIG = config_option("config.toml")
SLOTS = click.option("--slots", callback=_names, help="Names of the slots, with commas; without it all.")
SLOTS_FILE = click.option(
    "--slots-file", type=click.Path(path_type=Path), help="Another slots file than the settings'."
)
