"""A power cut at any byte of any flash write leaves the old record or the new one. Proven by trying all of them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.firmware.machine import Device, blank_flash, native_command, powered
from tests.firmware.rekeying import Authority
from tests.firmware.replay import Operation, State, boot_on, observe, prefixes, read_trace, torn
from tests.firmware.signatures import EC, RSA, new_anchor, new_job
from tests.firmware.wire import Client

pytestmark = pytest.mark.timeout(60)

JOB, NEXT_JOB = new_job(), new_job()
OLD_ANCHOR, NEXT_ANCHOR = new_anchor("old.example"), new_anchor("new.example", 4433)

AUTHORITY = Authority()
REKEYED = {**AUTHORITY.anchor("rekeyed.example"), "port": 4433}

Write = Callable[[Client], object]
LOCKED: list[Write] = [AUTHORITY.lock]
BOTH: list[Write] = [AUTHORITY.lock, AUTHORITY.new_key]
COMMITTED: list[Write] = [*BOTH, AUTHORITY.commit]
WRITES: dict[str, tuple[list[Write], Write]] = {
    "first key": ([], lambda c: c.make_key(EC, JOB)),
    "EC key over EC key": ([lambda c: c.make_key(EC, JOB)], lambda c: c.make_key(EC, NEXT_JOB, replace=True)),
    "EC key over RSA key": ([lambda c: c.make_key(RSA, JOB)], lambda c: c.make_key(EC, NEXT_JOB, replace=True)),
    "RSA key over EC key": ([lambda c: c.make_key(EC, JOB)], lambda c: c.make_key(RSA, NEXT_JOB, replace=True)),
    "first anchor": ([], lambda c: c.write_anchor(OLD_ANCHOR)),
    "anchor over anchor": ([lambda c: c.write_anchor(OLD_ANCHOR)], lambda c: c.write_anchor(NEXT_ANCHOR)),
    "third anchor, back in slot A": (
        [lambda c: c.write_anchor(NEXT_ANCHOR), lambda c: c.write_anchor(OLD_ANCHOR)],
        lambda c: c.write_anchor(NEXT_ANCHOR),
    ),
    "lock": (
        [lambda c: c.make_key(EC, JOB), lambda c: c.write_anchor(OLD_ANCHOR)],
        lambda c: c.lock(JOB),
    ),
    "new key beside the old": (LOCKED, AUTHORITY.new_key),
    "commit of the new key": (BOTH, AUTHORITY.commit),
    "end of the old key": (COMMITTED, AUTHORITY.end_old_key),
    "new key abandoned": (BOTH, AUTHORITY.abandon),
    "second re-key, back in slot A": ([*COMMITTED, AUTHORITY.end_old_key], AUTHORITY.new_key),
    "new anchor of a locked device": (LOCKED, lambda c: AUTHORITY.new_anchor(c, REKEYED)),
    "unlock": (LOCKED, AUTHORITY.unlock),
}


@dataclass(frozen=True, slots=True)
class Recording:
    before: bytes
    operations: list[Operation]
    old: State
    new: State


def record(binary: Path, folder: Path, name: str) -> Recording:
    """Does one write on a real device with the trace on; the trace alone must explain the flash afterwards."""
    flash, trace = folder / "recorded.bin", folder / "trace.txt"
    flash.write_bytes(blank_flash())
    preparation, write = WRITES[name]
    with powered(native_command(binary, flash)) as device:
        for step in preparation:
            step(device.client)
    before = flash.read_bytes()
    with powered(native_command(binary, flash, "--flash-trace", str(trace))) as device:
        old = observe(device)
        assert not trace.read_text(), "a start on sound flash must not write"
        write(device.client)
        new = observe(device)
    operations = read_trace(trace)
    assert list(prefixes(before, operations))[-1] == flash.read_bytes()
    assert old != new
    return Recording(before, operations, old, new)


Told = Callable[[str, object], None]


@contextmanager
def replayer(binary: Path, folder: Path) -> Iterator[Callable[[bytes], State]]:
    flash = folder / "replayed.bin"
    flash.write_bytes(blank_flash())
    with ExitStack() as stack:
        device: Device = stack.enter_context(powered(native_command(binary, flash)))
        yield lambda image: boot_on(device, flash, image)


def sound(boot: Callable[[bytes], State], folder: Path, image: bytes) -> State:
    """The state after a start on this image, which leaves no secret in flash that the state does not name."""
    state = boot(image)
    held = (folder / "replayed.bin").read_bytes()
    secrets = sum(set(each) != {0xFF} for each in (held[0x1000:0x2000], held[0x2000:0x3000]))
    assert not state.spki or secrets == 1 + bool(state.beside[0])
    return state


@pytest.mark.parametrize("name", WRITES)
def test_every_prefix_is_old_or_new(native: Path, tmp_path: Path, name: str, record_property: Told) -> None:
    recording = record(native, tmp_path, name)
    with replayer(native, tmp_path) as boot:
        states = [sound(boot, tmp_path, image) for image in prefixes(recording.before, recording.operations)]
    neither = [i for i, state in enumerate(states) if state not in (recording.old, recording.new)]
    assert not neither, f"after {neither[0]} of {len(states) - 1} operations the device holds neither old nor new"
    turn = states.index(recording.new)
    assert states == [recording.old] * turn + [recording.new] * (len(states) - turn), "new, then old again"
    assert turn > 0
    record_property("figures", f"flash {name}: {len(states)} prefixes booted, new from operation {turn} on")


@pytest.mark.parametrize("name", WRITES)
def test_half_done_operations_are_old_or_new(native: Path, tmp_path: Path, name: str, record_property: Told) -> None:
    recording = record(native, tmp_path, name)
    count = 0
    with replayer(native, tmp_path) as boot:
        for image in torn(recording.before, recording.operations, every=16):
            assert sound(boot, tmp_path, image) in (recording.old, recording.new), f"torn image {count}"
            count += 1
    record_property("figures", f"flash {name}: {count} torn operations booted")


def test_a_replaced_key_is_gone_after_the_next_start_wherever_the_cut_was(native: Path, tmp_path: Path) -> None:
    recording = record(native, tmp_path, "EC key over EC key")
    secret = recording.before[0x1000 + 33 : 0x1000 + 65]
    assert set(secret) != {0xFF}
    with replayer(native, tmp_path) as boot:
        for image in (
            *prefixes(recording.before, recording.operations),
            *torn(recording.before, recording.operations, 16),
        ):
            state = boot(image)
            held = (tmp_path / "replayed.bin").read_bytes()
            old, new = held[0x1000:0x2000], held[0x2000:0x3000]
            assert set(old if state == recording.new else new) == {0xFF}


@pytest.mark.parametrize("name", ["EC key over EC key", "RSA key over EC key"])
def test_a_power_cut_during_the_next_start_costs_nothing_either(native: Path, tmp_path: Path, name: str) -> None:
    """A start erases what a cut left of the other key; cut that start, too, at every place and inside its erase."""
    recording = record(native, tmp_path, name)
    images = list(prefixes(recording.before, recording.operations))
    turn = len(images) - 2  # the new record is whole, the old one's erase has not begun
    cut_starts = 0
    with replayer(native, tmp_path) as boot:
        for image in (images[2], images[turn // 2], images[turn - 1], images[turn]):
            wanted = boot(image)
            for again in interrupted_starts(native, tmp_path, image):
                assert boot(again) == wanted
                held = (tmp_path / "replayed.bin").read_bytes()
                unused = held[0x1000:0x2000] if wanted == recording.new else held[0x2000:0x3000]
                assert set(unused) == {0xFF}
                cut_starts += 1
    assert cut_starts > 20


def interrupted_starts(binary: Path, folder: Path, image: bytes) -> Iterator[bytes]:
    """What a start on this image leaves when it is cut."""
    flash, trace = folder / "start.bin", folder / "start.txt"
    flash.write_bytes(image)
    trace.unlink(missing_ok=True)
    with powered(native_command(binary, flash, "--flash-trace", str(trace))):
        operations = read_trace(trace)
    assert [each.value for each in operations] == [None], "a start erases one sector and programs nothing"
    yield from prefixes(image, operations)
    yield from torn(image, operations, every=1)


@pytest.mark.parametrize("name", ["EC key over EC key", "anchor over anchor"])
def test_the_replay_finds_a_store_with_a_single_slot(
    native: Path, single_slot: Path, tmp_path: Path, name: str
) -> None:
    recording = record(single_slot, tmp_path, name)
    with replayer(single_slot, tmp_path) as boot:
        states = [boot(image) for image in list(prefixes(recording.before, recording.operations))[::10]]
    assert any(state not in (recording.old, recording.new) for state in states)


def test_the_replay_finds_a_new_key_that_counts_too_early(loose: Path, tmp_path: Path) -> None:
    recording = record(loose, tmp_path, "new key beside the old")
    with replayer(loose, tmp_path) as boot:
        states = [boot(image) for image in prefixes(recording.before, recording.operations)]
    assert any(state not in (recording.old, recording.new) for state in states)
