"""An approval is one person's signature over exactly these bytes; whatever else stands in its place is refused."""

from __future__ import annotations

import msgspec
import pytest

from tests.trust.documents import ec_key, spki
from tests.trust.people import Person, approved_by, approvers, people, person, signature, with_signatures
from trust.approval import (
    MAX_APPROVALS,
    ORDER_ROLES,
    Approval,
    ApprovalError,
    Approver,
    approvals,
    approved,
    of_these,
    require_known,
    require_officers,
    require_roles,
)
from trust.dsse import Envelope, Signature

DOCUMENT = Envelope(b'{"type":"minutes"}', "application/vnd.example+json")
WHO = people()
NAMED = approvers(WHO.values())
PIA, QUINN, ADA, BEN = (WHO[name] for name in ("pia", "quinn", "ada", "ben"))


def refused(envelope: Envelope, named: dict[str, Approver] = NAMED) -> str:
    with pytest.raises(ApprovalError) as caught:
        approvals(envelope, named)
    said = str(caught.value)
    assert said.isprintable()
    return said


def given(*who: Person) -> tuple[Approval, ...]:
    return tuple(Approval(each.name, frozenset(each.roles)) for each in who)


def test_who_signed_is_who_approved() -> None:
    """Or the refusals below would prove nothing."""
    assert approvals(DOCUMENT, NAMED) == ()
    found = approvals(approved_by(DOCUMENT, PIA, QUINN, ADA), NAMED)
    assert {each.person: each.roles for each in found} == {
        "pia": {"product-owner"},
        "quinn": {"quality"},
        "ada": {"officer"},
    }


def test_a_signature_of_a_key_that_is_nobodys() -> None:
    assert "no approver's" in refused(approved_by(DOCUMENT, PIA, person("eve", "quality")))
    assert "no approver's" in refused(with_signatures(DOCUMENT, Signature("\u202e\x1b[2J", b"x")))


def test_a_signature_over_another_document() -> None:
    other = msgspec.structs.replace(DOCUMENT, payload=DOCUMENT.payload + b" ")
    assert "signature of pia is not over this" in refused(with_signatures(DOCUMENT, PIA.signature(other)))
    retyped = msgspec.structs.replace(DOCUMENT, payload_type="text/plain")
    assert "signature of pia is not over this" in refused(with_signatures(DOCUMENT, PIA.signature(retyped)))


@pytest.mark.parametrize("sig", [b"", b"\0", b"\x30\x00", b"\xff" * 72])
def test_a_signature_that_is_none(sig: bytes) -> None:
    right = PIA.signature(DOCUMENT)
    assert "signature of pia" in refused(with_signatures(DOCUMENT, Signature(right.keyid, sig)))


def test_a_right_signature_under_somebody_elses_key_id() -> None:
    forged = Signature(QUINN.signature(DOCUMENT).keyid, PIA.signature(DOCUMENT).sig)
    assert "signature of quinn" in refused(with_signatures(DOCUMENT, PIA.signature(DOCUMENT), forged))


def test_the_same_key_twice() -> None:
    """Two ECDSA signatures of one key differ in their bytes and are still one approval."""
    twice = with_signatures(DOCUMENT, PIA.signature(DOCUMENT), PIA.signature(DOCUMENT))
    assert twice.signatures[0] != twice.signatures[1]
    assert "each key once" in refused(twice)


def test_the_same_person_twice_with_another_key() -> None:
    second = ec_key()
    named = {**NAMED, "pia": Approver(roles=PIA.roles, keys=(spki(PIA.key), spki(second)))}
    either = with_signatures(DOCUMENT, signature(second, DOCUMENT))
    assert [each.person for each in approvals(either, named)] == ["pia"], "either key alone is good"
    both = with_signatures(DOCUMENT, PIA.signature(DOCUMENT), signature(second, DOCUMENT))
    assert "pia approved twice" in refused(both, named)


def test_signatures_out_of_order() -> None:
    """So that one set of approvals has one form."""
    right = approved_by(DOCUMENT, PIA, QUINN, ADA)
    assert len(approvals(right, NAMED)) == 3
    backwards = msgspec.structs.replace(right, signatures=right.signatures[::-1])
    assert "in the order of their key ids" in refused(backwards)


def test_more_signatures_than_are_looked_at() -> None:
    many = [person(f"p{n}", "officer") for n in range(MAX_APPROVALS + 1)]
    named = approvers(many)
    assert len(approvals(approved_by(DOCUMENT, *many[:-1]), named)) == MAX_APPROVALS
    assert f"at most {MAX_APPROVALS}" in refused(approved_by(DOCUMENT, *many), named)


def test_a_new_signature_of_the_same_key_replaces_the_old_one() -> None:
    stale = with_signatures(DOCUMENT, Signature(PIA.signature(DOCUMENT).keyid, b"stale"))
    assert [each.person for each in approvals(approved(stale, PIA.signature(DOCUMENT)), NAMED)] == ["pia"]


def test_both_roles_are_wanted_of_different_people() -> None:
    require_roles(given(PIA, QUINN), ORDER_ROLES, at_least=2)
    jack = person("jack", "product-owner", "quality")
    require_roles(given(jack, QUINN), ORDER_ROLES, at_least=2)
    require_roles(given(PIA, jack), ORDER_ROLES, at_least=2)
    for few in ((), (PIA,), (QUINN,), (jack,), (PIA, person("otto", "product-owner"))):
        with pytest.raises(ApprovalError, match="product-owner and quality are wanted"):
            require_roles(given(*few), ORDER_ROLES, at_least=2)


def test_somebody_without_such_a_role_makes_it_no_better() -> None:
    with pytest.raises(ApprovalError, match="ada has none of the roles"):
        require_roles(given(PIA, QUINN, ADA), ORDER_ROLES, at_least=2)


def test_a_higher_threshold_wants_more_people() -> None:
    with pytest.raises(ApprovalError, match="3 people are wanted"):
        require_roles(given(PIA, QUINN), ORDER_ROLES, at_least=3)
    require_roles(given(PIA, QUINN, person("otto", "quality")), ORDER_ROLES, at_least=3)


def test_only_officers_count_as_officers() -> None:
    require_officers(given(ADA, BEN), at_least=2, whose="the root")
    require_officers(given(ADA, BEN, PIA), at_least=2, whose="the root")
    with pytest.raises(ApprovalError, match="the root: ada: 2 are wanted"):
        require_officers(given(ADA, PIA, QUINN), at_least=2, whose="the root")


def test_signatures_of_two_lists_of_people() -> None:
    """As between two versions of a root: each signature is known to one of them, and each list looks at its own."""
    old, new = approvers([ADA]), approvers([BEN])
    both = approved_by(DOCUMENT, ADA, BEN)
    require_known(both, old, new)
    assert [each.person for each in approvals(of_these(both, old), old)] == ["ada"]
    assert [each.person for each in approvals(of_these(both, new), new)] == ["ben"]
    with pytest.raises(ApprovalError, match="no approver's"):
        require_known(approved_by(both, PIA), old, new)
