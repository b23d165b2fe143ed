"""`station`, and `python -m station`: from its first moment on Ctrl-C ends it without a traceback."""

from __future__ import annotations

from collections.abc import Callable

from given.interrupt import guarded


def main() -> None:
    """The console script."""
    guarded(loaded)


def loaded() -> Callable[[], None]:
    """What runs, imported only now; a bug in it ends as the fault `internal`."""
    import logging  # noqa: PLC0415 - guarded

    from station.cli import ended_by_bug  # noqa: PLC0415
    from station.cli import main as program  # noqa: PLC0415
    from station.cli.called import Here  # noqa: PLC0415

    here = Here()

    def run() -> None:
        try:
            program(here)
        except Exception:  # a bug must not look like a failed unit
            logging.getLogger(__name__).exception("bug")
            ended_by_bug(here)

    return run


if __name__ == "__main__":
    main()
