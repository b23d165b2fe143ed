"""The PKCS#11 token on a real SoftHSM: signatures, one thread, lost sessions, wrong PINs, other processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hsm.token.softhsm import KNOWN_MODULES

pytestmark = pytest.mark.skipif(not any(Path(each).is_file() for each in KNOWN_MODULES), reason="apt install softhsm2")


def start(name: str, directory: Path, *more: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.hsm.trials", name, str(directory), *map(str, more)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result(trial: subprocess.Popen[str]) -> Any:
    out, err = trial.communicate(timeout=15)
    assert trial.returncode == 0, err
    return json.loads(out)


def run(name: str, directory: Path, *more: object) -> Any:
    return result(start(name, directory, *more))


def test_signatures_hold_and_keys_stay_inside(factory_dir: Path) -> None:
    found = run("sign", factory_dir)
    assert found.pop("model").startswith("SoftHSM")
    assert found == {
        "labels": ["account", "client", "completion", "log", "pin"],
        "p256": True,
        "ed25519": True,
        "short digest": "TokenError",
        "long digest": "TokenError",
        "no such key": "TokenError",
        "wrong mechanism": "SignatureUnknownError",
        "after refusals": "ok",
        "readable": [False] * 5,
    }


def test_a_wrong_pin_is_tried_once(factory_dir: Path) -> None:
    found = run("wrong_pin", factory_dir, "product")
    assert found["attempts"] == 1
    assert found["outcomes"] == ["TokenPinWrongError"]
    assert not found["leaks"]
    assert "correct user_pin" in found["text"]


def test_a_pin_that_is_tried_again_is_caught(factory_dir: Path) -> None:
    """Negative control: the count above sees a token that tries again."""
    assert run("wrong_pin", factory_dir, "stubborn")["attempts"] > 1


def test_a_lost_session_is_opened_again(factory_dir: Path) -> None:
    assert run("lost_session", factory_dir) == {"good": 20, "logins": 21}


def test_a_token_that_is_gone_is_said_so_and_found_again(new_factory_dir: Path) -> None:
    assert run("token_gone", new_factory_dir) == {"gone": ["TokenUnavailableError"] * 3, "quick": True, "back": True}


def test_threads_share_one_token(factory_dir: Path) -> None:
    assert run("threads", factory_dir) == {"good": 400, "distinct": 400}


def test_a_token_that_hangs_is_unavailable_in_time(factory_dir: Path) -> None:
    found = run("hanging", factory_dir)
    assert found == {"slow": "TokenUnavailableError", "queued": "TokenUnavailableError", "later": "ok"}


def test_processes_that_log_in_at_once_do_not_harm_each_other(factory_dir: Path, short_dir: Path) -> None:
    both = [start("logins", factory_dir, short_dir / "one.lock", 40) for _ in range(3)]
    assert [result(each) for each in both] == [{"ok": 40}] * 3


def test_logins_without_a_common_lock_do_harm_each_other(factory_dir: Path, short_dir: Path) -> None:
    """Negative control: the same trial, each process with a lock of its own, must show errors at least once in a while."""
    for attempt in range(5):
        both = [start("logins", factory_dir, short_dir / f"{attempt}-{number}.lock", 40) for number in range(3)]
        if any(set(result(each)) != {"ok"} for each in both):
            return
    pytest.fail("logins without a lock went well: the trial cannot show a login race on this machine")


@pytest.mark.parametrize("name", ["readable_key", "two_keys"])
def test_a_key_that_must_not_be_there_is_refused(new_factory_dir: Path, name: str) -> None:
    assert run(name, new_factory_dir) == "TokenError"
