"""Verifiers are Argon2id with the parameters of RFC 9106, never stronger than a station can bear, never weaker unseen."""

from __future__ import annotations

import pytest
from argon2.low_level import Type, hash_secret_raw
from argon2.profiles import RFC_9106_LOW_MEMORY

from trust.verifier import (
    BADGE,
    PASSWORD,
    Cost,
    badge_hash,
    badge_salt,
    holds,
    is_badge_salt,
    is_stale,
    is_verifier,
    verifier,
)

CHEAP = Cost(64, 1, 1)


def test_the_parameters_are_those_of_rfc_9106_and_above_the_floor_of_owasp() -> None:
    low = RFC_9106_LOW_MEMORY
    assert (low.memory_cost, low.time_cost, low.parallelism) == PASSWORD
    assert (low.salt_len, low.hash_len, low.type) == (16, 32, Type.ID)
    assert Cost(19_456, 2, 1) == BADGE
    assert verifier("correct horse battery").startswith("$argon2id$v=19$m=65536,t=3,p=4$")


def test_argon2id_is_that_of_rfc_9106_section_5_3() -> None:
    """The library's own answer to the RFC's input, without secret and associated data, which this interface lacks."""
    raw = hash_secret_raw(b"\x01" * 32, b"\x02" * 16, 3, 32, 4, 32, Type.ID)
    assert raw.hex() == "03aab965c12001c9d7d0d2de33192c0494b684bb148196d73c1df1acaf6d0c2e"


def test_a_verifier_holds_for_its_secret_alone() -> None:
    kept = verifier("correct horse battery", CHEAP)
    assert holds(kept, "correct horse battery")
    assert not holds(kept, "correct horse batterY")
    assert verifier("correct horse battery", CHEAP) != kept
    assert is_stale(kept)
    assert not is_stale(kept, CHEAP)


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "$argon2i$v=19$m=64,t=1,p=1$" + "A" * 22 + "$" + "B" * 43,
        "$argon2id$v=16$m=64,t=1,p=1$" + "A" * 22 + "$" + "B" * 43,
        "$argon2id$v=19$m=9999999,t=1,p=1$" + "A" * 22 + "$" + "B" * 43,
        "$argon2id$v=19$m=64,t=99,p=1$" + "A" * 22 + "$" + "B" * 43,
        "$argon2id$v=19$m=64,t=1,p=99$" + "A" * 22 + "$" + "B" * 43,
        "$argon2id$v=19$m=7,t=1,p=1$" + "A" * 22 + "$" + "B" * 43,
        "$argon2id$v=19$m=64,t=1,p=1$" + "A" * 22,
    ],
)  # fmt: skip
def test_what_no_station_should_evaluate_is_no_verifier(text: str) -> None:
    assert not is_verifier(text)
    assert not holds(text, "x")


def test_one_evaluation_finds_a_badge_among_all() -> None:
    salt = badge_salt(CHEAP)
    assert is_badge_salt(salt)
    assert badge_hash("04A2B3C4", salt) == badge_hash("04A2B3C4", salt) != badge_hash("04A2B3C5", salt)
    assert len(badge_hash("04A2B3C4", salt)) == 43
    assert badge_hash("04A2B3C4", salt) != badge_hash("04A2B3C4", badge_salt(CHEAP))
    with pytest.raises(ValueError, match="badge salt"):
        badge_hash("04A2B3C4", verifier("x", CHEAP))


def test_a_secret_has_a_longest_length() -> None:
    with pytest.raises(ValueError, match="1024"):
        verifier("x" * 1025, CHEAP)
