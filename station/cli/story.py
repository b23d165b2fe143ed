"""The demo's course: the plant is made and started, then the same commands are typed that an operator would type.

Never cuts what it types: whoever watches can type it, too.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from station import config as settings
from station.alone import alone_with
from station.cli.called import as_called, shown
from station.cli.output import data, note
from station.demo.leftover import at_rest, unsettled
from station.demo.plant import MARKER, Batch, Plant
from station.demo.processes import Interrupts, script
from station.disk import usable
from station.exits import Exit, worst
from station.faults import fault
from station.root import load_root

_BOARDS = {
    "emulated": "the C firmware on QEMU's model of a Cortex-M4 board (emulated)",
    "native": "the C firmware as Linux processes on ptys (emulated)",
    "in-process": "Python devices in the bench's process, not the C firmware (emulated)",
}
_COLUMNS = 80


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for; None where nothing was said."""

    board: str | None
    devices: int | None
    keep: bool
    discard: bool

    @property
    def words(self) -> tuple[str, ...]:
        """The devices asked for, as options."""
        board = () if self.board is None else ("--bench", self.board)
        return board if self.devices is None else (*board, "--devices", str(self.devices))


class Cast(msgspec.Struct, frozen=True):
    """What a plant's devices are, kept in its marker: a kept plant goes on with the very same ones."""

    board: str = "native"
    devices: int = 8


def play(config_file: Path, wish: Wish) -> Exit:
    """The whole demo; the worst exit code of its commands. Nothing that it started runs afterwards."""
    began = time.monotonic()
    config, paths = settings.load(config_file)
    kept = _kept(paths, wish)
    cast = kept or Cast(wish.board or Cast().board, wish.devices or Cast().devices)
    with ExitStack() as stack:
        stack.enter_context(alone_with(paths.state))
        interrupts = stack.enter_context(Interrupts())
        try:
            plant = Plant(config, paths, cast.board, stack)
            with usable(paths.state):
                plant.require_own()
                with at_rest(paths.state):
                    if kept is None:
                        _clear(plant, config_file, wish)
                        (paths.state / MARKER).write_bytes(msgspec.json.encode(cast))
                batches = _plant_up(plant, paths.root, cast, how="new" if kept is None else "kept")
            note(f"plant up   {time.monotonic() - began:.1f} s; from here on the demo types what you would")
            note("")
            typist = Typist(config_file, interrupts)
            codes = [typist.run(batch) for batch in batches]
            codes += [typist.types("ledger", "verify"), typist.types("ledger", "report")]
        finally:
            interrupts.ignore()
    if worst(codes) is not Exit.INTERRUPTED:
        _look_around(config_file, paths.state)
        how = "" if worst(codes) is Exit.PASSED else f"FAILED with exit code {worst(codes):d}, "
        data(f"demo       {how}{time.monotonic() - began:.1f} s from start to end")
    return worst(codes)


def _kept(paths: settings.Paths, wish: Wish) -> Cast | None:
    """The kept plant's devices, None for a new plant; the fault `setup` when others were asked for."""
    with usable(paths.root):
        if not wish.keep or not paths.root.exists():
            return None
    try:
        cast = msgspec.json.decode((paths.state / MARKER).read_bytes(), type=Cast)
    except (OSError, msgspec.DecodeError) as error:
        raise fault("setup", f"{paths.state} is no demo's plant: leave out --keep") from error
    if (wish.board or cast.board, wish.devices or cast.devices) != (cast.board, cast.devices):
        raise fault(
            "setup", f"the kept plant has {cast.devices} {cast.board} devices: ask for these, or leave out --keep"
        )
    return cast


def _clear(plant: Plant, config_file: Path, wish: Wish) -> None:
    """Throw the last plant away, unless something waits in it."""
    left = None if wish.discard else unsettled(*settings.load(config_file))
    if left is not None:
        demo, config = (as_called(), "demo"), ("--config", shown(config_file))
        keep, discard = shlex.join((*demo, "--keep", *config)), shlex.join((*demo, "--discard", *wish.words, *config))
        raise fault("setup", f"the last demo's plant has {left}; a new plant would do away with that\n"
                    f"to go on with it:     {keep}\nto throw it away:     {discard}")  # fmt: skip
    plant.clear()


def _plant_up(plant: Plant, root_file: Path, cast: Cast, *, how: str) -> tuple[Batch, ...]:
    note(f"devices    {cast.devices}: {_BOARDS[cast.board]}")
    plant.make()
    trusted = load_root(root_file)
    root = trusted.root
    note(f"root       {trusted.sha256}")
    people = ", ".join(sorted(root.approvers)) if trusted.signed else "nobody"
    note(f"           environment {root.environment}, {how}; approved by {people},")
    note("           whose keys lie beside it: of the demo, for the demo")
    plant.start(urlsplit(root.registry_url).port or 0)
    note("signers    factory and cloud: two processes, two SoftHSM tokens (software)")
    note(f"registry   {root.registry_url} and its device service")
    return plant.bench(cast.devices)


class Typist:
    """Types commands, showing each; after an interruption nothing more."""

    def __init__(self, config_file: Path, interrupts: Interrupts) -> None:
        self._config = shown(config_file)
        self._interrupts = interrupts

    def run(self, batch: Batch) -> Exit:
        """A batch under one of the demo's orders."""
        return self.types("run", "--order", shown(batch.order), "--slots", ",".join(batch.slots))

    def types(self, *words: str) -> Exit:
        """One command of the station, as its user would type it."""
        if self._interrupts.any:
            return Exit.INTERRUPTED
        words = (*words, "--config", self._config)
        for line in typed((as_called(), *words)):
            note(line)
        code = self._interrupts.run([script("station"), *words])
        note("")
        return Exit(code) if code in set(Exit) else Exit.UNIT_FAILED


def typed(words: Sequence[str]) -> list[str]:
    """A command behind its prompt, as a shell takes it: one line, or one an option where that is too long."""
    whole = f"$ {shlex.join(words)}"
    if len(whole) <= _COLUMNS:
        return [whole]
    first = next(number for number, word in enumerate(words) if word.startswith("--"))
    options = [shlex.join(pair) for pair in zip(words[first::2], words[first + 1 :: 2], strict=True)]
    *lines, last = [f"$ {shlex.join(words[:first])}", *(f"      {option}" for option in options)]
    return [*(f"{line} \\" for line in lines), last]


def _look_around(config_file: Path, state: Path) -> None:
    note(f"Look around; nothing runs any more. All that the demo made is in {shown(state)}.")
    note(f"  {as_called()} device show DEVICE-ID --config {shown(config_file)}")
    note("      what is known of a device, the report of its live handshake among it;")
    note("      --save DIR for openssl (docs/statements.md)")
    note(f"  {as_called()} demo --keep --config {shown(config_file)}")
    note("      the same plant and devices again: what has passed is verified again")
