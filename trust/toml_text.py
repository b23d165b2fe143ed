"""TOML that people write, read within bounds of time and memory: settings, slots and orders.

The parser alone takes hours for a small file of the wrong shape. Pure: text in, table out; opens no file. Never says
whether an entry is right: that is for whoever knows the file.
"""

from __future__ import annotations

import tomllib
from typing import Any

from trust.printable import quoted

_MAX_DOTS = 256  # on one line: the parser's time and memory grow with the square of a key's parts


class TomlError(ValueError):
    """Not TOML that we read; the text begins with a verb: "is not UTF-8 text"."""


def table(text: bytes | str) -> dict[str, Any]:
    """The file's table; TomlError, and nothing else. Bytes are UTF-8. How long it may be is the reader's business."""
    try:
        text = text.decode() if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        raise TomlError("is not UTF-8 text") from error
    if any(line.count(".") > _MAX_DOTS for line in text.split("\n")):  # TOML knows no other end of a line
        raise TomlError(f"has a line with more than {_MAX_DOTS} dots")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise TomlError("is nested too deeply") from error
    except ValueError as error:  # TOMLDecodeError, and what int() says of a number with thousands of digits
        raise TomlError(f"is not TOML: {quoted(error)}") from error
