"""`station`, and `python -m station`: from its first moment on Ctrl-C ends it without a traceback."""

from __future__ import annotations

from collections.abc import Callable

from given.interrupt import guarded


def main() -> None:
    """The console script."""
    guarded(_program)


def _program() -> Callable[[], None]:
    from station.cli import main as program  # noqa: PLC0415 - guarded

    return program


if __name__ == "__main__":
    main()
