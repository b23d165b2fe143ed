"""docs/modules.md says what the profiles say: each module's row, facts with source and mark, and what it cannot do."""

from __future__ import annotations

import pytest

from hsm.token.profile import Profile
from hsm.token.profiles import PROFILES
from tests.docs.pages import page, rows, section

PAGE = page("docs/modules.md")


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_a_module_stands_in_the_table_as_its_profile_has_it(profile: Profile) -> None:
    row = next(each for each in rows(section(PAGE, "## At a glance")) if each[1] == f"`{profile.name}`")
    assert row == [
        profile.title,
        f"`{profile.name}`",
        "Ed25519" if profile.ed25519_params else "P-256",
        profile.tier.value,
        "`station-signer init`" if profile.initialised_here else "vendor's tools",
        "yes" if profile.network_client else "no",
        profile.p256_rate,
        "*tried here*" if profile.tried else "*from documentation*",
    ]


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_a_modules_facts_have_their_sources_and_its_limits_are_said(profile: Profile) -> None:
    text = section(PAGE, f"## {profile.title}")
    facts = {each[0]: each[1:] for each in rows(text)}
    assert {(source.where, f"*{source.mark}*") for source in profile.sources} == {
        (where, mark) for _, where, mark in facts.values()
    }
    for head, value in {
        "user PIN": profile.user_pin,
        "token label": profile.token_label,
        "tier": profile.tier.value,
    }.items():
        assert facts[head][0] == value
    assert all(
        (f"{name} {'true' if value else 'false'}" in facts["attributes"][0]) for name, value in profile.required.items()
    )
    assert [line[2:] for line in text.splitlines() if line.startswith("- ")] == list(profile.cannot)


def test_no_module_is_described_that_has_no_profile() -> None:
    assert {each[1] for each in rows(section(PAGE, "## At a glance"))} == {f"`{each.name}`" for each in PROFILES}
