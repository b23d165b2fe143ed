"""Group commit: requests that wait together are reserved in one transaction, signed, and stored in another one.

Reserve -> sign -> store -> reply, for all of them at once. Each is a savepoint of its own: one that is refused leaves
nothing behind and harms none beside it. Never answers before the commit that makes the answer true, never decides what
may be signed (that is each job's own), and never signs what is not reserved on disk.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from hsm.counters import Counters, StoreError
from hsm.signer import SignerError
from hsm.token import TokenError, TokenPinWrongError, TokenUnavailableError

_SIGNING_S = 0.2  # a slow token's signatures are stored, and answered, at least this often


class Job(Protocol):
    """One request of a batch. Used by one thread at a time, and by the memory's thread from `prepare` on."""

    @property
    def key(self) -> str:
        """Equal for requests that want the very same answer: it is paid for once."""

    def prepare(self) -> None:
        """Whatever can be done before the transaction; may read the memory. StoreError only, it never refuses yet."""

    def reserve(self) -> object:
        """Check and count, in the batch's transaction: the answer, or None when it must be signed. SignerError."""

    def sign(self) -> None:
        """Have the token sign what is reserved; TokenError."""

    def store(self) -> object:
        """Keep the signature, in the batch's second transaction; the answer."""


Answered = tuple[Job, object]
"""A job and its answer: what it asked for, or the SignerError, TokenError or StoreError that it gets instead."""


def settle(counters: Counters, jobs: Sequence[Job]) -> Iterator[list[Answered]]:
    """The answer to each job, as soon as it is durable. A bug in a job ends all that are not answered yet."""
    ready, answered = _prepared(jobs)
    refused, unsigned = _reserved(counters, ready)
    yield answered + refused
    # A crash from here on leaves payloads without signature: the same requests sign the same payloads again.
    while unsigned:
        signed, failed = _signed(unsigned)
        stored = _stored(counters, {key: unsigned[key] for key in signed})
        yield failed + stored
        over = {id(job) for job, _ in failed + stored}
        unsigned = {key: group for key, group in unsigned.items() if id(group[0]) not in over}


def _prepared(jobs: Sequence[Job]) -> tuple[list[Job], list[Answered]]:
    ready: list[Job] = []
    answered: list[Answered] = []
    for job in jobs:
        try:
            job.prepare()
        except StoreError as error:
            answered.append((job, error))
        else:
            ready.append(job)
    return ready, answered


def _reserved(counters: Counters, jobs: Sequence[Job]) -> tuple[list[Answered], dict[str, list[Job]]]:
    """Answers that need no signature, and the jobs that do, those of one key together."""
    answered: list[Answered] = []
    unsigned: dict[str, list[Job]] = {}
    try:
        with counters.transaction():
            for job in jobs:
                if job.key in unsigned:
                    unsigned[job.key].append(job)
                    continue
                try:
                    with counters.savepoint():
                        answer = job.reserve()
                except SignerError as error:
                    answer = error
                if answer is None:
                    unsigned[job.key] = [job]
                else:
                    answered.append((job, answer))
    except StoreError as error:  # nothing of this batch is on disk
        return [(job, error) for job in jobs], {}
    return answered, unsigned


def _signed(unsigned: Mapping[str, Sequence[Job]]) -> tuple[list[str], list[Answered]]:
    """Keys that are signed now, and jobs that the token failed: theirs stay reserved, and may be asked for again.

    Ends early when the token is slow. One that is away is not waited for again by the rest of the batch.
    """
    signed: list[str] = []
    failed: list[Answered] = []
    away: TokenError | None = None
    until = time.monotonic() + _SIGNING_S
    for key, group in unsigned.items():
        if away is not None:
            failed += [(job, away) for job in group]
            continue
        if signed and time.monotonic() > until:
            break
        try:
            group[0].sign()
        except TokenError as error:
            failed += [(job, error) for job in group]
            away = error if isinstance(error, TokenUnavailableError | TokenPinWrongError) else None
        else:
            signed.append(key)
    return signed, failed


def _stored(counters: Counters, signed: Mapping[str, Sequence[Job]]) -> list[Answered]:
    """All signatures kept in one transaction, or none: then each caller hears why, and may ask again."""
    if not signed:
        return []
    try:
        with counters.transaction():
            answers = {key: group[0].store() for key, group in signed.items()}
    except StoreError as error:
        return [(job, error) for group in signed.values() for job in group]
    return [(job, answers[key]) for key, group in signed.items() for job in group]
