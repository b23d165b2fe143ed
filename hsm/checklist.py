"""A signer that does not serve, looked at and tried step by step in front of officers, for minutes that they approve.

Writes down what it found, nothing else, and stops at the first thing that is not as it must be. Run again from the top
it does no harm. Each signature that it has made is counted like every other.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Final

from hsm import check, config
from hsm.config import SetupError, SignerConfig
from hsm.counters import Counters
from hsm.counters.file import StoreError
from hsm.documents import utc
from hsm.place import COUNTERS_FILE, token_place
from hsm.purposes import KEYS, Purpose
from hsm.resign import once_more
from hsm.roots import read_known_root, take_up
from hsm.token import TokenError
from hsm.token.pkcs11.session import Pkcs11Token
from hsm.token.signing import SigningKeys
from hsm.token.user_pin import UserPinError, read_user_pin
from trust.minutes import KeyFacts, Minutes, Step, Subject
from trust.root import TrustedRoot

Tell = Callable[[str, str], None]
_NOT_STATEMENTS: Final = frozenset({Purpose.CLOUD_UDP, Purpose.CLOUD_TCP, Purpose.LOG})
_SELF_TEST: Final = b"keystation self-test: no statement, no note, no token of anything\0"


class Checklist:
    """Steps in their order; `tell` shows each to whoever stands by. Every method raises SetupError."""

    def __init__(self, directory: Path, tell: Tell) -> None:
        self.directory = directory
        self.made: SignerConfig = config.load(directory)
        self._tell = tell
        self._began = time.time()
        self.steps: list[Step] = []

    def note(self, what: str, found: str) -> None:
        """One step is as it must be."""
        self.steps.append(Step(what=what, found=found[:200]))
        self._tell(what, found)

    def root(self, file: Path, sha256: str) -> TrustedRoot:
        """The root is approved, and is the one whose fingerprint officers have compared."""
        trusted = read_known_root(file, sha256)
        if not trusted.signed:
            raise SetupError("the root is not approved: a ceremony needs one that is (station-signer root approve)")
        self.note("trust root", f"version {trusted.root.version}, {trusted.sha256}, approved")
        return trusted

    def officers(self, trusted: TrustedRoot, names: Sequence[str]) -> tuple[str, ...]:
        """As many different officers of the root as acts need are there."""
        known = {name for name, each in trusted.root.approvers.items() if "officer" in each.roles}
        wanted = max(2, trusted.root.thresholds.act)
        strangers = sorted(set(names) - known)
        if strangers or len(set(names)) < wanted:
            text = f"{strangers[0]} is no officer of this root" if strangers else f"only {len(set(names))} named"
            raise SetupError(f"{text}: {wanted} different ones are wanted (--officer NAME, each)")
        self.note("officers", ", ".join(sorted(set(names))))
        return tuple(sorted(set(names)))

    def token(self, token: Pkcs11Token, trusted: TrustedRoot) -> tuple[KeyFacts, ...]:
        """The token has one key a purpose, each as its profile wants it, and they are the root's."""
        keys = check.check_token(self.made, token)
        self.note("token", f"{token.label}, {token.model}, {token.profile}")
        check.check_root(self.made, trusted, token, keys)
        facts = tuple(
            KeyFacts(purpose=label, fingerprint=hashlib.sha256(spki).hexdigest(), attributes=token.attributes(label))
            for label, spki in sorted(keys.items())
        )
        for each in facts:
            self.note(f"key {each.purpose}", each.fingerprint)
        self.note("key attributes", f"read back from the token for each of {len(facts)} keys, as they must be")
        self.note("keys and root", "the root names these very keys for this signer")
        return facts

    def memory(self, counters: Counters, trusted: TrustedRoot) -> None:
        """The counters are this signer's, and the root is taken up for good."""
        counts = counters.signatures()
        made = sum(payloads for payloads, _ in counts.values())
        take_up(counters, trusted, int(time.time()), first=True)
        self.note("counters", f"sound, of this token, {counters.pins_made()} pin statements, {made} signatures so far")
        self.note("root taken up", f"version {trusted.root.version}; an older one is refused from now on")

    def self_test(self, token: Pkcs11Token, counters: Counters) -> None:
        """Each key that signs statements signs a message that is none; the signatures verify, and are counted."""
        keys = SigningKeys(token)
        tried = [purpose for purpose in KEYS[self.made.role] if purpose not in _NOT_STATEMENTS]
        for purpose in tried:
            message = _SELF_TEST + secrets.token_bytes(32)
            with counters.transaction():
                counters.count_signature(purpose)
            once_more(counters, purpose, partial(keys.sign, purpose, message))
        self.note("self-test", f"{', '.join(tried)}: each has signed, each signature verifies")

    def minutes(
        self, trusted: TrustedRoot, officers: tuple[str, ...], keys: tuple[KeyFacts, ...], token: str, *,
        subject: Subject, act_sha256: str = "",
    ) -> Minutes:  # fmt: skip
        """What was found, to be approved."""
        return Minutes(
            environment=self.made.environment, root_sha256=trusted.sha256, signer=self.made.name, role=self.made.role,
            subject=subject, act_sha256=act_sha256, officers=officers, software=f"keystation {version('keystation')}",
            token=token, module=Path(self.made.module).name, keys=keys, steps=tuple(self.steps),
            began_at=utc(self._began), ended_at=utc(time.time()),
        )  # fmt: skip

    @contextmanager
    def opened(self) -> Iterator[Pkcs11Token]:
        """The token, logged in to; nobody serves this signer meanwhile."""
        with config.alone(self.directory):
            try:
                pin = read_user_pin(self.made.user_pin, self.directory, environment=self.made.environment)
                token = Pkcs11Token(token_place(self.directory, self.made), pin)
                try:
                    yield token
                finally:
                    token.close()
            except (TokenError, UserPinError, StoreError) as error:
                raise SetupError(str(error)) from error

    @contextmanager
    def counters(self, token: Pkcs11Token) -> Iterator[Counters]:
        """The signer's memory."""
        keys = {label: token.public_key(label) for label in token.labels()}
        counters = Counters.open(self.directory / COUNTERS_FILE, self.made.owner(keys))
        try:
            yield counters
        finally:
            counters.close()


def hold_ceremony(directory: Path, root: Path, sha256: str, officers: Sequence[str], tell: Tell) -> Minutes:
    """The whole checklist; the minutes, to be approved. SetupError at the first thing that is wrong."""
    listed = Checklist(directory, tell)
    trusted = listed.root(root, sha256)
    there = listed.officers(trusted, officers)
    with listed.opened() as token:
        keys = listed.token(token, trusted)
        with listed.counters(token) as counters:
            listed.memory(counters, trusted)
            listed.self_test(token, counters)
        shown = f"{token.label}, {token.model}"
    return listed.minutes(trusted, there, keys, shown, subject="ceremony")
