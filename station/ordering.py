"""Orders between people and signer: taken in, shown, closed; and acts of officers. Everything goes on record.

The signer is the factory's only store of orders and decides about each; nothing here makes a unit.
"""

from __future__ import annotations

from pathlib import Path

import given
from hsm.signer import SignerError, SignerUnavailableError
from station.agreement import admitted_order, publish
from station.faults import fault
from station.leaves import LEAF_ERRORS, classify
from station.plan import for_this_station, load_order
from station.usage import UsageError
from station.wiring import Desk
from trust.account import AllotmentReturn
from trust.act import ActRefusedError, body
from trust.codes import Code
from trust.dsse import Envelope, EnvelopeError
from trust.kinds import ACT, PIN_ACT, wrong_kind
from trust.order import WorkOrder
from trust.root import RootError
from trust.statement import StatementError, read, verify


async def import_order(desk: Desk, file: Path) -> WorkOrder:
    """The order is known to the signer and on record; UsageError, or the fault that the signer's answer stands for."""
    order = load_order(file, desk.root)
    work = read(order, WorkOrder)
    for_this_station(work, desk.config)
    await admitted_order(order, desk.signer, desk.store)
    return work


async def close_order(desk: Desk, order_id: str) -> AllotmentReturn:
    """Give back what this station has not used; units in work may still be completed. On record, and published."""
    try:
        answer = await desk.signer.return_allotment(order_id)
        returned = verify(answer, AllotmentReturn, desk.root.root.account_key(desk.store.station))
        await desk.store.keep_paper(answer)
    except (StatementError, RootError) as error:
        raise fault("signer-wrong", str(error)) from error
    except LEAF_ERRORS as error:
        raise classify(error) from error
    await publish(desk.root, desk.signer, desk.store)
    return returned


async def perform_act(desk: Desk, file: Path) -> tuple[Envelope, bool]:
    """Have the signer do what officers have approved, once; and whether that was before. On record, and published."""
    try:
        data = given.read(file)
    except OSError as error:
        raise UsageError(f"act {file}: {error.strerror}; name the act's file") from error
    if (wrong := wrong_kind(data, ACT)) is not None:
        theirs = f"is {PIN_ACT}: station device rework, scrap, revoke or unscrap does it, with --act {file}"
        raise UsageError(f"{file} {wrong if wrong_kind(data, PIN_ACT) is not None else theirs}")
    try:
        act = Envelope.from_json(data.strip())
        body(act)
    except (EnvelopeError, ActRefusedError) as error:
        raise UsageError(f"act {file}: {error}") from error
    before = await _done_before(desk, act)
    try:
        # A crash here: the act is done and not on record. The same file again puts it there.
        await desk.store.keep_paper(act)
    except LEAF_ERRORS as error:
        raise classify(error) from error
    await publish(desk.root, desk.signer, desk.store)
    return act, before


async def _done_before(desk: Desk, act: Envelope) -> bool:
    """Have it done; whether the signer has done exactly this before, and did nothing now."""
    try:
        await desk.signer.perform_act(act)
    except SignerError as error:
        if error.code is Code.ACT_USED:
            return True
        raise fault("signer-refused", f"{error.code}: {error}") from error
    except SignerUnavailableError as error:
        raise classify(error) from error
    return False


async def of_no_use(desk: Desk, act: Envelope) -> str:
    """Why what was done changes nothing: more pin statements, and the order's good units are all complete; or empty."""
    said = body(act)
    if said.kind != "raise-allowance":
        return ""
    try:
        orders = (await desk.signer.status()).orders
    except LEAF_ERRORS as error:
        raise classify(error) from error
    for each in orders:
        if each.order_id == said.order_id and each.completions >= each.completion_limit:
            done = f"{each.completions} of {each.completion_limit} units are complete"
            return f"it is of no use: of order {each.order_id} {done}; more pin statements make no more good units"
    return ""
