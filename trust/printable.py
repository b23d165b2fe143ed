"""Foreign text made fit for people: it ends on terminals, in logs and in XML, and may carry escape sequences.

Pure. Never for bytes that are signed, stored or compared: what it replaces is lost.
"""

from __future__ import annotations

_REPLACEMENT = "·"
_QUOTED = 300  # characters of somebody else's words


def plainly(error: Exception) -> str:
    """What an error says, without the system's number and without the path that stands beside it anyway."""
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun: "1 leaf", "2 leaves"; without `many` the noun takes an s."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def printable(text: str, limit: int | None = None) -> str:
    """One line without control characters, direction overrides or lone surrogates; longer than `limit` ends in `…`.

    Every character that `str.isprintable` refuses becomes one `·`: newline and tab, too, so that no foreign text can
    begin a line of its own.
    """
    shown = text[:limit]
    if not shown.isprintable():
        shown = "".join(each if each.isprintable() else _REPLACEMENT for each in shown)
    return shown + ("…" if limit is not None and len(text) > limit else "")


def quoted(words: Exception | str) -> str:
    """What an error or a foreign text says, fit to be part of a sentence of ours: printable and cut short.

    Errors of decoders quote what they could not read, as long as it is.
    """
    return printable(str(words), _QUOTED)
