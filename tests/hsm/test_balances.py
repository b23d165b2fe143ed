"""What a signer says of its books: always as they are now."""

from __future__ import annotations

import pytest

from hsm.token import TokenUnavailableError
from tests.hsm.floor import Device, Floor, make_order
from tests.hsm.local_signer import Parties
from trust.account import Balance
from trust.statement import read


def test_a_balance_that_the_token_did_not_sign_is_not_given_later(parties: Parties) -> None:
    """It would tell of fewer pin statements than there are by then."""
    floor = Floor(parties.trusted, make_order(parties.trusted, quantity=5), parties.factory, parties.cloud)
    floor.factory.sign_pin(floor.pin(Device()))
    parties.factory_token.fail_next = [TokenUnavailableError("away")]
    with pytest.raises(Exception, match="away"):
        parties.factory.balance()
    floor.factory.sign_pin(floor.pin(Device()))
    assert read(parties.factory.balance(), Balance).pins == 2
    counters = floor.factory.signatory.counters
    unsigned = counters.run("SELECT count(*) FROM documents WHERE kind = 'balance' AND envelope IS NULL").fetchone()
    assert unsigned == (1,), "and it stays counted"
