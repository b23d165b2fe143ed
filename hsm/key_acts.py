"""Officers' acts on keys, done while the signer does not serve: a key destroyed, a key replaced. Minutes tell of it.

An act is used up when it is done, and its minutes are kept with it. A crash on the way leaves it unused: the same act
again finds what is done already and does the rest; of one that is used up it gives the minutes again. Never says which
key is trusted afterwards: that is the next root's.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from hsm import config
from hsm.check import require_environment
from hsm.checklist import Checklist, Tell
from hsm.config import SetupError
from hsm.counters import Counters
from hsm.counters.documents import Document
from hsm.counters.file import StoreError
from hsm.files import replace_file
from hsm.place import COUNTERS_FILE, PUBLIC_FILE, token_place
from hsm.public_file import public_json
from hsm.purposes import KEYS, Purpose
from hsm.records import keys_sha256
from hsm.roots import public_keys, read_root, take_up
from hsm.token import TokenError
from hsm.token.pkcs11.making import make_keys
from hsm.token.pkcs11.removing import remove_key
from hsm.token.pkcs11.session import Pkcs11Token
from hsm.token.user_pin import UserPin, UserPinError, read_user_pin
from trust import act as acts
from trust.act import Act, ActRefusedError
from trust.dsse import Envelope
from trust.minutes import KeyFacts, Minutes, Subject
from trust.printable import plainly
from trust.root import TrustedRoot
from trust.statement import StatementError, envelope, read

_KINDS = frozenset({"destroy-key", "replace-key"})


def perform(directory: Path, root: Path, wanted: Envelope, tell: Tell) -> Minutes:
    """Do what the act says with the key, once; the minutes, to be approved by the officers who approved it.

    An act that was done before gives its minutes again, as they were, and does nothing. SetupError.
    """
    listed = Checklist(directory, tell)
    trusted = read_root(root)
    require_environment(listed.made, trusted)
    try:
        with config.alone(directory):
            pin = read_user_pin(listed.made.user_pin, directory, environment=listed.made.environment)
            with closing(_counters(listed, pin)) as counters:
                # As at each start of the signer: under an older root, people who have left would still be officers.
                take_up(counters, trusted, int(time.time()), first=listed.made.environment == "demo")
                kept = _minutes_before(counters, wanted)
                if kept is None:
                    return _done(listed, pin, counters, trusted, wanted)
                listed.note("act", f"done before; its minutes as they were kept then, of {kept.ended_at}")
                return kept
    except (TokenError, UserPinError, StoreError) as error:
        raise SetupError(str(error)) from error


def _done(listed: Checklist, pin: UserPin, counters: Counters, trusted: TrustedRoot, wanted: Envelope) -> Minutes:
    act, officers = _allowed(listed, trusted, wanted, max(time.time(), counters.newest_time))
    if counters.documents.act_was_used(wanted.payload_sha256):
        raise SetupError("this act was done before: have another one made and approved")
    keys = _on_token(listed, pin, act, Purpose(act.purpose))
    listed.note("next", "a new root that names the keys there are now" if act.kind == "replace-key" else "retire it")
    facts = tuple(
        KeyFacts(purpose=label, fingerprint=_fingerprint(spki), attributes=()) for label, spki in sorted(keys.items())
    )
    subject: Subject = "key-destroyed" if act.kind == "destroy-key" else "key-replaced"
    shown = listed.made.token_label
    minutes = listed.minutes(trusted, officers, facts, shown, subject=subject, act_sha256=wanted.payload_sha256)
    _remember(counters, wanted, act, keys, minutes)
    # A crash here: the counters belong to the keys there are now, and public.json names those before. The next act on a
    # key, this one again too, makes it anew.
    _write_public(listed, keys)
    return minutes


def _allowed(listed: Checklist, trusted: TrustedRoot, wanted: Envelope, now: float) -> tuple[Act, tuple[str, ...]]:
    """The act, and the officers who approved it."""
    try:
        act = acts.allowed(wanted, trusted, signer=listed.made.name, now=datetime.fromtimestamp(now, UTC))
    except ActRefusedError as error:
        raise SetupError(str(error)) from error
    if act.kind not in _KINDS:
        raise SetupError(f"act {act.kind} is done by a signer that serves: station act FILE")
    if act.purpose not in {each.value for each in KEYS[listed.made.role]}:
        raise SetupError(f"a {listed.made.role} signer has no key for {act.purpose!r}")
    given = tuple(sorted(each.person for each in acts.approvers(wanted, trusted) if "officer" in each.roles))
    listed.note("act", f"{act.kind} {act.purpose} {act.fingerprint[:16]}…, approved by {', '.join(given)}")
    return act, given


def _counters(listed: Checklist, pin: UserPin) -> Counters:
    """The signer's memory. If it is of the token's keys and public.json is not, that is made anew."""
    path = listed.directory / COUNTERS_FILE
    try:
        return Counters.open(path, listed.made.owner(public_keys(listed.directory)))
    except (SetupError, StoreError):
        keys = _keys(listed, pin)
        counters = Counters.open(path, listed.made.owner(keys))
    try:
        _write_public(listed, keys)
    except SetupError:
        counters.close()
        raise
    listed.note("public.json", "made anew: the counters are of the token's keys, and it was not")
    return counters


def _minutes_before(counters: Counters, wanted: Envelope) -> Minutes | None:
    """What was kept when this very act was done."""
    for payload in counters.documents.payloads("minutes"):
        try:
            kept = read(Envelope(payload, Minutes.PAYLOAD_TYPE), Minutes)
        except StatementError as error:
            raise SetupError(f"minutes in {COUNTERS_FILE}: {error}: find out who changed it") from error
        if kept.act_sha256 == wanted.payload_sha256:
            return kept
    return None


def _on_token(listed: Checklist, pin: UserPin, act: Act, purpose: Purpose) -> dict[str, bytes]:
    """The token's keys afterwards."""
    place, there = token_place(listed.directory, listed.made), _keys(listed, pin)
    found = there.get(purpose.value)
    if found is None or _fingerprint(found) == act.fingerprint:
        gone = remove_key(place, pin, purpose, act.fingerprint)
        listed.note("destroyed", f"{gone.before} objects named {purpose} before, {gone.after} after")
        listed.note("signing tried", gone.signing)
    elif act.kind == "destroy-key" or found == public_keys(listed.directory).get(purpose.value):
        raise SetupError(f"the token's {purpose} key is {_fingerprint(found)}, not the one that the act names")
    else:
        listed.note("destroyed", "by an earlier run of this act, which ended before it was told")
    if act.kind == "replace-key" and (found is None or _fingerprint(found) == act.fingerprint):
        make_keys(place, pin, {purpose: KEYS[listed.made.role][purpose]}, beside_others=True)
    after = _keys(listed, pin)
    if act.kind == "replace-key":
        listed.note("new key", _fingerprint(after[purpose.value]))
    return after


def _keys(listed: Checklist, pin: UserPin) -> dict[str, bytes]:
    token = Pkcs11Token(token_place(listed.directory, listed.made), pin)
    try:
        return {label: token.public_key(label) for label in token.labels()}
    finally:
        token.close()


def _remember(counters: Counters, wanted: Envelope, act: Act, keys: Mapping[str, bytes], minutes: Minutes) -> None:
    """The act is used up, its minutes are kept, and the counters belong to the keys there are now: all or nothing."""
    told = envelope(minutes)
    with counters.transaction():
        counters.rebind(keys_sha256(keys))
        counters.documents.add_act(wanted.payload_sha256, act.kind, wanted.to_json(), int(time.time()))
        counters.documents.add(Document(kind="minutes", payload_sha256=told.payload_sha256, payload=told.payload))


def _write_public(listed: Checklist, keys: Mapping[str, bytes]) -> None:
    path = listed.directory / PUBLIC_FILE
    try:
        replace_file(path, public_json(keys))
    except OSError as error:
        raise SetupError(f"{path}: {plainly(error)}: correct that, then perform the same act again") from error


def _fingerprint(spki: bytes) -> str:
    return hashlib.sha256(spki).hexdigest()
