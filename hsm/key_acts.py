"""Officers' acts on keys, done while the signer does not serve: a key destroyed, a key replaced. Minutes tell of it.

An act is used up when it is done. A crash on the way leaves it unused: the same act again finds what is done already
and does the rest. Never says which key is trusted afterwards: that is the next root's.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from hsm import config
from hsm.checklist import Checklist, Tell
from hsm.config import SetupError
from hsm.counters import Counters
from hsm.counters.file import StoreError
from hsm.files import replace_file
from hsm.place import COUNTERS_FILE, PUBLIC_FILE, token_place
from hsm.public_file import public_json
from hsm.purposes import KEYS, Purpose
from hsm.records import keys_sha256
from hsm.roots import public_keys, read_root
from hsm.token import TokenError
from hsm.token.pkcs11.making import make_keys
from hsm.token.pkcs11.removing import remove_key
from hsm.token.pkcs11.session import Pkcs11Token
from hsm.token.user_pin import UserPin, UserPinError, read_user_pin
from trust import act as acts
from trust.act import Act, ActRefusedError
from trust.dsse import Envelope
from trust.minutes import KeyFacts, Minutes, Subject
from trust.root import TrustedRoot

_KINDS = frozenset({"destroy-key", "replace-key"})


def perform(directory: Path, root: Path, envelope: Envelope, tell: Tell) -> Minutes:
    """Do what the act says with the key; the minutes, to be approved by the officers who approved it. SetupError."""
    listed = Checklist(directory, tell)
    trusted = read_root(root)
    act, officers = _allowed(listed, trusted, envelope)
    purpose = Purpose(act.purpose)
    try:
        with config.alone(directory):
            pin = read_user_pin(listed.made.user_pin, directory, environment=listed.made.environment)
            counters = _counters(listed)
            try:
                _require_unused(counters, envelope)
                keys = _on_token(listed, pin, act, purpose)
                _remember(listed, counters, envelope, act, keys)
            finally:
                counters.close()
    except (TokenError, UserPinError, StoreError) as error:
        raise SetupError(str(error)) from error
    facts = tuple(
        KeyFacts(purpose=label, fingerprint=_fingerprint(spki), attributes=()) for label, spki in sorted(keys.items())
    )
    subject: Subject = "key-destroyed" if act.kind == "destroy-key" else "key-replaced"
    shown = listed.made.token_label
    return listed.minutes(trusted, officers, facts, shown, subject=subject, act_sha256=envelope.payload_sha256)


def _allowed(listed: Checklist, trusted: TrustedRoot, envelope: Envelope) -> tuple[Act, tuple[str, ...]]:
    try:
        act = acts.allowed(envelope, trusted, signer=listed.made.name, now=datetime.fromtimestamp(time.time(), UTC))
    except ActRefusedError as error:
        raise SetupError(str(error)) from error
    if act.kind not in _KINDS:
        raise SetupError(f"act {act.kind} is done by a signer that serves: station act FILE")
    if act.purpose not in {each.value for each in KEYS[listed.made.role]}:
        raise SetupError(f"a {listed.made.role} signer has no key for {act.purpose!r}")
    given = tuple(sorted(each.person for each in acts.approvers(envelope, trusted)))
    listed.note("act", f"{act.kind} {act.purpose} {act.fingerprint[:16]}…, approved by {', '.join(given)}")
    return act, given


def _counters(listed: Checklist) -> Counters:
    owner = listed.made.owner(public_keys(listed.directory))
    return Counters.open(listed.directory / COUNTERS_FILE, owner)


def _require_unused(counters: Counters, envelope: Envelope) -> None:
    if counters.documents.act_was_used(envelope.payload_sha256):
        raise SetupError("this act was done before: have another one made and approved")


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


def _remember(listed: Checklist, counters: Counters, envelope: Envelope, act: Act, keys: Mapping[str, bytes]) -> None:
    """The act is used up and the counters belong to the keys there are now; a crash before leaves both as they were."""
    with counters.transaction():
        counters.rebind(keys_sha256(keys))
        counters.documents.add_act(envelope.payload_sha256, act.kind, envelope.to_json(), int(time.time()))
    # A crash here: the counters belong to the new keys, and public.json names the old ones. What serves does not read
    # it, but no act, root import or next root works with these keys until it is made again.
    replace_file(listed.directory / PUBLIC_FILE, public_json(keys))
    listed.note("next", "a new root that names the keys there are now" if act.kind == "replace-key" else "retire it")


def _fingerprint(spki: bytes) -> str:
    return hashlib.sha256(spki).hexdigest()
