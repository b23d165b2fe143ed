"""Before the first request: whether configuration, trust root, signer, certificate and database belong together.

Refuses to start on the first disagreement, each with its remedy. Never mends one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from starlette.types import ASGIApp

import given
from hsm.signer import ReceiptSigner, SignerError, SignerStatus, SignerUnavailableError
from registry.access.opening import open_door
from registry.app import create_app
from registry.database import Database
from registry.device_service.relay.client import RelayClient
from registry.leases.service import LeaseService
from registry.limits.rates import Limits
from registry.messages import StatusAnswer
from registry.opening import open_to_serve
from registry.orders.service import OrderService
from registry.particle.door import with_particle
from registry.particle.keeping import KeptProposals
from registry.particle.translating import Translating
from registry.people.roster import RosterService
from registry.people.service import People, issuer_of
from registry.pins.acts import ActService
from registry.pins.batch import PinBatch
from registry.pins.proposals import Proposals
from registry.pins.service import PinService
from registry.services import Services
from registry.settings import FILE, Home, RegistryConfig, SetupError
from registry.signing import Signing
from registry.telemetry.health import Health
from registry.telemetry.metrics import Metrics
from registry.telemetry.parts import parts
from registry.telemetry.watching import Watching
from registry.tls import trusted_by
from trust.root import RootError, TrustedRoot
from trust.root_file import parse


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A registry that may serve."""

    app: ASGIApp
    database: Database
    status: StatusAnswer
    health: Health
    metrics: Metrics


def load_root(path: Path) -> TrustedRoot:
    """The trust root's file; SetupError if it cannot be used."""
    try:
        return parse(given.read(path))
    except OSError as error:
        raise SetupError(f"trust root {path}: {error.strerror}: give the root file with --root") from error
    except RootError as error:
        raise SetupError(f"trust root {path}: {error}") from error


def open_registry(
    home: Home, trusted: TrustedRoot, signer: ReceiptSigner, *, asked: ReceiptSigner | None = None
) -> Ready:
    """Check everything, then the application; SetupError says what does not fit.

    `asked` is the same signer by another way, for its status: never behind a receipt that is being signed.
    """
    require_own_root(home.config, trusted)
    require_certificate(home, trusted)
    require_signer(home, trusted, signer)
    database = open_to_serve(home, trusted)
    status = StatusAnswer(
        registry=home.config.name,
        environment=home.config.environment,
        root_sha256=trusted.sha256,
        root_version=trusted.root.version,
        version=own_version(),
        trouble="",
    )
    signing = Signing(asked or signer, trusted)
    health = Health(parts(database, signing))
    metrics = Metrics(version=status.version, environment=status.environment)
    pins = PinService(database, trusted, signer)
    issuer = issuer_of(status.environment, status.registry)
    people = People.over(database, issuer, addresses=home.config.address_limits)
    door = open_door(database, trusted.root, people.tokens)
    services = Services(
        guard=door.guard,
        grants=door.grants,
        signed_by=door.signed_by,
        pins=pins,
        acts=ActService(database, trusted, signer),
        proposals=Proposals(database),
        batch=PinBatch(database, trusted, signer, pins),
        leases=LeaseService(database, trusted, signer),
        orders=OrderService(database, trusted),
        people=people,
        rosters=RosterService(database, trusted, signer, people.accounts),
        status=status,
        signing=signing,
        limits=limits_of(home.config),
        health=health,
        relay=None if home.relay_socket is None else RelayClient(home.relay_socket),
    )
    services = _with_particle(services, database) if home.config.particle_door else services
    _tell(metrics, health, services.limits)
    return Ready(
        app=Watching(_application(services), metrics), database=database, status=status, health=health, metrics=metrics
    )


def _application(services: Services) -> ASGIApp:
    """What is served; refusals in the door's own words where the door is open."""
    app = create_app(services)
    return app if services.particle is None else Translating(app)


def _with_particle(services: Services, database: Database) -> Services:
    """The same with the Particle-compatible door open."""
    kept = KeptProposals(database=database, acts=services.acts, book=services.proposals)
    return replace(services, grants=with_particle(services.grants, database, services.people), particle=kept)


def _tell(metrics: Metrics, health: Health, limits: Limits | None) -> None:
    """Let the metrics show what others know."""
    metrics.gauge("database_well", "1: it took a write a moment ago.", lambda: health.good("database"))
    metrics.gauge("signer_well", "1: it could sign a moment ago.", lambda: health.good("signer"))
    if limits is not None:
        metrics.gauge("addresses_remembered", "Whose requests are counted.", lambda: len(limits.strangers))
        metrics.gauge("callers_remembered", "Whose requests are counted.", lambda: len(limits.callers))


def require_own_root(config: RegistryConfig, trusted: TrustedRoot) -> None:
    """The root is of this registry's environment and names this registry."""
    root = trusted.root
    if root.environment != config.environment:
        raise SetupError(
            f"the trust root is of environment {root.environment!r}, this registry of {config.environment!r}: "
            "give the root of this environment with --root"
        )
    if root.registry != config.name:
        raise SetupError(
            f"the trust root names registry {root.registry!r}, this is {config.name!r}: "
            "give the root that names this registry, or serve the other directory"
        )


def require_certificate(home: Home, trusted: TrustedRoot) -> None:
    """Stations, which trust the root's TLS certificate only, will take ours."""
    path = home.tls_certificate
    try:
        trusted_ours = trusted_by(given.read(path), trusted.root.tls_root)
    except OSError as error:
        raise SetupError(f"TLS certificate {path}: {error.strerror}: restore it") from error
    except ValueError as error:
        raise SetupError(f"TLS certificate {path} or the trust root's tls_root cannot be read: {error}") from error
    if not trusted_ours:
        raise SetupError(
            f"TLS certificate {path} is not the one in the trust root: every station would refuse this registry; "
            "restore the certificate, or have a root made that names this one"
        )


def require_signer(home: Home, trusted: TrustedRoot, signer: ReceiptSigner) -> None:
    """The signer answers, in the cloud role, for this registry, under this root, with the root's receipt key."""
    try:
        status = signer.status()
    except (SignerUnavailableError, SignerError) as error:
        raise SetupError(
            f"cloud signer: {error}: start it, with the same root file: {_serving(home.signer_socket)}; if it listens "
            f"elsewhere, correct signer_socket in {home.directory / FILE}"
        ) from error
    for what, found, wanted, remedy in _signer_rules(home.config, trusted, status):
        if found != wanted:
            raise SetupError(
                f"cloud signer at {home.signer_socket}: {what} is {found!r}, expected {wanted!r}: {remedy}"
            )
    if status.keys.get("receipt") != trusted.root.registry_keys.receipt:
        raise SetupError(
            f"cloud signer at {home.signer_socket}: its receipt key is not the trust root's: no station would take a "
            "receipt; start the signer whose public key is in the root, or have a root made with this one's"
        )


def limits_of(config: RegistryConfig) -> Limits | None:
    """How often clients may ask; None where the configuration says that nobody counts."""
    return Limits(factor=config.rate_factor, addresses=config.address_limits) if config.rate_factor else None


def own_version() -> str:
    """The version of this program."""
    try:
        return version("keystation")
    except PackageNotFoundError:
        return "0+source"


def _serving(socket: Path) -> str:
    """The command that serves a signer on this socket; its directory is known where the socket has its usual place."""
    usual = socket.parts[-2:] == ("run", "signer.sock")
    return f"station-signer serve --dir {socket.parent.parent if usual else 'DIR'} --root ROOT"


def _signer_rules(
    config: RegistryConfig, trusted: TrustedRoot, status: SignerStatus
) -> list[tuple[str, str, str, str]]:
    other = f"set signer_socket in {FILE} to this registry's own signer"
    return [
        ("role", status.role, "cloud", other),
        ("environment", status.environment, config.environment, other),
        ("name", status.name, config.name, other),
        ("trust root", status.root_sha256, trusted.sha256, "start signer and registry with the same root file"),
    ]
