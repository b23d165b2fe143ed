"""That somebody may not do what he asks, or has not shown who he is: status, code, and what HTTP says beside them.

Sources: RFC 9110 §11.6.1 (challenges), RFC 6750 §3 and RFC 9449 §7.1 and §8 (their parameters), RFC 9470 §3 (second
factor). Decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from trust.codes import Code

Headers = tuple[tuple[str, str], ...]
_NOBODY, _FORBIDDEN = 401, 403


class DeniedError(Exception):
    """No. `headers` go with the answer: how to show who one is, and the nonce for the next proof.

    `status`: 401 where it is not known who asks, 403 where he may not, 429 where he asks too often.
    """

    def __init__(self, status: int, code: Code, message: str, headers: Headers = ()) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers


def unknown(code: Code, message: str, challenges: Iterable[str], nonce: str | None = None) -> DeniedError:
    """401: nobody knows who asks. Each challenge is a way to show it; a nonce is for the next DPoP proof."""
    headers = [("www-authenticate", each) for each in challenges]
    if nonce is not None:
        headers.append(("dpop-nonce", nonce))
    return DeniedError(_NOBODY, code, message, tuple(headers))


def forbidden(code: Code, message: str, *challenges: str) -> DeniedError:
    """403: it is known who asks, and he may not."""
    return DeniedError(_FORBIDDEN, code, message, tuple(("www-authenticate", each) for each in challenges))


def dpop_challenge(error: str = "", **more: str) -> str:
    """How a station shows who it is."""
    return _challenge("DPoP", error, {**more, "algs": "ES256"})


def bearer_challenge(error: str = "", **more: str) -> str:
    """How a person shows who he is."""
    return _challenge("Bearer", error, more)


def _challenge(scheme: str, error: str, more: dict[str, str]) -> str:
    """`realm` keeps a challenge without parameters from being read as a token68."""
    said = {"realm": "registry", **({"error": error} if error else {}), **more}
    return f"{scheme} " + ", ".join(f'{name}="{value}"' for name, value in said.items())
