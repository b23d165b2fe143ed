"""What the product asks of any PKCS#11 module, on SoftHSM directly and through p11-kit-proxy: one body, two modules."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hsm.purposes import KEYS
from hsm.token.softhsm import KNOWN_MODULES
from tests.hsm.module_trials import PROXY

Trial = Callable[[str], Any]
FACTORY = sorted(purpose.value for purpose in KEYS["factory"])
GOOD = {
    "SENSITIVE": True, "EXTRACTABLE": False, "ALWAYS_SENSITIVE": True, "NEVER_EXTRACTABLE": True, "LOCAL": True,
    "SIGN": True, "DECRYPT": False, "UNWRAP": False, "DERIVE": False,
}  # fmt: skip


@pytest.fixture(params=["softhsm", "p11-kit-proxy"])
def via(request: pytest.FixtureRequest) -> str:
    if not any(Path(each).is_file() for each in KNOWN_MODULES):
        pytest.skip("apt install softhsm2")
    if request.param == "p11-kit-proxy" and not PROXY.exists():
        pytest.skip("apt install p11-kit-modules")
    return str(request.param)


@pytest.fixture
def trial(via: str) -> Iterator[Trial]:
    """A trial in a process and a directory of its own; not below pytest's, which only its owner may enter."""
    directory = Path(tempfile.mkdtemp(prefix="ks-module-", dir="/tmp"))

    def run(name: str) -> Any:
        command = [sys.executable, "-m", "tests.hsm.module_trials", name, via, str(directory)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=18, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    yield run
    shutil.rmtree(directory)


def test_the_module_is_the_one_it_should_be(trial: Trial, via: str) -> None:
    library = {"softhsm": "Implementation of PKCS11", "p11-kit-proxy": "PKCS#11 Kit Proxy Module"}[via]
    assert trial("module_is_what_it_says") == {"library": library, "tokens": ["SoftHSM project"]}


def test_keys_are_found_by_label_and_sign(trial: Trial) -> None:
    assert trial("keys_sign") == {
        "labels": FACTORY,
        "distinct": len(FACTORY),
        "profile": "softhsm (tried with this kind of module)",
        "p256": True,
        "ed25519": True,
        "another's": False,
        "short digest": "TokenError",
        "no such key": "TokenError",
    }


def test_keys_were_made_inside_never_leave_and_only_sign(trial: Trial) -> None:
    assert trial("attributes") == [GOOD] * len(FACTORY)


def test_of_the_clouds_keys_one_decrypts(trial: Trial) -> None:
    labels = sorted(purpose.value for purpose in KEYS["cloud"])
    assert trial("cloud_keys") == {"labels": labels, "decrypt": ["cloud-tcp"], "shown": "nonce"}


def test_it_opens_and_signs_for_handshakes(trial: Trial) -> None:
    found = trial("handshake_keys")
    assert found.pop("other_key") != "ok"
    assert found == {
        "wrong": ["none"], "quick": True, "right": "nonce", "mac": True, "trouble": "", "too_long": "TokenError",
    }  # fmt: skip


def test_logs_in_again(trial: Trial) -> None:
    assert trial("logs_in_again") == {"good": 5}


def test_a_wrong_pin_is_tried_once(trial: Trial) -> None:
    """The negative control, a token that tries again, is in test_pkcs11.py."""
    assert trial("wrong_pin") == {"outcomes": ["TokenPinWrongError"], "attempts": 1}


def test_of_two_tokens_each_has_its_own_keys(trial: Trial) -> None:
    assert trial("two_tokens") == [[True, False], [False, True]]


def test_two_tokens_of_one_label_are_refused(trial: Trial) -> None:
    assert "MultipleTokensReturned" in trial("same_label_twice")


def test_keys_that_must_not_be_there_are_refused(trial: Trial) -> None:
    found = trial("refused")
    assert found.pop("nothing") == "", "negative control: a key made as ours are is taken"
    wanted = {
        "extractable": "CKA_EXTRACTABLE true", "imported": "not made inside", "derives": "CKA_DERIVE true",
        "unwraps": "CKA_UNWRAP true", "does not sign": "CKA_SIGN false", "twice": "two keys labelled 'pin'",
    }  # fmt: skip
    assert {label: label if wanted[label] in text else text for label, text in found.items()} == {
        label: label for label in wanted
    }


def test_a_label_that_is_taken_is_never_overwritten(trial: Trial) -> None:
    found = trial("keys_in_the_way")
    assert "never overwritten" in found["text"]
    assert "receipt" in found["text"]
    assert found["left"] == ["receipt"]


def test_a_ceremony_that_fails_half_way_takes_its_keys_back(trial: Trial) -> None:
    found = trial("takes_back")
    assert "DeviceMemory" in found["text"]
    assert (found["left"], found["again"]) == (0, "ok")


def test_a_lost_public_half_is_said_or_found_in_the_private_one(trial: Trial) -> None:
    found = trial("public_half_lost")
    assert all("no public key for pin" in text for text in found["texts"])
    assert found["rsa"]


def test_another_profile_is_said_not_to_be_tried(trial: Trial) -> None:
    found = trial("other_profiles")
    assert found["generic"] == "generic (profile from documentation, not tried with this module)"
    assert "it was not tried" in found["yubihsm2"]
    assert "it was not tried" in found["cloudhsm"]
    assert "softhsm, yubihsm2, luna" in found["nonsense"]
