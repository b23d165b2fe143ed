"""A completion that is there already, on record or at the registry: whether it makes a unit one that has passed.

Judged as signer and registry judge it (`trust.closing`): no lamp is green on anybody's bare word. Pure.
"""

from __future__ import annotations

from station.checks import signed_completion
from station.evidence import Pinned
from station.faults import fault
from station.line import Line
from trust import closing
from trust.codes import Code
from trust.dsse import Envelope
from trust.order import permits
from trust.root import RootError
from trust.statement import Event, StatementError, read


def before(
    line: Line, pinned: Pinned, here: Envelope | None, there: Envelope | None, *, refused: Envelope | None
) -> None:
    """The completion on record here and the one that the registry shows, if any, hold as signer and registry judge.

    `refused`: the registry took another one instead, or none, as this one's nonces are another unit's.
    """
    for code, completion in (("ledger-conflict", here), ("registry-wrong", there)):
        wrong = _problem(line, pinned, completion) if completion is not None else None
        if wrong is not None:
            raise fault(code, f"completion: {wrong}")
    if refused is not None and read(refused, Event).details.get("code") == Code.KEY_ON_OTHER_DEVICE:
        raise fault("completion-refused")


def _problem(line: Line, pinned: Pinned, completion: Envelope) -> str | None:
    try:
        done = signed_completion(line.root, completion)
    except (StatementError, RootError) as error:
        return str(error)
    wrong = closing.problem(line.root, done, pinned.pin, pinned.receipt, line.work)
    return wrong.text if wrong is not None else permits(line.work, line.order.payload_sha256, done)
