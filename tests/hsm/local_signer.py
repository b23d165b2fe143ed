"""The signer's policies behind the station's and the registry's protocols, in this very process: for tests.

`LocalSigner` is a `hsm.signer.Signer`, `FactoryPolicy`'s own `CloudPolicy` sister is a `hsm.signer.ReceiptSigner` already.
`make_factory` and `make_registry` build one over a software token and a counters file.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hsm.counters import Counters, create
from hsm.policy import CloudPolicy, FactoryPolicy
from hsm.records import Owner, keys_sha256
from hsm.signatory import Signatory
from hsm.signer import ChallengeRequest, CheckpointRequest, SignerError, SignerStatus, SignerUnavailableError
from hsm.token import Token
from tests.hsm.software_token import SoftwareToken
from trust.codes import Code
from trust.dsse import Envelope
from trust.root import RegistryKeys, Root, StationKeys, TrustedRoot, parse, wrap
from trust.statement import Completion, PinStatement

T = TypeVar("T")


class LocalSigner:
    """A `hsm.signer.Signer` over a policy, without process or socket; blocks the loop for the time of a commit."""

    def __init__(self, policy: FactoryPolicy) -> None:
        self.policy = policy

    async def status(self) -> SignerStatus:
        return _as_client(self.policy.status)

    async def import_order(self, order: Envelope) -> None:
        _as_client(lambda: self.policy.import_order(order))

    async def challenge(self, request: ChallengeRequest) -> bytes:
        return _as_client(lambda: self.policy.challenge(request))

    async def sign_pin(self, statement: PinStatement) -> Envelope:
        return _as_client(lambda: self.policy.sign_pin(statement))

    async def sign_completion(self, completion: Completion, pin: Envelope, receipt: Envelope) -> Envelope:
        return _as_client(lambda: self.policy.sign_completion(completion, pin, receipt))

    async def sign_checkpoint(self, request: CheckpointRequest) -> str:
        return _as_client(lambda: self.policy.sign_checkpoint(request))

    async def client_assertion(self, audience: str) -> str:
        return _as_client(lambda: self.policy.client_assertion(audience))


def _as_client(ask: Callable[[], T]) -> T:
    """What `hsm.client` makes of a token that is away."""
    try:
        return ask()
    except SignerError as error:
        if error.code is Code.TOKEN_UNAVAILABLE:
            raise SignerUnavailableError(str(error)) from error
        raise


def make_counters(path: Path, role: str, name: str, token: Token) -> Counters:
    """The counters file, made if it is not there (tests only: the product never does that), and opened."""
    keys = {label: token.public_key(label) for label in token.labels()}
    owner = Owner(role, name, "demo", keys_sha256(keys))
    if not path.exists():
        create(path, owner)
    return Counters.open(path, owner)


def make_factory(
    directory: Path, name: str, trusted: TrustedRoot, token: Token, now: Callable[[], float] = time.time
) -> FactoryPolicy:
    """A complete factory signer over `directory/counters.db`; called again, it goes on with the same file."""
    counters = make_counters(directory / "counters.db", "factory", name, token)
    return FactoryPolicy(Signatory.over(token, counters, role="factory", name=name, trusted=trusted, now=now))


def make_registry(
    directory: Path, name: str, trusted: TrustedRoot, token: Token, now: Callable[[], float] = time.time
) -> CloudPolicy:
    """A complete cloud signer over `directory/counters.db`."""
    counters = make_counters(directory / "counters.db", "cloud", name, token)
    return CloudPolicy(Signatory.over(token, counters, role="cloud", name=name, trusted=trusted, now=now))


@dataclass(frozen=True, slots=True)
class Parties:
    """One station's signer, the registry's signer, and the root that names both, over software tokens in a directory."""

    trusted: TrustedRoot
    factory_token: SoftwareToken
    cloud_token: SoftwareToken
    factory: FactoryPolicy
    cloud: CloudPolicy

    @property
    def signer(self) -> LocalSigner:
        return LocalSigner(self.factory)


def make_root(stations: dict[str, SoftwareToken], registry: str, cloud: SoftwareToken) -> TrustedRoot:
    """An unsigned `demo` root over these tokens' public keys."""
    names = ("pin", "completion", "log", "client")
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
