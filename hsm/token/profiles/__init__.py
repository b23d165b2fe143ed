"""The profiles that are known, and the choice among them. Never guesses: an unknown module gets the generic profile."""

from __future__ import annotations

from typing import Final

from hsm.token import TokenError
from hsm.token.profile import Chosen, Profile, Seen
from hsm.token.profiles.cloudhsm import CLOUDHSM
from hsm.token.profiles.generic import GENERIC
from hsm.token.profiles.luna import LUNA
from hsm.token.profiles.smartcard_hsm import SMARTCARD_HSM
from hsm.token.profiles.softhsm import SOFTHSM
from hsm.token.profiles.yubihsm2 import YUBIHSM2

PROFILES: Final[tuple[Profile, ...]] = (SOFTHSM, YUBIHSM2, LUNA, CLOUDHSM, SMARTCARD_HSM, GENERIC)


def choose(seen: Seen, setting: str = "") -> Chosen:
    """The profile named by the setting, else the one that fits what is seen; TokenError for a name nobody knows."""
    fitting = next((each for each in PROFILES if each.fits(seen)), None)
    if not setting:
        return Chosen(profile=fitting or GENERIC, recognised=fitting is not None)
    named = next((each for each in PROFILES if each.name == setting), None)
    if named is None:
        known = ", ".join(each.name for each in PROFILES)
        raise TokenError(f"profile {setting!r} is not known: use one of {known}, or leave it out")
    return Chosen(profile=named, recognised=named is fitting)
