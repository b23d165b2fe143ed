"""Rosters for tests, with people who have no real verifier unless they are given one."""

from __future__ import annotations

from typing import Any

from trust.roster import Person, Roster

SALT = "$argon2id$v=19$m=64,t=1,p=1$" + "A" * 22
VERIFIER = SALT + "$" + "B" * 43


def person(number: int, **changes: Any) -> Person:
    badge = f"{number:0>43}"
    return Person(**{"user": f"{number:032x}", "role": "operator", "badge": badge, "verifier": VERIFIER, **changes})


def roster(root_sha256: str, /, **changes: Any) -> Roster:
    made = {
        "environment": "demo", "root_sha256": root_sha256, "registry": "reg-01", "serial": 7, "badge_salt": SALT,
        "people": (person(1), person(2, role="lead")), "made_at": "2026-11-30T06:00:00Z",
        "expires_at": "2026-12-14T06:00:00Z",
    }  # fmt: skip
    return Roster(**{**made, **changes})
