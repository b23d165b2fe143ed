"""A signature that was asked for and not given may have been made: it is asked for once more, counted before."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from hsm.counters import Counters
from hsm.purposes import Purpose
from hsm.token import SignatureUnknownError, TokenError

T = TypeVar("T")
_LOG = logging.getLogger(__name__)


def once_more(counters: Counters, purpose: Purpose, sign: Callable[[], T]) -> T:
    """What `sign` gives, at its second try if the first one's signature is in doubt; TokenError."""
    try:
        return _told(purpose, sign)
    except SignatureUnknownError:
        with counters.transaction():
            counters.count_signature(purpose, again=True)
        return _told(purpose, sign)


def _told(purpose: Purpose, sign: Callable[[], T]) -> T:
    """The log tells what is counted and was surely not made."""
    try:
        return sign()
    except SignatureUnknownError:
        raise
    except TokenError as error:
        _LOG.info("not signed: %s: %s", purpose, error)
        raise
