"""The drain of a module's command log: nothing lost, nothing doubled, nothing believed that does not chain."""

from __future__ import annotations

import re
import stat
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

import pytest

from hsm.token.command_log import (
    CommandLog,
    CommandLogError,
    LogChainError,
    LogEntry,
    LogGapError,
    LogResetError,
    LogStore,
    drain,
    require_unbroken,
    signature_count,
)
from hsm.token.command_log_file import CommandLogFile
from tests.hsm.fake_yubihsm_log import SIGN_EDDSA, DeviceFullError, FakeYubiHsmLog, fresh_device
from tests.hsm.local_signer import make_counters, make_factory, make_parties
from tests.hsm.software_token import SoftwareToken

# Yubico's own example in GET LOG ENTRIES, and the first two entries after a reset as a user published them.
RECORDED = """
46 4b 234 0001 cf94 997e cb 335725 415f51f1f035a1b713e730e4464e4033
47 4c 77 0001 aff7 ffff cc 351714 5496a60d478c2b9c801d8d32ca66b554
48 00 0 ffff 0000 0000 00 0 14ac7747ba9bbb243cfc70befeb5349b
49 03 10 ffff 0001 ffff 83 139 b20a8f25c025e693a8e869b433294a20
50 04 17 ffff 0001 ffff 84 139 ebfae425c319ac7a0afbb8b92597de7c
51 67 2 0001 ffff ffff e7 697 2e395d1b706668737e1d2215813db47e
"""
AFTER_RESET = """
1 ff 65535 ffff ffff ffff ff 4294967295 33012657537e4842f57fa6ed3b09b25b
2 00 0 ffff 0000 0000 00 0 fc153091560e18bca82621522c85bdba
"""


def recorded(text: str) -> list[LogEntry]:
    found = []
    for number, command, length, session, target, second, result, tick, digest in map(
        str.split, text.strip().splitlines()
    ):
        found.append(LogEntry(
            number=int(number), command=int(command, 16), length=int(length), session_key=int(session, 16), target_key=int(target, 16),
            second_key=int(second, 16), result=int(result, 16), tick=int(tick), digest=bytes.fromhex(digest),
        ))  # fmt: skip
    return found


class Kept:
    """A store in memory. `torn` makes the next append keep only so many entries and die."""

    def __init__(self) -> None:
        self.entries: list[LogEntry] = []
        self.torn: int | None = None

    def last(self) -> LogEntry | None:
        return self.entries[-1] if self.entries else None

    def append(self, entries: Sequence[LogEntry]) -> None:
        if self.torn is not None:
            self.entries.extend(entries[: self.torn])
            raise PowerLostError
        self.entries.extend(entries)


class PowerLostError(Exception):
    """The crash of a trial."""


class LosesPower:
    """The device, reached through a connection that dies before or after the acknowledgement is done."""

    def __init__(self, device: FakeYubiHsmLog, *, applied: bool) -> None:
        self._device = device
        self._applied = applied
        self.capacity, self.force_audit = device.capacity, device.force_audit

    def held(self) -> object:
        return self._device.held()

    def acknowledge(self, number: int) -> None:
        if self._applied:
            self._device.acknowledge(number)
        raise PowerLostError


def hasty(log: CommandLog, store: LogStore) -> None:
    """The fault that the trials must catch: lets the device forget first, stores then."""
    page = log.held()
    log.acknowledge(page.entries[-1].number)
    store.append(page.entries)


@pytest.mark.parametrize("text", [RECORDED, AFTER_RESET], ids=["vendor's example", "after a reset"])
def test_the_recorded_digests_are_the_ones_computed_here(text: str) -> None:
    entries = recorded(text)
    assert all(entry.follows(before) for before, entry in pairwise(entries))
    assert all(LogEntry.parse(each.raw) == each and len(each.raw) == 32 for each in entries)


def test_boots_and_resets_are_told_from_commands() -> None:
    assert [each.number for each in recorded(RECORDED) if each.is_boot] == [48]
    assert [(each.is_reset, each.is_boot) for each in recorded(AFTER_RESET)] == [(True, False), (False, True)]


@pytest.mark.parametrize("size", [0, 31, 33])
def test_an_entry_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(CommandLogError, match="32 bytes"):
        LogEntry.parse(bytes(size))


def test_signing_stops_when_nobody_drains() -> None:
    device = fresh_device()
    fill(device)
    assert device.signed == 60, "62 entries but for the two of reset and boot"
    store = Kept()
    assert drain(device, store).was_full
    device.sign_ecdsa(2)
    assert not drain(device, store).was_full


def test_the_drain_keeps_the_line_going_past_the_wrap_of_the_numbers() -> None:
    device, store = fresh_device(), Kept()
    device._number = 65_500
    device.entries.clear()
    device.sign_ecdsa(2)
    for signature in range(500):
        device.sign_ecdsa(2 + signature % 3)
        if signature % 50 == 0:
            drain(device, store)
    drain(device, store)
    assert signature_count(store.entries) == {2: 168, 3: 167, 4: 166}
    assert max(Counter(each.number for each in store.entries).values()) == 1


def test_only_signatures_that_were_made_count() -> None:
    device, store = fresh_device(), Kept()
    device.open_session()
    device.sign_ecdsa(2)
    device.sign_ecdsa(2, fails=True)
    device.sign_ecdsa(3, command=SIGN_EDDSA)
    drain(device, store)
    assert signature_count(store.entries) == {2: 1, 3: 1}


def fill(device: FakeYubiHsmLog) -> None:
    for _ in range(100):
        try:
            device.sign_ecdsa(2)
        except DeviceFullError:
            return
    pytest.fail("the device never stopped")


def crash_and_go_on(device: FakeYubiHsmLog, store: Kept, how: str) -> None:
    log = device if how.startswith("torn") else LosesPower(device, applied=how == "acknowledged")
    store.torn = int(how.removeprefix("torn ")) if log is device else None
    with pytest.raises(PowerLostError):
        drain(log, store)
    store.torn = None
    device.boot()
    device.sign_ecdsa(2)
    drain(device, store)


@pytest.mark.parametrize("how", ["torn 0", "torn 1", "torn 7", "not acknowledged", "acknowledged"])
def test_a_crash_loses_and_doubles_nothing(how: str) -> None:
    device, store = fresh_device(), Kept()
    for _ in range(3):
        for _ in range(10):
            device.sign_ecdsa(2)
        crash_and_go_on(device, store, how)
    assert signature_count(store.entries) == {2: device.signed}
    assert [each.number for each in store.entries] == list(range(1, len(store.entries) + 1))


def test_a_drain_that_acknowledges_first_loses_entries_and_that_is_seen() -> None:
    """Negative control: the same crash, between its two steps the other way round."""
    device, store = fresh_device(), Kept()
    drain(device, store)
    for _ in range(10):
        device.sign_ecdsa(2)
    store.torn = 0
    with pytest.raises(PowerLostError):
        hasty(device, store)
    store.torn = None
    with pytest.raises(LogGapError, match="11 are missing"):
        drain(device, store)
    assert signature_count(store.entries) != {2: device.signed}


def test_overwritten_entries_are_a_gap() -> None:
    device, store = fresh_device(force_audit=False), Kept()
    drain(device, store)
    for _ in range(70):
        device.sign_ecdsa(2)
    before = list(device.entries)
    with pytest.raises(LogGapError):
        drain(device, store)
    assert device.entries == before, "nothing is acknowledged"


@pytest.mark.parametrize("change", ["target_key", "tick", "result", "digest"])
@pytest.mark.parametrize("place", [0, 3, -1])
def test_a_changed_entry_breaks_the_chain(change: str, place: int) -> None:
    device, store = fresh_device(), Kept()
    drain(device, store)
    for _ in range(6):
        device.sign_ecdsa(2)
    entry = device.entries[place]
    other = bytes(16) if change == "digest" else getattr(entry, change) ^ 1
    device.entries[place] = replace(entry, **{change: other})
    before, kept = list(device.entries), list(store.entries)
    with pytest.raises(LogChainError):
        drain(device, store)
    assert (device.entries, store.entries) == (before, kept)


def test_another_device_is_not_taken_for_this_one() -> None:
    device, other, store = fresh_device(), fresh_device(), Kept()
    drain(device, store)
    with pytest.raises(CommandLogError):
        drain(other, store)


def test_a_reset_device_is_said_so() -> None:
    device, store = fresh_device(), Kept()
    drain(device, store)
    device.reset()
    with pytest.raises(LogResetError, match="make the signer anew"):
        drain(device, store)


def test_boots_and_what_could_not_be_logged_are_reported() -> None:
    device, store = fresh_device(), Kept()
    fill(device)
    device.boot()
    device.open_session()
    found = drain(device, store)
    assert (found.was_full, found.unlogged_boots, found.unlogged_authentications, len(found.boots)) == (True, 1, 1, 1)
    device.boot()
    assert len(drain(device, store).boots) == 1


def test_the_file_keeps_entries_and_cuts_a_torn_one_off(tmp_path: Path) -> None:
    device, path = fresh_device(), tmp_path / "commands.log"
    for _ in range(5):
        device.sign_ecdsa(2)
    drain(device, CommandLogFile(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    whole = path.read_bytes()
    device.sign_ecdsa(3)
    path.write_bytes(whole + b"\1" * 17)
    store = CommandLogFile(path)
    assert store.last() == LogEntry.parse(whole[-32:])
    drain(device, store)
    assert path.read_bytes().startswith(whole)
    assert signature_count(store.entries()) == {2: 5, 3: 1}


@pytest.mark.parametrize(
    "spoil", [lambda raw: raw[:64] + raw[96:], lambda raw: raw[:70] + bytes([raw[70] ^ 1]) + raw[71:]]
)
def test_what_was_kept_is_checked_before_it_is_counted(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    device, store = fresh_device(), CommandLogFile(tmp_path / "commands.log")
    for _ in range(5):
        device.sign_ecdsa(2)
        drain(device, store)
    require_unbroken(store.entries())
    (tmp_path / "commands.log").write_bytes(spoil((tmp_path / "commands.log").read_bytes()))
    with pytest.raises(CommandLogError):
        require_unbroken(store.entries())


def test_a_file_that_cannot_be_written_acknowledges_nothing(tmp_path: Path) -> None:
    device, path = fresh_device(), tmp_path / "commands.log"
    store = CommandLogFile(path)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").touch()
    before = list(device.entries)
    with pytest.raises(CommandLogError, match=re.escape(str(path))):
        drain(device, store)
    assert device.entries == before


class LoggedToken(SoftwareToken):
    """A token whose device keeps a log; the key of each purpose has an id of its own."""

    device: FakeYubiHsmLog
    ids = MappingProxyType({"pin": 10, "completion": 11, "log": 12, "client": 13})

    def _begin(self, label: str) -> None:
        super()._begin(label)
        self.device.sign_ecdsa(self.ids[label])


def test_the_device_and_the_signers_own_books_come_to_the_same(tmp_path: Path) -> None:
    """How a reconciliation is to use it: per key, signatures in the log = payloads + re-signs in the counters."""
    parties, store = make_parties(tmp_path), CommandLogFile(tmp_path / "commands.log")
    token = LoggedToken(parties.factory_token._directory)
    token.device = fresh_device()
    (tmp_path / "again").mkdir()
    signer = make_factory(tmp_path / "again", "st-01", parties.trusted, token)
    for _ in range(120):
        signer.client_assertion("https://registry.example")
        drain(token.device, store)
    books = make_counters(tmp_path / "again" / "counters.db", "factory", "st-01", token).signatures()
    counted = {label: signature_count(store.entries()).get(each, 0) for label, each in token.ids.items()}
    assert {label: number for label, number in counted.items() if number} == {
        purpose: payloads + again for purpose, (payloads, again) in books.items() if payloads
    }
    token.sign_ecdsa("pin", bytes(32))  # past the signer
    drain(token.device, store)
    assert signature_count(store.entries())[token.ids["pin"]] == 1
    assert not books.get("pin", (0, 0))[0], "which the books do not know"
