"""Group commit: requests that wait together are reserved in one transaction, signed, and stored in the next one.

Reserve -> sign -> store -> reply, for all of them at once; the transaction that stores one group's signatures reserves
what has come meanwhile. Each request is a savepoint of its own: one that is refused leaves nothing behind and harms
none beside it. Never answers before the commit that makes the answer true, never decides what may be signed (that is
each errand's own), and never signs what is not reserved on disk: a signature that may have been made and was not given
is reserved once more, which counts it, before it is asked for again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Protocol

from hsm.counters import Counters
from hsm.counters.file import StoreError
from hsm.signer import SignerError
from hsm.token import SignatureUnknownError, TokenError, TokenPinWrongError, TokenUnavailableError

_LOG = logging.getLogger(__name__)
MOST = 64  # errands at a time: bounds what one transaction writes and how long a caller waits for others
_SIGNING_S = 0.2  # a slow token's signatures are stored, and answered, at least this often


class Errand(Protocol):
    """One request of a group. Used by one thread at a time, and by the memory's thread from `prepare` on."""

    @property
    def key(self) -> str:
        """Equal for requests that want the very same answer: it is paid for once."""

    def prepare(self) -> None:
        """Whatever can be done before the transaction; may read the memory. StoreError only, it never refuses yet."""

    def reserve(self) -> object:
        """Check and count, in the group's transaction: the answer, or None when it must be signed. SignerError."""

    def sign(self) -> None:
        """Have the token sign what is reserved; TokenError."""

    def store(self) -> object:
        """Keep the signature, in the next transaction; the answer."""


Answered = tuple[Errand, object]
"""An errand and its answer: what it asked for, or the SignerError, TokenError or StoreError that it gets instead."""
Errands = dict[str, list[Errand]]
"""By key: those of one key want the same answer, the first of them fetches it."""
More = Callable[[int], Sequence[Errand]]


def _nobody(_: int) -> Sequence[Errand]:
    return ()


def settle(counters: Counters, errands: Sequence[Errand], more: More = _nobody) -> Iterator[list[Answered]]:
    """The answer to each errand, as soon as it is durable. A bug in an errand ends all that are not answered yet.

    `more` is asked before each transaction for errands that have come since, at most so many.
    """
    unsigned: Errands = {}
    signed: Errands = {}
    unsure: list[Errand] = []
    asked_twice: set[str] = set()
    fresh = errands
    while fresh or unsure or signed or unsigned:
        ready, failed = _prepared(fresh) if fresh else ([], [])
        try:
            answered, reserved = _committed(counters, signed, [*unsure, *ready], unsigned)
        except BaseException:
            yield _committed(counters, signed, (), {})[0]  # a newcomer's bug: who has a signature already gets it
            raise
        yield failed + answered
        # A crash from here on leaves payloads without signature: the same requests sign the same payloads again.
        asked_twice |= {each.key for each in unsure}
        unsigned |= reserved
        made, failed, again = _signed(unsigned, asked_twice)
        yield failed
        signed = {key: unsigned.pop(key) for key in made}
        unsure = [errand for key in again for errand in unsigned.pop(key)]
        gone = {id(errand) for errand, _ in failed}
        unsigned = {key: alike for key, alike in unsigned.items() if id(alike[0]) not in gone}
        fresh = more(max(0, MOST - len(unsigned)))


def _prepared(errands: Sequence[Errand]) -> tuple[list[Errand], list[Answered]]:
    ready: list[Errand] = []
    answered: list[Answered] = []
    for errand in errands:
        try:
            errand.prepare()
        except StoreError as error:
            answered.append((errand, error))
        else:
            ready.append(errand)
    return ready, answered


def _committed(
    counters: Counters, signed: Errands, wanted: Sequence[Errand], unsigned: Errands
) -> tuple[list[Answered], Errands]:
    """One transaction: signatures kept, and others reserved. Answers that are durable now, and what is to be signed.

    All of it or none: then each caller hears why, and may ask again. Who wants what is `unsigned` already joins it.
    """
    answered: list[Answered] = []
    reserved: Errands = {}
    twins: list[Errand] = []
    try:
        with counters.transaction():
            for alike in signed.values():
                answer = alike[0].store()
                answered += [(errand, answer) for errand in alike]
            for errand in wanted:
                if errand.key in unsigned or errand.key in reserved:
                    twins.append(errand)
                    continue
                try:
                    with counters.savepoint():
                        answer = errand.reserve()
                except SignerError as error:
                    answer = error
                if answer is None:
                    reserved[errand.key] = [errand]
                else:
                    answered.append((errand, answer))
    except StoreError as error:  # nothing of this is on disk
        return [(errand, error) for errand in (*(each for alike in signed.values() for each in alike), *wanted)], {}
    for errand in twins:
        (reserved if errand.key in reserved else unsigned)[errand.key].append(errand)
    return answered, reserved


def _signed(
    unsigned: Mapping[str, Sequence[Errand]], asked_twice: Collection[str]
) -> tuple[list[str], list[Answered], set[str]]:
    """Keys that are signed now, errands that the token failed, and keys that it may have signed: it is asked again.

    What it failed stays reserved, and may be asked for again. Ends early when the token is slow. One that is away is
    not waited for again by the rest of the group.
    """
    signed: list[str] = []
    failed: list[Answered] = []
    unsure: dict[str, TokenError] = {}
    away: TokenError | None = None
    until = time.monotonic() + _SIGNING_S
    for key, alike in unsigned.items():
        if away is not None:
            _LOG.info("not signed: %s: as the one before", key)
            failed += [(errand, away) for errand in alike]
            continue
        if (signed or unsure) and time.monotonic() > until:
            break
        try:
            alike[0].sign()
        except SignatureUnknownError as error:
            unsure[key] = error
        except TokenError as error:
            _LOG.info("not signed: %s: %s", key, error)
            failed += [(errand, error) for errand in alike]
            away = error if isinstance(error, TokenUnavailableError | TokenPinWrongError) else None
        else:
            signed.append(key)
    over = set(unsure) if away is not None else set(unsure) & set(asked_twice)
    failed += [(errand, unsure[key]) for key in over for errand in unsigned[key]]
    return signed, failed, set(unsure) - over
