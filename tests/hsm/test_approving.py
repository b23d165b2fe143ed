"""What `station-signer … approve` signs, what it leaves in the document, and how a document is shown before."""

from __future__ import annotations

import msgspec
import pytest

from hsm.approver import FileKey, approve
from hsm.cli.showing import fields
from hsm.config import SetupError
from tests.trust import orders
from tests.trust.documents import ec_key, spki
from tests.trust.people import Person, approvers, people, person, signature
from trust.approval import ORDER_ROLES, Approver, Approvers, approvals, having
from trust.dsse import Envelope
from trust.order import Firmware
from trust.statement import envelope

WHO = people()
ADA, PIA, QUINN = (WHO[name] for name in ("ada", "pia", "quinn"))
OTTO = person("otto", "quality")
NOW = approvers(WHO.values())
ORDER = envelope(orders.make("ab" * 32, ("st-01",), "cd" * 32))


def by(document: Envelope, who: Person, *judges: Approvers) -> Envelope:
    return approve(document, FileKey(who.key), *(judges or (NOW,)))


def names(document: Envelope, judge: Approvers = NOW) -> set[str]:
    return {each.person for each in approvals(document, judge)}


def test_each_adds_their_own() -> None:
    assert names(by(by(ORDER, PIA), QUINN)) == {"pia", "quinn"}
    assert by(by(ORDER, PIA), PIA).signatures[0].keyid == by(ORDER, PIA).signatures[0].keyid


def test_whoever_has_left_goes_out_of_the_document_when_somebody_else_approves() -> None:
    """Their signature is nobody's now, and would spoil the others'."""
    later = approvers([PIA, OTTO, ADA])
    assert names(by(by(by(ORDER, PIA), QUINN), OTTO, later), later) == {"pia", "otto"}


def test_a_key_that_approves_nothing_signs_nothing() -> None:
    for who, judge in ((OTTO, NOW), (ADA, having(NOW, *ORDER_ROLES))):
        with pytest.raises(SetupError, match="nothing was signed"):
            by(ORDER, who, judge)


def test_a_second_key_of_the_same_person_replaces_the_first() -> None:
    other = Person("pia", PIA.roles, ec_key())
    both = {**NOW, "pia": Approver(roles=PIA.roles, keys=(spki(PIA.key), spki(other.key)))}
    assert names(by(by(by(ORDER, PIA, both), QUINN, both), other, both), both) == {"pia", "quinn"}


def test_somebody_whose_key_is_new_in_the_next_root_signs_with_both() -> None:
    new = Person("ada", ADA.roles, ec_key())
    before, after = NOW, {**NOW, "ada": new.approver}
    made = by(by(ORDER, ADA, before, after), new, before, after)
    assert len(made.signatures) == 2


def test_a_signature_of_nobody_goes() -> None:
    junk = msgspec.structs.replace(ORDER, signatures=(signature(ec_key(), ORDER),))
    assert names(by(junk, PIA)) == {"pia"}


# ---- shown before


def lines(version: str) -> list[str]:
    image = Firmware(sha256="cd" * 32, version=version)
    return list(fields(orders.make("ab" * 32, ("st-01",), "cd" * 32, firmware=(image,))))


def test_every_field_is_shown_also_what_is_empty() -> None:
    shown = lines("1.0")
    names = {each.split()[0].split(".")[0].split("[")[0] for each in shown}
    assert names >= set(orders.make("ab" * 32, ("st-01",), "cd" * 32).__struct_fields__)


def test_blanks_in_a_text_make_no_second_line_on_a_narrow_terminal() -> None:
    (shown,) = [each for each in lines("1.0" + " " * 100 + "quantity          5") if "version" in each]
    assert "1.0" + "·" * 100 + "quantity" + "·" * 10 + "5" in shown
