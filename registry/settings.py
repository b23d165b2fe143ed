"""`registry.toml`: what one registry directory is. Written once by `station-registry init`, read at every start.

Names no trusted key: that is the trust root's alone.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

import given
from registry.database import sqlite_url
from trust.printable import plainly, printable
from trust.statement import Name
from trust.toml_text import TomlError, table

FILE = "registry.toml"
_QUOTED = 300  # characters of what is said of an entry, which quotes its name


class SetupError(Exception):
    """The registry cannot start or be made; the text says why and what to do next."""


_ADDRESS = re.compile(r".+:([0-9]{1,5})", re.DOTALL)
LAST_PORT = 65_535
Many = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class DevicesConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table `devices`: what `station-registry devices` serves. Without an address it is the bench relay alone.

    `tcp` and `udp` are HOST:PORT where devices in the field come, empty for nowhere. `relay_uids` may use the relay's
    socket besides its own user. `workers` threads for each of bench and field ask signer and database.
    """

    tcp: str = ""
    udp: str = ""
    relay_uids: tuple[int, ...] = ()
    relay_sessions: Many = 512
    relay_sessions_of_a_station: Many = 128
    tcp_connections: Many = 10_000
    tcp_connections_of_an_address: Many = 1_000
    udp_sessions: Many = 20_000
    udp_half_open: Many = 1_000
    udp_half_open_of_an_address: Many = 100
    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 8

    def __post_init__(self) -> None:
        """ValueError for an address that is none; msgspec tells it as a validation error."""
        for name, address in (("tcp", self.tcp), ("udp", self.udp)):
            if address:
                found = _ADDRESS.fullmatch(address)
                if found is None or int(found[1]) > LAST_PORT:  # the system would take another port for it
                    raise ValueError(f"{name} = {address!r}: give HOST:PORT, the port from 0 to {LAST_PORT}")


class RegistryConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One registry. Relative paths are taken from its directory; `database` is a file or an SQLAlchemy URL.

    `rate_factor` is for all rate limits, 0 for none; each process counts for itself. `balancers`: the
    addresses or networks of load balancers that say in a PROXY header from where a connection comes. `address_limits`
    is false behind one that cannot: all clients would be one. `particle_door` lets Particle's tools propose keys.
    `relay_socket`: where the device service takes the bench relay's handshakes; empty for nowhere.
    """

    name: Name
    environment: Name
    database: str = "registry.db"
    signer_socket: str = "../signer-cloud/run/signer.sock"
    rate_factor: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 1.0
    address_limits: bool = True
    balancers: tuple[str, ...] = ()
    particle_door: bool = False
    relay_socket: str = "run/devices.sock"
    devices: DevicesConfig = DevicesConfig()


@dataclass(frozen=True, slots=True)
class Home:
    """A registry's directory and what its configuration says."""

    directory: Path
    config: RegistryConfig

    @classmethod
    def load(cls, directory: Path) -> Home:
        """SetupError when the configuration is missing or malformed."""
        path = directory / FILE
        try:
            return cls(directory, msgspec.convert(table(given.read(path)), RegistryConfig))
        except FileNotFoundError as error:
            raise SetupError(
                f"{path} is not there: correct --dir, or make the registry first (station-registry init --help says "
                "how)"
            ) from error
        except OSError as error:
            raise SetupError(f"{path}: {plainly(error)}: let the registry's user read it, or restore it") from error
        except TomlError as error:
            raise SetupError(f"{path} {error}: restore it") from error
        except msgspec.ValidationError as error:
            text = f"{path}: {printable(str(error), _QUOTED)}: correct the entry, or restore the file"
            raise SetupError(text) from error

    @property
    def database_url(self) -> str:
        """The database's SQLAlchemy URL."""
        database = self.config.database
        return sqlite_url(self.directory.absolute() / database) if self.on_file else database

    @property
    def on_file(self) -> bool:
        """Whether the database is a SQLite file of this directory, and not a server's."""
        return "://" not in self.config.database

    @property
    def signer_socket(self) -> Path:
        """Where the cloud-role signer listens."""
        return self.directory.absolute() / self.config.signer_socket

    @property
    def relay_socket(self) -> Path | None:
        """Where the device service takes relayed handshakes; None for nowhere."""
        return self.directory.absolute() / self.config.relay_socket if self.config.relay_socket else None

    @property
    def tls_key(self) -> Path:
        """The TLS private key, PEM, mode 0600."""
        return self.directory / "tls.key"

    @property
    def tls_certificate(self) -> Path:
        """The TLS certificate (chain), PEM; the trust root names its root."""
        return self.directory / "tls.crt"


def config_of(**entries: str | None) -> RegistryConfig:
    """A configuration from options; None takes the default. SetupError names the entry that cannot be."""
    try:
        return msgspec.convert({name: value for name, value in entries.items() if value is not None}, RegistryConfig)
    except msgspec.ValidationError as error:
        raise SetupError(f"{error}: names take 1 to 64 of a-z 0-9 . _ -") from error


def dump(config: RegistryConfig) -> str:
    """The file's text; values are strings, numbers, bools and lists of them, whose JSON spelling is TOML too."""
    entries = msgspec.to_builtins(config)
    devices = entries.pop("devices")
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in entries.items())
    text = f"# Written by station-registry init. Holds no secret and no trusted key.\n{lines}"
    if config.devices == DevicesConfig():  # whoever adds an entry at the end of the file means it for no table
        return text
    return f"{text}\n[devices]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in devices.items())
