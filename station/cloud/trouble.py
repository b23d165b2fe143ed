"""Why the registry could not be asked, in words that a technician can act on. Pure.

Must never show a library's class names or error numbers, nor foreign text that is not printable.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import httpx2

from trust.printable import plainly, printable

_EXCERPT = 120  # characters of foreign text that are shown


def trouble(url: str, asked: str, error: Exception, proxy: str = "") -> str:
    """One clause. Without a connection the device asked about does not matter: it is the same for all of them."""
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        by = f" by the proxy {proxy}" if proxy else ""
        return f"no connection to {url}{by}: {cause(error)}"
    if isinstance(error, httpx2.ProxyError):
        return f"no connection to {url}: the proxy says {printable(str(error), _EXCERPT)}"
    text = printable(str(error), _EXCERPT) or "the connection was lost"
    return f"{asked}: {text}"


def of_certificate(error: BaseException) -> bool:
    """Whether it came from a certificate that was refused."""
    return refused_certificate(error) is not None


def refused_certificate(error: BaseException) -> str | None:
    """Why the certificate of whoever answered was refused; None if none was."""
    found = (each.verify_message for each in _chain(error) if isinstance(each, ssl.SSLCertVerificationError))
    return next(found, None)


def cause(error: BaseException) -> str:
    """What lies below the HTTP client's own errors."""
    for each in _chain(error):
        match each:
            case ssl.SSLCertVerificationError():
                return f"its TLS certificate does not verify under the trust root's ({each.verify_message})"
            case ssl.SSLError():
                return "what answers there does not speak TLS"
            case socket.gaierror():
                return "its name is not known on this machine"
            case ConnectionRefusedError():
                return "nobody listens there"
            case OSError() if each.errno:
                return plainly(each)
    return "it could not be made"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from, however often it was wrapped."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
