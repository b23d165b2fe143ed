"""What a batch is to be: settings, trust root, order and slots, read and checked before anything is started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import given
from fixtures.slot import SlotConfig
from fixtures.slots import SlotsFileError, read_slots
from station import config as settings
from station.faults import fault
from station.root import load_root
from station.usage import UsageError
from trust.dsse import Envelope, EnvelopeError
from trust.kinds import ORDER, TOML, wrong_kind
from trust.order import OrderError, WorkOrder, window_problem
from trust.order_approval import OrderRefusedError, admitted
from trust.order_file import from_toml
from trust.root import RootError, TrustedRoot
from trust.statement import read


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A batch that could start."""

    config: settings.Config
    paths: settings.Paths
    root: TrustedRoot
    order: Envelope
    work: WorkOrder
    slots: tuple[SlotConfig, ...]

    @classmethod
    def load(cls, config_file: Path, order_file: Path, slots_file: Path | None = None) -> Self:
        """Read everything; the fault `setup` names the file and the entry of the settings that cannot be used.

        UsageError for an order or slots file that was named and cannot be; the fault `order-refuses` when the order
        does not name this station.
        """
        config, paths = settings.load(config_file)
        root = load_root(paths.root)
        agree(config, root)
        order = load_order(order_file, root)
        work = read(order, WorkOrder)
        for_this_station(work, config)
        slots = load_slots(paths.slots) if slots_file is None else named_slots(slots_file)
        return cls(config=config, paths=paths, root=root, order=order, work=work, slots=slots)

    def chosen(self, names: Sequence[str]) -> tuple[SlotConfig, ...]:
        """The slots of these names, all without names; UsageError for a name that is not there."""
        return chosen(self.slots, names)


def chosen(slots: tuple[SlotConfig, ...], names: Sequence[str], option: str = "--slots") -> tuple[SlotConfig, ...]:
    """The slots of these names, all without names; UsageError, with the option, for a name that is not there."""
    known = {slot.name: slot for slot in slots}
    missing = [name for name in names if name not in known]
    if missing:
        raise UsageError(f"{option}: no slot {', '.join(missing)}; there are {', '.join(known)}")
    return tuple(known[name] for name in names) if names else slots


def agree(config: settings.Config, root: TrustedRoot) -> None:
    """Station and environment are those of the trust root."""
    if config.station.environment != root.root.environment:
        raise fault(
            "setup",
            f"settings say environment {config.station.environment!r}, the trust root {root.root.environment!r}",
        )
    try:
        root.root.station(config.station.name)
    except RootError as error:
        raise fault("setup", str(error)) from error


def load_order(path: Path, root: TrustedRoot) -> Envelope:
    """The work order, as approved or (environment `demo`) as plain TOML; UsageError if nothing may be made under it."""
    try:
        data = given.read(path)
    except OSError as error:
        raise UsageError(f"order {path}: {error.strerror}; name the order's file with --order") from error
    if (wrong := wrong_kind(data, ORDER, TOML)) is not None:
        raise UsageError(f"{path} {wrong}")
    try:
        order = (
            Envelope.from_json(data.strip())
            if data.lstrip().startswith(b"{")
            else from_toml(data, environment=root.root.environment, root_sha256=root.sha256)
        )
        admitted(order, root)
    except (OrderError, EnvelopeError, OrderRefusedError) as error:
        raise UsageError(f"order {path}: {error}") from error
    return order


def for_this_station(work: WorkOrder, config: settings.Config) -> None:
    """The signer says the same, but only when the first device has got its key already.

    An order that has ended is taken: what was signed for in time is finished, and nothing else has room in it.
    """
    if config.station.name not in work.stations:
        named = ", ".join(work.stations)
        raise fault("order-refuses", f"order {work.order_id} is for {named}, this is {config.station.name}")
    now = datetime.now(UTC)
    if now < datetime.fromisoformat(work.not_before):
        raise fault("order-refuses", f"order {work.order_id}: {window_problem(work, now)}")


def load_slots(path: Path) -> tuple[SlotConfig, ...]:
    """The slots file that the settings name."""
    try:
        return read_slots(path)
    except SlotsFileError as error:
        raise fault("setup", str(error)) from error


def named_slots(path: Path) -> tuple[SlotConfig, ...]:
    """The slots file that the command names instead."""
    try:
        return read_slots(path)
    except SlotsFileError as error:
        raise UsageError(str(error)) from error
