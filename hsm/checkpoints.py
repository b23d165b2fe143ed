"""Sign the heads of the station's log: never two that lack a consistency proof between them.

The new head is on disk, compared with the last one and swapped in, before its signature leaves the token (C2SP
tlog-checkpoint). Never sees a leaf.
"""

from __future__ import annotations

import hashlib

from hsm.purposes import Purpose
from hsm.records import KnownHead
from hsm.resign import once_more
from hsm.signatory import Signatory
from hsm.signer import SignerError
from hsm.token import TokenError
from trust import merkle, signed_note
from trust.codes import Code
from trust.keys import PublicKey, PublicKeyError
from trust.signed_note import Head, NoteError, NoteKey

_MAX_GROWTH = 1_000_000  # leaves between two heads: a head beyond all growth would end this log for good


def sign_checkpoint(signatory: Signatory, asked: Head) -> str:
    """The checkpoint as a signed note; CHECKPOINT_CONFLICT unless it extends the last one signed."""
    text = _text(signatory, asked)
    counters = signatory.counters
    with counters.transaction():
        same = counters.head(asked.origin, asked.size)
        if same is None:
            _require_extension(counters.head(asked.origin), asked)
            counters.add_head(asked.origin, asked.size, asked.root_hash)
            counters.count_signature(Purpose.LOG)
        elif same.root_hash != asked.root_hash:
            text = f"log {asked.origin} was signed at size {asked.size} with another root hash: it has been rewritten"
            raise SignerError(Code.CHECKPOINT_CONFLICT, f"{text}; stop and call the line engineer")
        elif same.note is not None:
            return same.note
        else:
            counters.count_signature(Purpose.LOG, again=True)
    # A crash from here on: the head is on disk without its note, and only this very head will be signed for this size.
    line = once_more(counters, Purpose.LOG, lambda: _line(signatory, asked.origin, text))
    note = signed_note.assemble(text, line)
    with counters.transaction():
        return counters.store_note(asked.origin, asked.size, note)


def _text(signatory: Signatory, asked: Head) -> str:
    """The note's text, if its origin is this station's log."""
    wanted = signatory.trusted.root.log_origin(signatory.name)
    if asked.origin != wanted:
        raise SignerError(Code.NOT_AUTHORISED, f"log origin {asked.origin[:80]!r}: this signer signs {wanted!r} only")
    if asked.size < 0 or asked.old_size < 0:
        raise SignerError(Code.MALFORMED, "a log's size is not negative")
    try:
        return signed_note.checkpoint_text(asked.origin, asked.size, asked.root_hash)
    except NoteError as error:
        raise SignerError(Code.MALFORMED, str(error)) from error


def _require_extension(last: KnownHead | None, asked: Head) -> None:
    size = 0 if last is None else last.size
    if asked.old_size != size or asked.size < size:
        text = f"log {asked.origin}: the last checkpoint signed has size {size}; prove from there, to a larger size"
        raise SignerError(Code.CHECKPOINT_CONFLICT, text)
    if asked.size - size > _MAX_GROWTH:
        text = f"log {asked.origin}: size {asked.size} is more than {_MAX_GROWTH} beyond the last signed, {size}"
        raise SignerError(Code.CHECKPOINT_CONFLICT, f"{text}; stop and call the line engineer")
    root = merkle.EMPTY_ROOT if last is None else last.root_hash
    if not merkle.verify_consistency(size, asked.size, root, asked.root_hash, asked.proof):
        text = f"log {asked.origin}: size {asked.size} is not proven to extend size {size}"
        raise SignerError(Code.CHECKPOINT_CONFLICT, f"{text}; stop and call the line engineer")


def _line(signatory: Signatory, origin: str, text: str) -> str:
    message, spki = text.encode(), signatory.token.public_key(Purpose.LOG)
    try:
        PublicKey.from_der(spki)
    except PublicKeyError:  # not EC P-256: the log key is Ed25519
        signature = signatory.token.sign_ed25519(Purpose.LOG, message)
    else:
        signature = signatory.token.sign_ecdsa(Purpose.LOG, hashlib.sha256(message).digest())
    if not NoteKey(origin, spki).verifies(signature, text):
        raise TokenError("the token's log signature does not verify: take the token out of use")
    return signed_note.sign_line(origin, spki, signature)
