"""What a kind of PKCS#11 module can do, as a value: how keys are made in it, what must hold of them, what it cannot do.

Each fact names its source, and says whether it was *tried here* or comes *from documentation*. Never talks to a module,
and never claims that something works which nobody has tried.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

ED25519_BY_OID: Final = bytes.fromhex("06032b6570")  # RFC 8410 §3
ED25519_BY_NAME: Final = b"\x13\x0cedwards25519"  # PKCS #11 v3.0 current mechanisms §2.3.5: a PrintableString

NEVER_LEAVES: Final[Mapping[str, bool]] = MappingProxyType({"SENSITIVE": True, "EXTRACTABLE": False})
SIGNS_ONLY: Final[Mapping[str, bool]] = MappingProxyType(
    {"SIGN": True, "DECRYPT": False, "UNWRAP": False, "DERIVE": False}
)
BORN_INSIDE: Final[Mapping[str, bool]] = MappingProxyType(
    {"LOCAL": True, "ALWAYS_SENSITIVE": True, "NEVER_EXTRACTABLE": True}
)


class Mark(StrEnum):
    """How a fact is known."""

    TRIED = "tried here"
    DOCUMENTED = "from documentation"


class Tier(StrEnum):
    """What, besides the signer's own books, says how often a key was used."""

    A = "A"  # the module itself counts or limits the uses of each key
    B = "B"  # the module keeps a log of commands, which can be compared with the books
    C = "C"  # nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where facts come from: `about` names fields of `Profile`."""

    about: tuple[str, ...]
    where: str
    mark: Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a module and its token say of themselves (CK_INFO and CK_TOKEN_INFO), without their padding."""

    library_manufacturer: str = ""
    library_description: str = ""
    token_manufacturer: str = ""
    token_model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One kind of module. Attributes are named as in PKCS #11, without `CKA_`.

    `ed25519_params`: CKA_EC_PARAMS of an Ed25519 key, of which modules take one spelling; empty if it has none.
    `recognised`: any of these, each of whose entries is the beginning of what is seen. `leave_out`: attributes that the
    module refuses in a template. `required` must be readable and so; `where_readable` must be so if it can be read.
    """

    name: str
    title: str
    recognised: tuple[Seen, ...]
    ed25519_params: bytes
    leave_out: frozenset[str] = frozenset()
    required: Mapping[str, bool]
    where_readable: Mapping[str, bool]
    public_beside: bool
    read_write: bool = False
    initialised_here: bool
    user_pin: str
    user_pin_form: str
    token_label: str
    tier: Tier
    usage_counter: str = ""
    command_log: str = ""
    network_client: bool
    p256_rate: str
    sources: tuple[Source, ...]
    cannot: tuple[str, ...]

    @property
    def tried(self) -> bool:
        """Whether any of this was done with the module itself."""
        return any(each.mark is Mark.TRIED for each in self.sources)

    def fits(self, seen: Seen) -> bool:
        """Whether module and token are of this kind, by what they say."""
        return any(_begins(each, seen) for each in self.recognised)

    def takes_user_pin(self, text: str) -> bool:
        """Whether a user PIN has the form that the module takes: one that has not would only cost a try."""
        return re.fullmatch(self.user_pin_form, text, re.DOTALL) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The profile in use, and how it came to be: recognised from the token, or named in signer.toml."""

    profile: Profile
    recognised: bool

    def __str__(self) -> str:
        name = self.profile.name
        if self.profile.tried and self.recognised:
            return f"{name} (tried with this kind of module)"
        named = "" if self.recognised or not self.profile.recognised else "; the token does not show that it is one"
        known = "tried with another" if self.profile.tried else "from documentation"
        return f"{name} (profile {known}, not tried with this module{named})"


def _begins(wanted: Seen, seen: Seen) -> bool:
    names = ("library_manufacturer", "library_description", "token_manufacturer", "token_model")
    return all(getattr(seen, name).startswith(getattr(wanted, name)) for name in names)
