"""Which kind of module is behind a token, by what both say of themselves. Never logs in."""

from __future__ import annotations

import pkcs11

from hsm.token import TokenPinWrongError
from hsm.token.pkcs11.place import TokenPlace
from hsm.token.profile import Chosen, Profile, Seen
from hsm.token.profiles import choose
from hsm.token.user_pin import UserPin


def chosen_for(place: TokenPlace, token: pkcs11.Token) -> Chosen:
    """The profile that the place names, else the one that module and token show; TokenError for an unknown name."""
    library = pkcs11.lib(str(place.module))
    seen = Seen(
        library_manufacturer=_plain(library.manufacturer_id),
        library_description=_plain(library.library_description),
        token_manufacturer=_plain(token.manufacturer_id),
        token_model=_plain(token.model),
    )
    return choose(seen, place.profile)


def fitting(profile: Profile, user_pin: UserPin) -> str:
    """The user PIN, if it has the form that the module takes; else TokenPinWrongError, and no try is spent on it."""
    text = user_pin.reveal()
    if not profile.takes_user_pin(text):
        raise TokenPinWrongError(
            f"the user PIN has not the form that {profile.title} takes ({profile.user_pin}): it was not tried"
        )
    return text


def _plain(text: str) -> str:
    return text.rstrip("\0 ")
