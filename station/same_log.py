"""Whether the ledger here is the log whose head the signer has signed last: asked before the first unit.

The signer cannot forget a checkpoint, a file can be lost, or replaced by an old copy. What does not go on from the
signer's last head must not be written to, and no new ledger begun in its place: the next checkpoint would be refused,
and the units made until then be on record nowhere else. Never changes anything.
"""

from __future__ import annotations

from hsm.signer import LogHead, SignerStatus
from ledger.publish import Standing
from station.faults import fault
from station.jobs import LedgerError
from station.jobs.store import JobStore
from station.leaves import classify
from trust.merkle import EMPTY_ROOT
from trust.printable import counted

_NONE = LogHead(size=0, root_hash=EMPTY_ROOT)


async def require_same_log(status: SignerStatus, origin: str, store: JobStore | None) -> None:
    """The fault `ledger-differs` unless this ledger (None: there is none yet) goes on from the signer's last head."""
    known = status.checkpoints.get(origin, _NONE)
    try:
        here = None if store is None else await store.standing(known.size)
    except LedgerError as error:
        raise classify(error) from error
    wrong = _not_begun(status, known) if here is None or here.size == 0 else difference(known, here)
    if wrong is not None:
        raise fault("ledger-differs", wrong)


def _not_begun(status: SignerStatus, known: LogHead) -> str | None:
    """Why no ledger can begin here."""
    if known.size:
        return f"there is no ledger here, and the signer has signed a checkpoint over its first {_leaves(known.size)}"
    signed = status.pins + sum(each.completions for each in status.orders)  # self-tests of a ceremony are no statements
    if signed:
        return f"there is no ledger here, and the signer has signed {signed} statements that must stand in it"
    return None


def _leaves(count: int) -> str:
    return counted(count, "leaf", "leaves")


def difference(known: LogHead, here: Standing) -> str | None:
    """What keeps this ledger from going on from the signer's last head; None if nothing does."""
    if known.size > here.size:
        return (
            f"the signer has signed a checkpoint over {_leaves(known.size)}, the ledger here has {here.size}: "
            "it is an old copy, or it was cut"
        )
    if here.root_hash != known.root_hash:
        return (
            f"the ledger's first {known.size} leaves are not those over which the signer has signed a checkpoint: "
            "it is another log, or it was rewritten"
        )
    if known.size < here.checkpoint:
        return (
            f"the ledger has a checkpoint over {_leaves(here.checkpoint)}, the signer knows of {known.size}: "
            "the signer's counters are an old copy"
        )
    if known.size not in {here.checkpoint, here.intent}:
        return f"the signer has signed a checkpoint over {_leaves(known.size)} that the ledger here has not asked for"
    return None
