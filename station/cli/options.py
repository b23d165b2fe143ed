"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

CONFIG = click.option(
    "--config",
    "config_file",
    default="config.toml",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Settings file.",
)
