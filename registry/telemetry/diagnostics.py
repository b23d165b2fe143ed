"""The registry's own log: one JSON object a line, with fields of an allow-list and nothing else.

What a line says is a text of this program's source, never formatted with data; of an exception, its types and where in
the source it happened, never its words, which may quote a request or a row. What libraries say is named by its place in
their source. So no secret, token, key or device id can come into a line, whatever a request holds.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TextIO

import msgspec

_OWN = ("registry", "hsm", "trust", "ledger", "given")
_MAX_FRAMES = 12
FIELDS: Mapping[str, tuple[type, ...]] = MappingProxyType(
    {
        "route": (str,),  # as declared
        "method": (str,),
        "status": (int,),
        "code": (str, type(None)),  # of trust.codes
        "ms": (int, float),
        "limit_s": (int, float),
        "part": (str,),  # of this registry or of a connection
        "station": (str,),  # of the trust root
    }
)
"""What a line may say beside its text. A value comes from this program, never from a client or a row."""


class Lines(logging.Formatter):
    """A record as such a line."""

    def __init__(self, fields: Mapping[str, tuple[type, ...]] = FIELDS) -> None:
        super().__init__()
        self._fields = fields

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        own = record.name.split(".")[0] in _OWN
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "from": record.name if own else record.name.split(".")[0],
            "says": record.msg if own and isinstance(record.msg, str) else f"{record.funcName} line {record.lineno}",
        }
        for name, kinds in self._fields.items():
            value = getattr(record, name, None)
            if name in record.__dict__ and type(value) in kinds:
                line[name] = value
        if record.exc_info and record.exc_info[1] is not None:
            line["errors"] = [f"{type(each).__module__}.{type(each).__name__}" for each in _chain(record.exc_info[1])]
            line["where"] = list(_frames(record.exc_info[2]))[-_MAX_FRAMES:]
        return msgspec.json.encode(line).decode()


def set_up(stream: TextIO | None = None, formatter: logging.Formatter | None = None) -> None:
    """All of this process's diagnostics go to this stream (stderr), as such lines."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatter or Lines())
    logging.raiseExceptions = False  # else a line that fails would be printed with all that came with it
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for library in ("alembic", "uvicorn"):  # what they say of every start is said by "ready" already
        logging.getLogger(library).setLevel(logging.WARNING)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _frames(trace: TracebackType | None) -> Iterator[str]:
    while trace is not None:
        code = trace.tb_frame.f_code
        path = Path(code.co_filename)
        yield f"{path.parent.name}/{path.name}:{trace.tb_lineno} {code.co_name}"
        trace = trace.tb_next
