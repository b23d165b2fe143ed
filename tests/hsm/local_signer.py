"""The signer behind the station's and the registry's protocols, in this very process: for tests.

What runs is what a signer's process runs: a request's JSON to `hsm.verbs`, one group commit, an answer's JSON. Only socket
and worker thread are left out. `make_factory` and `make_registry` build one over a token and a counters file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from hsm import messages, verbs
from hsm.counters import Counters
from hsm.counters.file import StoreError, create
from hsm.group_commit import Errand, settle
from hsm.records import Owner, keys_sha256
from hsm.signatory import Signatory, refusal
from hsm.signer import AuthorisationRequest, ChallengeRequest, SignerError, SignerStatus
from hsm.token import Token, TokenError
from tests.hsm.software_token import SoftwareToken
from trust.dsse import Envelope
from trust.lease import Lease
from trust.revocation import Revocation
from trust.root import CloudKeys, RegistryKeys, Root, StationKeys, TrustedRoot
from trust.root_file import parse, wrap
from trust.roster import Roster
from trust.signed_note import Head
from trust.statement import Completion, PinStatement, Receipt

T = TypeVar("T")


def asked(signatory: Signatory, verb: str, body: msgspec.Struct | Mapping[str, Any], kind: type[T]) -> T:
    """The answer to one request; raises what `hsm.client` does."""
    data = msgspec.json.encode({"v": 1, "verb": verb, "id": 1, "body": body})
    answer = msgspec.json.encode(_answer(signatory, messages.parse_request(data)))
    return messages.result(messages.parse_answer(answer), kind)


def _answer(signatory: Signatory, request: messages.Request) -> messages.Answer:
    try:
        wanted = verbs.errand_or_call(signatory, request)
        assert not isinstance(wanted, tuple), "many at once: over a socket only"
        found = wanted() if callable(wanted) else _alone(signatory, wanted)
    except (SignerError, TokenError, StoreError) as error:
        found = error
    if isinstance(found, SignerError | TokenError | StoreError):
        no = refusal(found)
        return messages.refused(request.id, no.code, str(no))
    return messages.accepted(request.id, found)


def _alone(signatory: Signatory, errand: Errand) -> object:
    ((_, found),) = (each for answered in settle(signatory.counters, [errand]) for each in answered)
    return found


@dataclass(frozen=True, slots=True)
class FactoryVerbs:
    """The factory role's verbs, one request at a time; blocking."""

    signatory: Signatory

    def status(self) -> SignerStatus:
        return asked(self.signatory, "status", {}, SignerStatus)

    def import_order(self, order: Envelope) -> None:
        asked(self.signatory, "import_order", {"order": order}, type(None))

    def challenge(self, request: ChallengeRequest) -> bytes:
        return asked(self.signatory, "challenge", request, bytes)

    def sign_pin(self, statement: PinStatement) -> Envelope:
        return asked(self.signatory, "sign_pin", {"statement": statement}, Envelope)

    def sign_completion(self, completion: Completion, pin: Envelope, receipt: Envelope) -> Envelope:
        body = {"completion": completion, "pin": pin, "receipt": receipt}
        return asked(self.signatory, "sign_completion", body, Envelope)

    def sign_checkpoint(self, request: Head) -> str:
        return asked(self.signatory, "sign_checkpoint", request, str)

    def client_assertion(self, audience: str) -> str:
        return asked(self.signatory, "client_assertion", {"audience": audience}, str)

    def lease_request(self) -> Envelope:
        return asked(self.signatory, "lease_request", {}, Envelope)

    def import_lease(self, lease: Envelope) -> None:
        asked(self.signatory, "import_lease", {"envelope": lease}, type(None))

    def import_revocation(self, revocation: Envelope) -> None:
        asked(self.signatory, "import_revocation", {"envelope": revocation}, type(None))

    def return_allotment(self, order_id: str) -> Envelope:
        return asked(self.signatory, "return_allotment", {"order_id": order_id}, Envelope)

    def perform_act(self, act: Envelope) -> None:
        asked(self.signatory, "perform_act", {"envelope": act}, type(None))

    def balance(self) -> Envelope:
        return asked(self.signatory, "balance", {}, Envelope)


@dataclass(frozen=True, slots=True)
class CloudVerbs:
    """The cloud role's verbs: a `hsm.signer.ReceiptSigner`."""

    signatory: Signatory

    def status(self) -> SignerStatus:
        return asked(self.signatory, "status", {}, SignerStatus)

    def sign_receipt(self, receipt: Receipt) -> Envelope:
        return asked(self.signatory, "sign_receipt", {"receipt": receipt}, Envelope)

    def sign_receipts(self, receipts: Sequence[Receipt]) -> list[Envelope | SignerError]:
        found: list[Envelope | SignerError] = []
        for each in receipts:
            try:
                found.append(self.sign_receipt(each))
            except SignerError as error:
                found.append(error)
        return found

    def sign_lease(self, lease: Lease) -> Envelope:
        return asked(self.signatory, "sign_lease", {"lease": lease}, Envelope)

    def sign_authorisation(self, request: AuthorisationRequest) -> Envelope:
        return asked(self.signatory, "sign_authorisation", request, Envelope)

    def sign_revocation(self, revocation: Revocation, act: Envelope) -> Envelope:
        return asked(self.signatory, "sign_revocation", {"revocation": revocation, "act": act}, Envelope)

    def sign_roster(self, roster: Roster) -> Envelope:
        return asked(self.signatory, "sign_roster", {"roster": roster}, Envelope)


@dataclass(frozen=True, slots=True)
class LocalSigner:
    """A `hsm.signer.Signer`; blocks the loop for the time of a commit."""

    verbs: FactoryVerbs

    async def status(self) -> SignerStatus:
        return self.verbs.status()

    async def import_order(self, order: Envelope) -> None:
        self.verbs.import_order(order)

    async def challenge(self, request: ChallengeRequest) -> bytes:
        return self.verbs.challenge(request)

    async def sign_pin(self, statement: PinStatement) -> Envelope:
        return self.verbs.sign_pin(statement)

    async def sign_completion(self, completion: Completion, pin: Envelope, receipt: Envelope) -> Envelope:
        return self.verbs.sign_completion(completion, pin, receipt)

    async def sign_checkpoint(self, request: Head) -> str:
        return self.verbs.sign_checkpoint(request)

    async def client_assertion(self, audience: str) -> str:
        return self.verbs.client_assertion(audience)

    async def lease_request(self) -> Envelope:
        return self.verbs.lease_request()

    async def import_lease(self, lease: Envelope) -> None:
        self.verbs.import_lease(lease)

    async def import_revocation(self, revocation: Envelope) -> None:
        self.verbs.import_revocation(revocation)

    async def return_allotment(self, order_id: str) -> Envelope:
        return self.verbs.return_allotment(order_id)

    async def perform_act(self, act: Envelope) -> None:
        self.verbs.perform_act(act)

    async def balance(self) -> Envelope:
        return self.verbs.balance()


def make_counters(path: Path, role: str, name: str, token: Token) -> Counters:
    """The counters file, made if it is not there (tests only: the product never does that), and opened."""
    keys = {label: token.public_key(label) for label in token.labels()}
    owner = Owner(role=role, name=name, environment="demo", keys_sha256=keys_sha256(keys))
    if not path.exists():
        create(path, owner)
    return Counters.open(path, owner)


def make_factory(
    directory: Path, name: str, trusted: TrustedRoot, token: Token, now: Callable[[], float] = time.time
) -> FactoryVerbs:
    """A complete factory signer over `directory/counters.db`; called again, it goes on with the same file."""
    counters = make_counters(directory / "counters.db", "factory", name, token)
    return FactoryVerbs(Signatory.over(token, counters, role="factory", name=name, trusted=trusted, now=now))


def make_registry(
    directory: Path, name: str, trusted: TrustedRoot, token: Token, now: Callable[[], float] = time.time
) -> CloudVerbs:
    """A complete cloud signer over `directory/counters.db`."""
    counters = make_counters(directory / "counters.db", "cloud", name, token)
    return CloudVerbs(Signatory.over(token, counters, role="cloud", name=name, trusted=trusted, now=now))


@dataclass(frozen=True, slots=True)
class Parties:
    """One station's signer, the registry's signer, and the root that names both, over software tokens in a directory."""

    trusted: TrustedRoot
    factory_token: SoftwareToken
    cloud_token: SoftwareToken
    factory: FactoryVerbs
    cloud: CloudVerbs

    @property
    def signer(self) -> LocalSigner:
        return LocalSigner(self.factory)


def make_root(stations: dict[str, SoftwareToken], registry: str, cloud: SoftwareToken) -> TrustedRoot:
    """An unsigned `demo` root over these tokens' public keys."""
    names = ("pin", "completion", "log", "client", "account")
    root = Root(
        environment="demo",
        version=1,
        registry=registry,
        registry_url="https://registry.example",
        tls_root=b"",
        stations={
            each: StationKeys(**{key: token.public_key(key) for key in names}) for each, token in stations.items()
        },
        registry_keys=RegistryKeys(receipt=cloud.public_key("receipt")),
        cloud_keys=CloudKeys(handshake=cloud.public_key("handshake")),
    )
    return parse(wrap(root).to_json())


def make_parties(directory: Path, station: str = "st-01", registry: str = "reg-01", **options: bool) -> Parties:
    """Everything new under `directory`."""
    factory_token = SoftwareToken.make(directory / "factory", "factory", **options)
    cloud_token = SoftwareToken.make(directory / "cloud", "cloud", rsa_keys=False)
    trusted = make_root({station: factory_token}, registry, cloud_token)
    return Parties(
        trusted,
        factory_token,
        cloud_token,
        make_factory(directory / "factory", station, trusted, factory_token),
        make_registry(directory / "cloud", registry, trusted, cloud_token),
    )
