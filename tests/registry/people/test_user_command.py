"""`station-registry user`: secrets once on stdout, acts on record, refusals with what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from registry.access.caller import Role
from registry.cli import cli
from registry.people import service
from registry.people.service import People
from registry.settings import config_of
from registry.setup import make
from tests.registry.people.crew import CHEAP

Typed = Callable[..., Result]


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Typed:
    make(tmp_path / "registry", config_of(name="registry-01", environment="demo"), "localhost")
    real = People.over
    cheap = classmethod(lambda _, database, issuer: real(database, issuer, cost=CHEAP, badge_cost=CHEAP))
    monkeypatch.setattr(service.People, "over", cheap)

    def run(command: str, *words: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(cli, ["user", command, "--dir", str(tmp_path / "registry"), *words], input=stdin)

    return run


def added(typed: Typed, role: str = "operator") -> dict[str, str]:
    done = typed("add", "--role", role, "--jsonl")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_new_user_is_shown_once_with_what_it_signs_in_by(typed: Typed) -> None:
    done = typed("add", "--role", "administrator")
    lines = dict(line.split(None, 1) for line in done.stdout.splitlines())
    assert set(lines) == {"user", "password", "codes"}
    assert lines["codes"].startswith("otpauth://totp/demo%20registry-01:" + lines["user"])
    assert "whose id it is" in done.stderr
    again = typed("list")
    assert lines["user"] in again.stdout
    assert lines["password"] not in typed("show", lines["user"]).output + again.output


def test_acts_are_on_record(typed: Typed) -> None:
    user = added(typed)["user_id"]
    assert typed("role", user, "lead").exit_code == 0
    assert typed("disable", user).exit_code == 0
    assert typed("enable", user).exit_code == 0
    assert typed("badge", user, stdin="04A2B3C4\n").exit_code == 0
    assert typed("badge", "--remove", user).exit_code == 0
    assert json.loads(typed("reset", "--jsonl", user).stdout)["user_id"] == user
    told = [json.loads(line) for line in typed("show", "--jsonl", user).stdout.splitlines()]
    assert [each["what"] for each in told] == ["added", "role", "disabled", "enabled", "badge", "badge", "reset"]
    assert {each["by_whom"] for each in told} == {"console"}


def test_an_api_token_is_shown_once_and_withdrawn(typed: Typed) -> None:
    user = added(typed)["user_id"]
    token = typed("token", "--name", "report", "--scope", "pins:read", user)
    assert token.exit_code == 0
    shown = typed("show", user).stdout
    assert "report: pins:read" in shown
    assert token.stdout.strip() not in shown
    assert typed("token", "--withdraw", shown.rsplit(None, 1)[1], user).exit_code == 0
    assert "report" not in typed("show", user).stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("disable", "ab" * 16), 1, "no user"),
        (("badge", "ab" * 16), 1, "no user"),
        (("token", "--name", "x", "--scope", "pins:write", "USER"), 2, "has one or more of: pins:read"),
        (("token", "USER"), 2, "give --name and --scope"),
        (("token", "--withdraw", "x", "USER"), 2, "no such API token"),
        (("badge", "USER"), 2, "no badge was read"),
        (("role", "USER", "king"), 2, "king"),
    ],
)
def test_what_is_refused_is_said(typed: Typed, words: tuple[str, ...], code: int, said: str) -> None:
    user = added(typed)["user_id"]
    done = typed(*(user if each == "USER" else each for each in words), stdin="")
    assert done.exit_code == code
    assert said in done.stderr


def test_a_directory_that_is_none_is_named(typed: Typed, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["user", "list", "--dir", str(tmp_path)])
    assert done.exit_code == 2
    assert "registry.toml" in done.stderr


def test_every_role_can_be_given(typed: Typed) -> None:
    for role in Role:
        added(typed, role.value)
    assert len(typed("list", "--jsonl").stdout.splitlines()) == len(Role)
