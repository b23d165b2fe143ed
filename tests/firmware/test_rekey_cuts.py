"""Re-keys whose power is cut at random, again and again: a key is in use after each start, the old one or the new one."""

import random
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest

from tests.firmware.machine import Device, blank_flash, native_command, powered
from tests.firmware.rekeying import COMMIT, END_OLD_KEY, NEW, NEW_KEY, NONE, NOTHING, OLD, Authority, payload, signed
from tests.firmware.replay import State, observe
from tests.firmware.signatures import EC
from tests.firmware.wire import PROVISION, WRITE, lines, request

NEXT = {NONE: NEW_KEY, NEW: COMMIT, OLD: END_OLD_KEY}


def cut_in(device: Device, authority: Authority, before: State, wait_s: float) -> State:
    """The step that is due, cut after so many seconds; what there is at the next start."""
    step = NEXT[before.beside[0]]
    subject = sha256(before.beside[1]).digest() if before.beside[0] else NOTHING
    words = payload(step, device.client.nonce(), sha256(before.spki).digest(), subject, EC if step == NEW_KEY else 0)
    said = {"au": words, "sig": signed(authority.private, words)}
    device.client.send_raw(lines(request(WRITE, PROVISION, 12, said)))
    time.sleep(wait_s)
    device.power_cycle()
    return observe(device)


def may_follow(before: State, after: State) -> bool:
    """The step was done, or nothing was."""
    if after == before:
        return True
    match before.beside[0]:
        case 0:
            return after.spki == before.spki and after.beside[0] == NEW
        case 1:
            return (after.spki, after.beside) == (before.beside[1], (OLD, before.spki))
        case _:
            return (after.spki, after.beside) == (before.spki, (NONE, b""))


def cuts(binary: Path, flash: Path, count: int, seed: int) -> Counter[str]:
    """How many cuts came before their step was done, and how many after."""
    flash.write_bytes(blank_flash())
    rng, authority, seen = random.Random(seed), Authority(), Counter[str]()
    with powered(native_command(binary, flash, "--flash-delay")) as device:
        authority.lock(device.client)
        state = observe(device)
        for _ in range(count):
            after = cut_in(device, authority, state, rng.uniform(0.0, 0.16))
            assert may_follow(state, after), "neither as before the step nor as after it"
            assert (after.lock, after.anchor, after.job) == (state.lock, state.anchor, state.job)
            seen["before" if after == state else "after"] += 1
            state = after
    return seen


def test_random_cuts_in_re_keys(native: Path, tmp_path: Path) -> None:
    seen = cuts(native, tmp_path / "flash.bin", 12, seed=41)
    assert seen["after"] > 0, "no cut fell behind a write: nothing was tried"


@pytest.mark.timeout(240)
def test_the_cuts_find_a_new_key_that_counts_too_early(loose: Path, tmp_path: Path) -> None:
    """As many cuts as it takes: where they fall is for the machine's clock, that one falls there is not."""
    with pytest.raises(AssertionError, match="neither as before the step nor as after it"):
        cuts(loose, tmp_path / "flash.bin", 1000, seed=43)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_many_random_cuts_in_re_keys(native: Path, tmp_path: Path, record_property) -> None:
    seen = cuts(native, tmp_path / "flash.bin", 1000, seed=42)
    assert min(seen["before"], seen["after"]) > 100
    record_property("figures", f"re-keys cut at random: {seen.total()} cuts, {seen['before']} before the step was done")
