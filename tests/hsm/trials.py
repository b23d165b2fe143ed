"""Trials with a real PKCS#11 token, each in a process of its own: `python -m tests.hsm.trials NAME SIGNER-DIRECTORY [MORE]`.

A process loads the module once and must not be forked afterwards, so no test loads it itself. Each prints one JSON value.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism
from pkcs11.util.ec import encode_named_curve_parameters

import hsm.token.pkcs11.session as under_test
from hsm import config
from hsm.place import TOKEN_LOCK
from hsm.token import TokenError, softhsm
from hsm.token.pkcs11.place import TokenPlace
from hsm.token.pkcs11.session import Pkcs11Token
from hsm.token.user_pin import UserPin, read_user_pin
from trust.keys import PublicKey
from trust.signed_note import NoteKey

DIGEST = hashlib.sha256(b"message").digest()


def place(directory: Path) -> TokenPlace:
    made = config.load(directory)
    softhsm.select(directory / made.softhsm_conf)
    return TokenPlace(module=Path(made.module), label=made.token_label, lock=directory / TOKEN_LOCK)


def opened(directory: Path, kind: type[Pkcs11Token] = Pkcs11Token, pin: UserPin | None = None) -> Pkcs11Token:
    return kind(place(directory), pin or read_user_pin("file:user-pin", directory, environment="demo"))


def outcome(work: Callable[[], object]) -> str:
    try:
        work()
    except TokenError as error:
        return type(error).__name__
    return "ok"


def sign(directory: Path) -> Any:
    """Signatures hold, lengths and labels are checked, keys stay inside."""
    token = opened(directory)
    key = PublicKey.from_der(token.public_key("pin"))
    log = NoteKey("log", token.public_key("log"))
    found = {
        "labels": sorted(token.labels()),
        "model": token.model,
        "p256": all(key.verifies(token.sign_ecdsa("pin", DIGEST), b"message") for _ in range(50)),
        "ed25519": log.verifies(token.sign_ed25519("log", b"note\n"), "note\n"),
        "short digest": outcome(lambda: token.sign_ecdsa("pin", DIGEST[:31])),
        "long digest": outcome(lambda: token.sign_ecdsa("pin", DIGEST * 6)),
        "no such key": outcome(lambda: token.sign_ecdsa("receipt", DIGEST)),
        "wrong mechanism": outcome(lambda: token.sign_ed25519("pin", b"x")),
    }
    found["after refusals"] = outcome(lambda: token.sign_ecdsa("pin", DIGEST))
    private = [token._open.keys.private[label] for label in sorted(token.labels())] if token._open else []
    found["readable"] = [_readable(each) for each in private]
    token.close()
    return found


def _readable(key: Any) -> bool:
    try:
        key[Attribute.VALUE]
    except pkcs11.AttributeSensitive:
        return False
    return True


class CountingToken(Pkcs11Token):
    """Counts attempts to log in."""

    attempts = 0

    def _log_in(self) -> Any:
        type(self).attempts += 1
        return super()._log_in()


class StubbornToken(CountingToken):
    """The fault that the test must catch: forgets that the PIN was refused."""

    def _opened(self) -> Any:
        self._refused = None
        return super()._opened()


def wrong_pin(directory: Path, kind: str) -> Any:
    """Ten calls with a wrong user PIN: how often was it tried?"""
    token_type = {"product": CountingToken, "stubborn": StubbornToken}[kind]
    token = opened(directory, token_type, UserPin("0000-wrong"))
    outcomes = {outcome(lambda: token.sign_ecdsa("pin", DIGEST)) for _ in range(10)}
    text = ""
    try:
        token.labels()
    except TokenError as error:
        text = str(error)
    token.close()
    return {"attempts": token_type.attempts, "outcomes": sorted(outcomes), "leaks": "0000-wrong" in text, "text": text}


def lost_session(directory: Path) -> Any:
    """C_CloseAllSessions behind the token's back, many times; the next call must simply work."""
    token = opened(directory, CountingToken)
    key = PublicKey.from_der(token.public_key("pin"))
    library = ctypes.CDLL(str(place(directory).module))
    slot = pkcs11.lib(str(place(directory).module)).get_token(token_label=token.label).slot.slot_id
    good = 0
    for _ in range(20):
        assert library.C_CloseAllSessions(ctypes.c_ulong(slot)) == 0
        good += key.verifies(token.sign_ecdsa("pin", DIGEST), b"message")
    token.close()
    return {"good": good, "logins": CountingToken.attempts}


def token_gone(directory: Path) -> Any:
    """Session lost and token removed: unavailable, at once; back again: works."""
    token = opened(directory)
    module = place(directory).module
    key = PublicKey.from_der(token.public_key("pin"))
    library, lib = ctypes.CDLL(str(module)), pkcs11.lib(str(module))
    (directory / "tokens").rename(directory / "away")
    (directory / "tokens").mkdir(mode=0o700)
    library.C_Finalize(None)
    library.C_Initialize(None)
    begun = time.monotonic()
    gone = [outcome(lambda: token.sign_ecdsa("pin", DIGEST)) for _ in range(3)]
    took = time.monotonic() - begun
    shutil.rmtree(directory / "tokens")
    (directory / "away").rename(directory / "tokens")
    library.C_Finalize(None)
    library.C_Initialize(None)
    back = key.verifies(token.sign_ecdsa("pin", DIGEST), b"message")
    token.close()
    assert lib
    return {"gone": gone, "quick": took < 5, "back": back}


def threads(directory: Path) -> Any:
    """Eight threads use one token object at once; python-pkcs11 itself would crash."""
    token = opened(directory)
    key = PublicKey.from_der(token.public_key("pin"))
    with ThreadPoolExecutor(8) as pool:
        signed = list(pool.map(lambda _: token.sign_ecdsa("pin", DIGEST), range(400)))
    token.close()
    return {"good": sum(key.verifies(each, b"message") for each in signed), "distinct": len(set(signed))}


def logins(directory: Path, lock: str, times: str) -> Any:
    """Log in, sign and log out again and again, while other processes do the same; `lock` names the lock file.

    Without second attempts: the lock alone must do.
    """
    under_test._PAUSES_S = ()  # type: ignore[misc,assignment]
    made = place(directory)
    made = TokenPlace(module=made.module, label=made.label, lock=Path(lock))
    pin = read_user_pin("file:user-pin", directory, environment="demo")
    outcomes: dict[str, int] = {}
    for _ in range(int(times)):
        token = Pkcs11Token(made, pin)
        result = outcome(lambda one=token: one.sign_ecdsa("pin", DIGEST))
        outcomes[result] = outcomes.get(result, 0) + 1
        token.close()
    return outcomes


def readable_key(directory: Path, **attributes: bool) -> Any:
    """A key that may leave the token is found at the first call."""
    _add_key(directory, "extra", {Attribute.EXTRACTABLE: True})
    return outcome(lambda: opened(directory).labels())


def two_keys(directory: Path) -> Any:
    """Two keys of one label are found at the first call."""
    _add_key(directory, "pin", {})
    return outcome(lambda: opened(directory).labels())


def _add_key(directory: Path, label: str, private: dict[Any, bool]) -> None:
    made = place(directory)
    token = pkcs11.lib(str(made.module)).get_token(token_label=made.label)
    with token.open(
        rw=True, user_pin=read_user_pin("file:user-pin", directory, environment="demo").reveal()
    ) as session:
        curve = {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
        parameters = session.create_domain_parameters(KeyType.EC, curve, local=True)
        parameters.generate_keypair(
            label=label, store=True, mechanism=Mechanism.EC_KEY_PAIR_GEN, private_template=private
        )


def hanging(directory: Path) -> Any:
    """A token that does not answer in time is unavailable, and works again when it does."""
    under_test._CALL_TIMEOUT_S = 0.3
    token = opened(directory)
    token.labels()
    slow = outcome(lambda: token._run(lambda _: time.sleep(1)))
    queued = outcome(lambda: token.sign_ecdsa("pin", DIGEST))
    time.sleep(1.2)
    return {"slow": slow, "queued": queued, "later": outcome(lambda: token.sign_ecdsa("pin", DIGEST))}


if __name__ == "__main__":
    name, where, *more = sys.argv[1:]
    print(json.dumps(globals()[name](Path(where), *more)))
