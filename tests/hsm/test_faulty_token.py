"""The PKCS#11 token over a module that misbehaves: what is tried again, what is told, and what a PIN may be used for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hsm.token.pin_tries import FILE
from hsm.token.softhsm import KNOWN_MODULES
from tests.hsm.conftest import make_signer_dir
from tests.hsm.shim.shim import CALLS, Shim
from tests.hsm.shim.trials import RESULTS

pytestmark = pytest.mark.skipif(not any(Path(each).is_file() for each in KNOWN_MODULES), reason="apt install softhsm2")
ALL = ["account", "client", "completion", "log", "pin"]


def run(name: str, directory: Path, shim: Shim, *more: str) -> Any:
    command = [sys.executable, "-m", "tests.hsm.shim.trials", name, str(directory), *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=40, check=False, env=shim.environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_fault_at_every_call(shimmed_dir: Path, shim: Shim) -> None:
    rows = run("table", shimmed_dir, shim)
    assert len(rows) == len(CALLS) * len(RESULTS) * 2
    wrong = [row for row in rows if row[3:] != expected(*row[:3], logins=row[5])]
    assert wrong == []
    assert shim.refused == 0


def expected(call: str, rv: str, when: str, *, logins: int) -> list[Any]:
    """Outcome, signatures made by the real token, logins, faults that struck, and the outcome of the next call."""
    if call == "C_Sign":  # in doubt, whatever the result: it is the caller who counts and asks again
        return ["SignatureUnknownError", int(when == "after"), 0, 1, "ok"]
    if rv == "FUNCTION_REJECTED" and call != "C_GetAttributeValue":  # its caller asks for each attribute by itself then
        return ["TokenError", 0, logins, 1, "ok"]
    return ["ok", 1, logins, 1, "ok"]


def test_a_token_that_signs_again_in_silence_is_caught(shimmed_dir: Path, shim: Shim) -> None:
    """Negative control: the table's count of signatures sees it."""
    rows = [row for row in run("table", shimmed_dir, shim, "silent") if row[0] == "C_Sign"]
    assert {row[4] for row in rows if row[2] == "after"} == {2}


def test_a_fault_that_stays_is_told_after_a_bounded_number_of_attempts(shimmed_dir: Path, shim: Shim) -> None:
    told = ["TokenUnavailableError", 6, True, "TokenUnavailableError", 1, True, True, ""]
    assert run("for_good", shimmed_dir, shim) == dict.fromkeys(
        ("DEVICE_MEMORY", "DEVICE_ERROR", "DEVICE_REMOVED"), told
    )


def test_a_token_removed_during_a_signature_is_used_again_when_it_is_back(shimmed_dir: Path, shim: Shim) -> None:
    away = ["SignatureUnknownError", "TokenUnavailableError", "TokenUnavailableError", "model", "True"]
    assert run("removed", shimmed_dir, shim) == [away, away]


def test_another_token_in_its_place_is_not_given_the_pin(shimmed_dir: Path, shim: Shim, short_dir: Path) -> None:
    other = make_signer_dir(short_dir / "other", "factory", "st-01")
    assert run("swapped", shimmed_dir, shim, str(other)) == ["TokenError", 0, "ok"]


def test_a_stuck_token_does_not_keep_what_is_known_of_it(shimmed_dir: Path, shim: Shim) -> None:
    found = run("hangs", shimmed_dir, shim)
    trouble, model, labels = found.pop("told")
    assert "has not answered since 20" in trouble
    assert model.startswith("SoftHSM")
    assert labels == ALL
    assert found == {"quick": True, "later": "ok", "trouble": ""}


@pytest.mark.parametrize("rv", ["PIN_INCORRECT", "PIN_LOCKED"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_refused_pin_is_not_given_again_by_any_process(shimmed_dir: Path, shim: Shim, rv: str, when: str) -> None:
    first = run("first_login", shimmed_dir, shim, rv, when, "1")
    assert (set(first["outcomes"]), first["logins"]) == ({"TokenPinWrongError"}, 1)
    for _ in range(3):
        again = run("first_login", shimmed_dir, shim, rv, when, "0")
        assert (set(again["outcomes"]), again["logins"]) == ({"TokenPinWrongError"}, 0)
        assert "station-signer retry-pin" in again["text"]
    assert shim.refused == 1


def test_a_memory_of_tries_that_is_lost_is_caught(shimmed_dir: Path, shim: Shim) -> None:
    """Negative control: without its file each start gives the token the same wrong PIN, and the count sees it."""
    for _ in range(2):
        run("first_login", shimmed_dir, shim, "PIN_INCORRECT", "before", "0", "0000-wrong")
        (shimmed_dir / FILE).unlink()
    assert shim.refused == 2


def test_another_pin_is_tried_and_the_refused_one_stays_refused(shimmed_dir: Path, shim: Shim) -> None:
    def login(pin: str = "") -> list[Any]:
        found = run("first_login", shimmed_dir, shim, "PIN_INCORRECT", "before", "0", *([pin] if pin else []))
        return [found["outcomes"][0], found["logins"]]

    assert login("0000-wrong") == ["TokenPinWrongError", 1]
    kept = (shimmed_dir / FILE).read_text()
    assert "0000" not in kept
    assert (shimmed_dir / FILE).stat().st_mode & 0o777 == 0o600
    assert login("1111-wrong") == ["TokenPinWrongError", 1]
    assert login() == ["ok", 1]
    assert login("0000-wrong") == ["TokenPinWrongError", 0]
    assert login("1111-wrong") == ["TokenPinWrongError", 0]
    command = [sys.executable, "-m", "hsm", "retry-pin", "--dir", str(shimmed_dir)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=15).stderr
    assert "tried once more" in said
    assert login("0000-wrong") == ["TokenPinWrongError", 1]


def test_a_login_without_an_answer_is_repeated_once_and_no_more(shimmed_dir: Path, shim: Shim) -> None:
    found = run("first_login", shimmed_dir, shim, "DEVICE_ERROR", "before", "1000")
    assert (set(found["outcomes"]), found["logins"]) == ({"TokenPinWrongError"}, 2)
    assert "2 tries had no answer" in found["text"]
    again = run("first_login", shimmed_dir, shim, "DEVICE_ERROR", "before", "0")
    assert again["logins"] == 0


def test_a_login_without_an_answer_is_not_repeated_when_the_token_has_counted_a_wrong_pin(
    shimmed_dir: Path, shim: Shim
) -> None:
    shim.show("USER_PIN_COUNT_LOW")
    found = run("first_login", shimmed_dir, shim, "DEVICE_ERROR", "before", "1")
    assert (set(found["outcomes"]), found["logins"]) == ({"TokenPinWrongError"}, 1)
    assert "has counted a wrong one" in found["text"]


def test_a_login_whose_answer_was_lost_is_repeated(shimmed_dir: Path, shim: Shim) -> None:
    found = run("first_login", shimmed_dir, shim, "DEVICE_ERROR", "after", "1")
    assert (found["outcomes"], found["logins"]) == (["ok"] * 3, 2)
    assert not (shimmed_dir / FILE).exists()


@pytest.mark.parametrize("flag", ["USER_PIN_FINAL_TRY", "USER_PIN_LOCKED"])
def test_a_pin_that_is_nearly_locked_is_not_given(shimmed_dir: Path, shim: Shim, flag: str) -> None:
    shim.show(flag)
    found = run("first_login", shimmed_dir, shim, "", "before", "0")
    assert (set(found["outcomes"]), found["logins"]) == ({"TokenPinWrongError"}, 0)
    assert "reset the user PIN as security officer" in found["text"]


def test_one_wrong_try_of_somebody_else_does_not_keep_the_right_pin_out(shimmed_dir: Path, shim: Shim) -> None:
    shim.show("USER_PIN_COUNT_LOW")
    assert run("first_login", shimmed_dir, shim, "", "before", "0")["outcomes"] == ["ok"] * 3
