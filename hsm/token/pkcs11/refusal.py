"""What a token's *no* becomes outside PKCS#11. Never says what was asked: a user PIN could be in it."""

from __future__ import annotations

import pkcs11

from hsm.token import TokenError


def refusal(label: str, error: pkcs11.PKCS11Error) -> TokenError:
    """The one error that callers know, with the name of the library's."""
    return TokenError(f"token {label!r} refused: {type(error).__name__} {error}".rstrip())
