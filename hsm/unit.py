"""The systemd unit of a signer: one template (signer.service), and what each kind of token needs beyond it.

Text only: never installs, starts or changes anything. Must never open more than the named token needs.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath
from string import Template
from types import MappingProxyType

from hsm import config
from hsm.config import SetupError, SignerConfig

_STATE, _RUN = PurePosixPath("/var/lib"), PurePosixPath("/run")
_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 - ProtectHome=, PrivateTmp=
_PLAIN = re.compile(r"/[A-Za-z0-9/._:@+-]*")  # no blank, quote, % or $: a unit's syntax has a meaning for each
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How a PKCS#11 module reaches its token."""

    families: str = "AF_UNIX"
    needs: str = ""
    addresses: tuple[str, ...] = ()
    asks_addresses: bool = False
    asks_devices: bool = False


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "softhsm": Profile(),
        "pcscd": Profile(needs="pcscd.socket"),
        # AF_NETLINK: libusb hears of devices that come and go
        "usb": Profile(families="AF_UNIX AF_NETLINK", asks_devices=True),
        "usb-connector": Profile(
            families="AF_UNIX AF_INET", needs="yubihsm-connector.service", addresses=("localhost",)
        ),
        "network": Profile(families="AF_UNIX AF_INET AF_INET6", needs="network-online.target", asks_addresses=True),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """Where things are on the machine that is to run the unit; an empty `user` is `signer-ROLE`."""

    directory: Path
    root: Path
    command: Path
    profile: str = "softhsm"
    addresses: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    user: str = ""
    group: str = ""


def unit_name(made: SignerConfig) -> str:
    """The unit's name without its suffix."""
    return f"station-signer-{made.role}"


def render(made: SignerConfig, where: Installation) -> str:
    """The unit's text; SetupError says what to correct."""
    profile = PROFILES[where.profile]
    user = where.user or f"signer-{made.role}"
    values = {
        "profile": where.profile,
        "role": made.role,
        "name": made.name,
        "environment": made.environment,
        "needs": f"Wants={profile.needs}\nAfter={profile.needs}" if profile.needs else "",
        "command": _path(where.command),
        "directory": _path(where.directory),
        "root": _path(where.root),
        "user": _account(user),
        "group": _account(where.group or user),
        "places": _places(made, where.directory),
        "credential": _credential(made),
        "devices": _devices(profile, where),
        "families": profile.families,
        "network": _network(profile, where),
    }
    text = Template((files("hsm") / "signer.service").read_text(encoding="utf-8")).substitute(values)
    return re.sub(r"\n{3,}", "\n\n", text)


def _places(made: SignerConfig, directory: Path) -> str:
    """Where it may write: its directory, and its socket's where that is another one."""
    lines = _writable(PurePosixPath(_path(directory)), "State", _STATE)
    listening = PurePosixPath(_path(config.socket_path(directory, made).parent))
    if not listening.is_relative_to(directory.absolute()):
        lines += _writable(listening, "Runtime", _RUN)
    return "\n".join(lines)


def _writable(path: PurePosixPath, kind: str, top: PurePosixPath) -> list[str]:
    if path.is_relative_to(top) and path != top:
        return [f"{kind}Directory={path.relative_to(top)}", f"{kind}DirectoryMode=0750"]
    return [f"ReadWritePaths={path}"]


def _credential(made: SignerConfig) -> str:
    kind, _, name = made.user_pin.partition(":")
    if kind == "cred":
        if re.fullmatch(r"[A-Za-z0-9._-]+", name) is None:
            raise SetupError(f"user_pin {made.user_pin!r}: name the credential with letters, digits, dot and dash")
        return f"LoadCredentialEncrypted={name}:/etc/credstore.encrypted/{unit_name(made)}.{name}"
    if kind == "file":
        return ""
    raise SetupError(f"user_pin {made.user_pin!r} cannot come from a unit: use cred:user-pin, or file:PATH")


def _devices(profile: Profile, where: Installation) -> str:
    if bool(where.devices) is not profile.asks_devices:
        raise SetupError(f"profile {where.profile}: {_asked('--device', profile.asks_devices)}")
    if not profile.asks_devices:
        return "DevicePolicy=closed\nPrivateDevices=yes"
    for each in where.devices:
        if not _path(Path(each)).startswith("/dev/"):
            raise SetupError(f"--device {each}: name one node below /dev")
    return "\n".join(["DevicePolicy=closed", *(f"DeviceAllow={each} rw" for each in where.devices)])


def _network(profile: Profile, where: Installation) -> str:
    if bool(where.addresses) is not profile.asks_addresses:
        raise SetupError(f"profile {where.profile}: {_asked('--address', profile.asks_addresses)}")
    for each in where.addresses:
        try:
            found = ipaddress.ip_network(each)
        except ValueError as error:
            raise SetupError(f"--address {each!r}: give an IP address, or a network as ADDRESS/BITS") from error
        if found.prefixlen == 0:
            raise SetupError(f"--address {each} is every address: name the token's own")
    allowed = profile.addresses or where.addresses
    return "\n".join(f"IPAddressAllow={each}" for each in allowed) or "PrivateNetwork=yes"


def _asked(option: str, wanted: bool) -> str:  # noqa: FBT001 - of a sentence
    return f"say which with {option}" if wanted else f"{option} is nothing that it needs"


def _path(path: Path) -> str:
    text = str(path.absolute())
    if _PLAIN.fullmatch(text) is None:
        raise SetupError(f"{text}: a unit takes paths of letters, digits and ._:@+- only: choose another")
    return text


def hidden(where: Installation) -> list[Path]:
    """What the unit names and will not see, as it hides homes and temporary directories."""
    named = (where.command, where.directory, where.root)
    return [each for each in named if any(each.absolute().is_relative_to(top) for top in _HIDDEN)]


def _account(name: str) -> str:
    if _USER.fullmatch(name) is None and not name.isdecimal():
        raise SetupError(f"{name!r} is no name of a user or group")
    if name in {"root", "0"}:
        raise SetupError("a signer has a user of its own, not root: name it with --user and --group")
    return name
