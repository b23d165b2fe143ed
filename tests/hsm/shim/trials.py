"""Trials of the PKCS#11 token behind the shim, each in a process of its own: `python -m tests.hsm.shim.trials NAME SIGNER-DIRECTORY`.

The environment is `Shim.environment`. Each prints one JSON value.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import hsm.token.pkcs11.session as under_test
from hsm.token.pin_tries import FILE
from hsm.token.pkcs11.place import TokenPlace
from hsm.token.pkcs11.raw import SignatureDoubtError
from hsm.token.pkcs11.session import Pkcs11Token
from hsm.token.softhsm import find_module
from hsm.token.user_pin import UserPin, read_user_pin
from tests.hsm.shim.shim import CALLS, Shim
from tests.hsm.trials import DIGEST, outcome, place
from trust.keys import PublicKey

RESULTS = (
    "HOST_MEMORY", "DEVICE_MEMORY", "SESSION_COUNT", "FUNCTION_FAILED", "GENERAL_ERROR", "DEVICE_ERROR", "DEVICE_REMOVED",
    "OPERATION_ACTIVE", "SESSION_HANDLE_INVALID", "TOKEN_NOT_PRESENT", "FUNCTION_REJECTED",
)  # fmt: skip
QUICK = (0.001,) * 5


def attached(directory: Path) -> Shim:
    return Shim.over(place(directory).module, Path(os.environ["KS_SHIM_CONTROL"]))


def opened(directory: Path, kind: type[Pkcs11Token] = Pkcs11Token, pin: UserPin | None = None) -> Pkcs11Token:
    at = place(directory)
    at = TokenPlace(module=at.module, label=at.label, lock=directory / "tokens", tries=directory / FILE)
    return kind(at, pin or read_user_pin("file:user-pin", directory, environment="demo"))


class SilentToken(Pkcs11Token):
    """The fault that the tests must catch: signs again in silence when a signature is in doubt."""

    def _insist(self, work: Any) -> Any:
        try:
            return super()._insist(work)
        except SignatureDoubtError:
            self._forget()
            return super()._insist(work)


def table(directory: Path, kind: str = "product") -> Any:
    """Every result at every call, before and after the real one: what came of the call, and of the next one."""
    under_test._PAUSES_S = QUICK  # type: ignore[misc]
    shim, token = attached(directory), opened(directory, {"product": Pkcs11Token, "silent": SilentToken}[kind])
    assert outcome(token.labels) == "ok"
    rows = []
    for call in CALLS:
        for rv in RESULTS:
            for when in ("before", "after"):
                if call not in {"C_SignInit", "C_Sign"}:  # the session is lost first: they are made when it is opened
                    shim.next("C_SignInit", rv="SESSION_HANDLE_INVALID", drops=True)
                shim.next(call, rv=rv, when=when)  # type: ignore[arg-type]
                before = (shim.signatures, shim.logins, shim.struck(call))
                first = outcome(lambda: token.sign_ecdsa("pin", DIGEST))
                made, logins, struck = (
                    now - then for now, then in zip((shim.signatures, shim.logins, shim.struck(call)), before, strict=True)
                )  # fmt: skip
                shim.quiet()
                then = outcome(lambda: token.sign_ecdsa("pin", DIGEST))
                rows.append([call, rv, when, first, made, logins, struck, then])
    token.close()
    return rows


def for_good(directory: Path) -> Any:
    """A fault that stays: how often is the call made, how long does it take, and is everything well afterwards?"""
    shim, token = attached(directory), opened(directory)
    key = PublicKey.from_der(token.public_key("pin"))
    found = {}
    for rv in ("DEVICE_MEMORY", "DEVICE_ERROR", "DEVICE_REMOVED"):
        shim.next("C_SignInit", rv=rv, times=1000)
        calls, begun = shim.entered("C_SignInit"), time.monotonic()
        first = outcome(lambda: token.sign_ecdsa("pin", DIGEST))
        took, made = time.monotonic() - begun, shim.entered("C_SignInit") - calls
        known = outcome(lambda: token.sign_ecdsa("pin", DIGEST))
        again = shim.entered("C_SignInit") - calls - made
        trouble = token.trouble
        shim.quiet()
        well = key.verifies(token.sign_ecdsa("pin", DIGEST), b"message")
        found[rv] = [first, made, took < 4, known, again, "is away" in trouble, well, token.trouble]
    token.close()
    return found


def removed(directory: Path) -> Any:
    """The token is taken away during a signature and put back later."""
    under_test._PAUSES_S = QUICK  # type: ignore[misc]
    shim, token = attached(directory), opened(directory)
    key = PublicKey.from_der(token.public_key("pin"))
    found = []
    for when in ("before", "after"):
        shim.next("C_Sign", rv="DEVICE_REMOVED", when=when, removes=True)  # type: ignore[arg-type]
        found.append([outcome(lambda: token.sign_ecdsa("pin", DIGEST)) for _ in range(3)])
        found[-1].append("model" if token.model else "")
        shim.put_back()
        found[-1].append(str(key.verifies(token.sign_ecdsa("pin", DIGEST), b"message")))
    token.close()
    return found


def swapped(directory: Path, other: str) -> Any:
    """Another token with the same label takes the first one's place: it is not given the PIN."""
    under_test._PAUSES_S = QUICK  # type: ignore[misc]
    shim, token = attached(directory), opened(directory)
    token.labels()
    library = ctypes.CDLL(str(find_module(None)))
    given = shim.logins
    (directory / "tokens").rename(directory / "away")
    shutil.copytree(Path(other) / "tokens", directory / "tokens")
    library.C_Finalize(None)
    library.C_Initialize(None)
    found = [outcome(lambda: token.sign_ecdsa("pin", DIGEST)), shim.logins - given]
    shutil.rmtree(directory / "tokens")
    (directory / "away").rename(directory / "tokens")
    library.C_Finalize(None)
    library.C_Initialize(None)
    found.append(outcome(lambda: token.sign_ecdsa("pin", DIGEST)))
    token.close()
    return found


def hangs(directory: Path) -> Any:
    """One thread is stuck in C_Sign: what it is is still told, and for how long it has not answered."""
    shim, token = attached(directory), opened(directory)
    token.labels()
    shim.delay("C_Sign", 2500)
    stuck = threading.Thread(target=lambda: outcome(lambda: token.sign_ecdsa("pin", DIGEST)))
    stuck.start()
    time.sleep(1.5)
    begun = time.monotonic()
    told = [token.trouble, token.model, sorted(token.labels())]
    took = time.monotonic() - begun
    stuck.join()
    found = {
        "told": told,
        "quick": took < 0.2,
        "later": outcome(lambda: token.sign_ecdsa("pin", DIGEST)),
        "trouble": token.trouble,
    }
    token.close()
    return found


def first_login(directory: Path, rv: str, when: str, times: str, pin: str = "") -> Any:
    """A new process whose C_Login is answered so; no session before it has told that the PIN is right."""
    under_test._PAUSES_S = QUICK  # type: ignore[misc]
    shim, token = attached(directory), opened(directory, pin=UserPin(pin) if pin else None)
    if int(times):
        shim.next("C_Login", rv=rv, when=when, times=int(times))  # type: ignore[arg-type]
    before, text = shim.logins, ""
    found = [outcome(lambda: token.sign_ecdsa("pin", DIGEST)) for _ in range(3)]
    try:
        token.labels()
    except under_test.TokenError as error:
        text = str(error)
    token.close()
    return {"outcomes": found, "logins": shim.logins - before, "text": text}


if __name__ == "__main__":
    name, where, *more = sys.argv[1:]
    print(json.dumps(globals()[name](Path(where), *more)))
