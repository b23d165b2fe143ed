"""Never two checkpoints of one log without a consistency proof between them, whatever is asked and whenever it crashes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest

from hsm.signer import LogHead, SignerError, SignerUnavailableError
from hsm.token import TokenUnavailableError
from tests.hsm.local_signer import FactoryVerbs, Parties, make_factory, make_parties
from trust import signed_note
from trust.codes import Code
from trust.merkle import EMPTY_ROOT
from trust.signed_note import Head

ORIGIN = "demo/st-01/log"
MOST = 1_000_000


class Log:
    """RFC 6962 §2.1 as it is written there, not the product's: roots and consistency proofs by plain recursion."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.leaves = leaves

    def root(self, low: int = 0, high: int | None = None) -> bytes:
        high = len(self.leaves) if high is None else high
        if high == low:
            return EMPTY_ROOT
        if high - low == 1:
            return hashlib.sha256(b"\0" + self.leaves[low]).digest()
        k = 1 << (high - low - 1).bit_length() - 1
        return hashlib.sha256(b"\1" + self.root(low, low + k) + self.root(low + k, high)).digest()

    def proof(self, m: int) -> tuple[bytes, ...]:
        return self._sub(m, 0, len(self.leaves), True) if m else ()

    def _sub(self, m: int, low: int, high: int, whole: bool) -> tuple[bytes, ...]:
        n = high - low
        if m == n:
            return () if whole else (self.root(low, high),)
        k = 1 << (n - 1).bit_length() - 1
        if m <= k:
            return (*self._sub(m, low, low + k, whole), self.root(low + k, high))
        return (*self._sub(m - k, low + k, high, False), self.root(low, low + k))


def request(size: int, old_size: int, *, fork: bool = False, origin: str = ORIGIN) -> Head:
    log = Log([f"{'fork' if fork else 'leaf'} {n}".encode() for n in range(size)])
    return Head(
        origin=origin,
        size=size,
        root_hash=log.root(),
        old_size=old_size,
        proof=log.proof(old_size) if old_size <= size else (),
    )


def refusal(factory: FactoryVerbs, asked: Head) -> Code:
    with pytest.raises(SignerError) as caught:
        factory.sign_checkpoint(asked)
    return caught.value.code


@pytest.mark.parametrize("ed25519_log", [True, False])
def test_a_growing_log_is_signed_and_the_note_verifies(tmp_path: Path, ed25519_log: bool) -> None:
    parties = make_parties(tmp_path, ed25519_log=ed25519_log)
    old = 0
    for size in (0, 1, 2, 3, 7, 8, 70):
        note = parties.factory.sign_checkpoint(request(size, old))
        head = signed_note.verify(note, ORIGIN, parties.trusted.root.station("st-01").log)
        assert (head.size, head.root_hash) == (size, request(size, 0).root_hash)
        old = size
    assert parties.factory.status().checkpoints == {ORIGIN: LogHead(size=70, root_hash=request(70, 0).root_hash)}


def test_the_same_head_again_is_the_same_note_and_costs_nothing(parties: Parties) -> None:
    first = parties.factory.sign_checkpoint(request(5, 0))
    parties.factory.sign_checkpoint(request(9, 5))
    assert parties.factory.sign_checkpoint(request(5, 0)) == first, "an older head that was signed is answered too"
    assert parties.factory_token.signed["log"] == 2


def test_forks_shrinking_and_unproven_growth_are_refused(parties: Parties) -> None:
    factory = parties.factory
    factory.sign_checkpoint(request(5, 0))
    bad = request(9, 5)
    for asked in (
        request(5, 0, fork=True),
        request(9, 5, fork=True),
        request(4, 5),
        request(4, 0),
        request(9, 0),
        request(9, 4),
        msgspec.structs.replace(bad, proof=bad.proof[:-1]),
        msgspec.structs.replace(bad, proof=(*bad.proof, bytes(32))),
        msgspec.structs.replace(bad, proof=(b"short", *bad.proof[1:])),
        msgspec.structs.replace(bad, root_hash=bytes(32)),
    ):
        assert refusal(factory, asked) is Code.CHECKPOINT_CONFLICT
    assert parties.factory_token.signed["log"] == 1
    factory.sign_checkpoint(bad)


def test_a_first_checkpoint_starts_from_nothing(parties: Parties) -> None:
    assert refusal(parties.factory, request(5, 3)) is Code.CHECKPOINT_CONFLICT
    with_proof = msgspec.structs.replace(request(5, 0), proof=(bytes(32),))
    assert refusal(parties.factory, with_proof) is Code.CHECKPOINT_CONFLICT


@pytest.mark.parametrize(
    "origin",
    [
        "demo/st-02/log",
        "prod/st-01/log",
        "demo/st-02/st-01/log",
        "st-01",
        "demo/st-01/log/",
        "demo/st-01/log\n5",
        "st 01",
        "",
        "x" * 300 + "/st-01",
    ],
)
def test_another_stations_log_or_no_log_is_refused(parties: Parties, origin: str) -> None:
    assert refusal(parties.factory, request(1, 0, origin=origin)) is Code.NOT_AUTHORISED
    assert parties.factory.status().checkpoints == {}


def test_a_head_beyond_all_growth_is_refused_and_does_not_end_the_log(parties: Parties) -> None:
    """A first head needs no proof, so any size would do; after one of 2^63 - 1 no honest head could follow."""
    for size in (MOST + 1, 2**63 - 1):
        first = msgspec.structs.replace(request(1, 0), size=size)
        assert refusal(parties.factory, first) is Code.CHECKPOINT_CONFLICT
    parties.factory.sign_checkpoint(request(5, 0))
    parties.factory.sign_checkpoint(request(9, 5))


def test_growth_is_counted_from_the_last_head(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a small bound, as a proof over a million leaves takes long to make."""
    monkeypatch.setattr("hsm.checkpoints._MAX_GROWTH", 4)
    parties.factory.sign_checkpoint(request(4, 0))
    assert refusal(parties.factory, request(9, 4)) is Code.CHECKPOINT_CONFLICT
    parties.factory.sign_checkpoint(request(8, 4))


def test_the_largest_first_head_is_taken(parties: Parties) -> None:
    assert parties.factory.sign_checkpoint(msgspec.structs.replace(request(1, 0), size=MOST))


@pytest.mark.parametrize("change", [{"size": -1}, {"old_size": -1}, {"size": 2**63}, {"root_hash": b""}, {"size": 0}])
def test_heads_that_no_log_has_are_refused(parties: Parties, change: dict[str, object]) -> None:
    asked = msgspec.structs.replace(request(1, 0), **change)
    assert refusal(parties.factory, asked) in {Code.MALFORMED, Code.CHECKPOINT_CONFLICT}


def test_the_new_head_is_on_disk_before_the_token_signs(parties: Parties, tmp_path: Path) -> None:
    """A crash between: only that very head is signed for that size, its fork never."""
    parties.factory_token.fail_next = [TokenUnavailableError("power lost")]
    with pytest.raises(SignerUnavailableError, match="power lost"):
        parties.factory.sign_checkpoint(request(5, 0))
    restarted = make_factory(tmp_path / "factory", "st-01", parties.trusted, parties.factory_token)
    assert refusal(restarted, request(5, 0, fork=True)) is Code.CHECKPOINT_CONFLICT
    restarted.sign_checkpoint(request(5, 0))
    status = restarted.status()
    assert (status.signatures["log"], status.resigned) == (1, 1)
