"""Tricks against dual control, orders, leases, acts and statements: each is tried on every party that must refuse it.

The wrong thing comes first, and must be refused for its own reason; then the right one, which the same party on the same
stage must take: so no row passes because its stage is broken, and none has left something behind.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hsm.config import SetupError
from hsm.signer import SignerError
from registry.errors import RefusedError
from registry.settings import SetupError as RegistrySetupError
from station.faults import Fault
from station.usage import UsageError
from tests.contract.judges import AuditError
from tests.contract.stage import Stage
from tests.contract.tricked import Trick
from tests.contract.tricks_leases import LEASES
from tests.contract.tricks_orders import ORDERS
from tests.contract.tricks_papers import PAPERS
from tests.contract.tricks_roots import ROOTS
from tests.contract.tricks_units import UNITS
from tests.hsm.leased import Leased
from tests.trust.people import approved_by
from trust.act import ActRefusedError
from trust.codes import Code
from trust.statement import StatementError, envelope

REFUSALS: tuple[type[Exception], ...] = (
    ActRefusedError, AuditError, Fault, RefusedError, RegistrySetupError, SetupError, SignerError, StatementError, UsageError,
)  # fmt: skip
TRICKS = (*ORDERS, *ROOTS, *PAPERS, *LEASES, *UNITS)
LEAST = 60


@pytest.mark.parametrize("trick", TRICKS, ids=lambda trick: trick.name)
def test_a_trick_is_refused_by_every_party_and_the_right_thing_is_taken(trick: Trick, tmp_path: Path) -> None:
    for name, party in trick.parties.items():
        place = tmp_path / name.replace(" ", "-").replace("'", "")
        place.mkdir()
        stage = Stage(place)
        try:
            wrong, right = trick.play(stage)
            with pytest.raises(REFUSALS, match=trick.because) as caught:
                party(stage, wrong)
            assert getattr(caught.value, "code", "") is not Code.INTERNAL, f"{name}: {caught.value}"
            party(stage, right)
        finally:
            stage.close()


def test_how_many_tricks_there_are(record_property: Callable[[str, object], None]) -> None:
    assert len({each.name for each in TRICKS}) == len(TRICKS) >= LEAST
    asked = sum(len(each.parties) for each in TRICKS)
    record_property("figures", f"tricks: {len(TRICKS)} rows, {asked} times tried, 0 may pass")


def test_an_unsigned_order_over_an_approved_one_in_demo_takes_nothing_away(tmp_path: Path) -> None:
    plant = Leased.make(tmp_path)
    bare = envelope(plant.order())
    approved = approved_by(bare, plant.who["pia"], plant.who["quinn"])
    for order in (approved, bare):
        plant.factory.import_order(order)
    known = plant.factory.signatory.orders.find("order-1")
    assert (known.signed, known.sha256) == (True, bare.payload_sha256)
