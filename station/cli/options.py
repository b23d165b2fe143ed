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


CONFIG = config_option("config.toml")
