"""The station's settings file. Names no trusted key and holds no secret."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec

import given
from station.faults import fault
from trust.printable import plainly, printable
from trust.toml_text import TomlError, table

Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=0)]
# trust.statement.Name again, tests/station/test_config.py holds it to that: here it would load cryptography for --help
_Name = Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?\Z")]
_PROXY = re.compile(r"https?://(?:[^@/\s]+@)?(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?/?")
_QUOTED = 300  # characters of what is said of an entry, which quotes its name
_SHOWN = "config.example.toml shows all entries"


class StationSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who this station is and where its files are."""

    name: _Name
    environment: _Name
    state: str
    root: str = "root.json"
    database: str = "station/ledger.db"
    slots: str = "slots.toml"


class SignerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the factory signer listens, and how long a line waits for its answer before it stops."""

    socket: str
    patience_s: Positive = 30.0


class RegistrySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to reach the registry; its address is in the trust root."""

    proxy: str = ""
    timeout_s: Positive = 10.0


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When to give up."""

    retries: Count = 1
    max_attempts: Annotated[int, msgspec.Meta(ge=1)] = 10
    generation_timeout_s: Positive = 180.0
    disk_reserve_mb: Count = 256


class ReleaseSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The plant's policy on what may ship."""

    witness: Literal["pending", "required"] = "pending"


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    station: StationSettings
    signer: SignerSettings
    registry: RegistrySettings = RegistrySettings()
    limits: LimitSettings = LimitSettings()
    release: ReleaseSettings = ReleaseSettings()


class Paths(msgspec.Struct, frozen=True, kw_only=True):
    """The settings' paths, resolved."""

    state: Path
    root: Path
    database: Path
    slots: Path
    signer_socket: Path


def _proxy_problem(proxy: str) -> str | None:
    """Why this is no address of a proxy; None if it is one, or none is wanted."""
    shown = printable(proxy, _QUOTED)
    if not proxy or _PROXY.fullmatch(proxy):
        return None
    return f"{shown!r} is no address of a proxy"


def load(path: Path) -> tuple[Config, Paths]:
    """Read a settings file; raises the fault `setup` naming file and entry."""
    try:
        config = msgspec.convert(table(given.read(path)), Config)
    except OSError as error:
        raise fault("setup", f"{path}: {error.strerror}; give --config FILE (config.example.toml shows one)") from error
    except TomlError as error:
        raise fault("setup", f"{path}: it {error}; {_SHOWN}") from error
    except msgspec.ValidationError as error:
        raise fault("setup", f"{path}: {printable(str(error), _QUOTED)}; {_SHOWN}") from error
    wrong = _proxy_problem(config.registry.proxy)
    if wrong is not None:
        raise fault("setup", f"{path}: registry.proxy: {wrong}; its form is http://HOST:PORT, and empty for none")
    try:
        state = (path.parent / config.station.state).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle; a name that no path may have
        raise fault("setup", f"{path}: state {config.station.state!r}: {plainly(error)}; correct it") from error
    return config, Paths(
        state=state,
        root=state / config.station.root,
        database=state / config.station.database,
        slots=state / config.station.slots,
        signer_socket=state / config.signer.socket,
    )
