"""What every way in shares: pins, the signer's keys, the service's word, UDP credentials. Put together at the start."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from hsm.signer import HandshakeKeys, ReceiptSigner
from registry.clock import utc_now
from registry.database import Database
from registry.device_service.pins import RegistryPins
from registry.device_service.proposed import ProposedKeys
from registry.device_service.relay.word import Reporter
from registry.device_service.seen import SeenRandoms
from registry.device_service.udp.gnutls.credentials import Credentials, CredentialsError
from registry.device_service.udp.gnutls.library import Library, LibraryError
from registry.settings import DevicesConfig, RegistryConfig, SetupError
from trust.root import TrustedRoot

_PURPOSES: Final = {"tcp": "cloud-tcp", "udp": "cloud-udp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """`credentials` and `seen` are the UDP service's."""

    config: DevicesConfig
    pins: RegistryPins
    proposals: ProposedKeys
    reporter: Reporter
    credentials: Credentials
    seen: SeenRandoms
    rate_factor: float = 1.0


def made(
    config: RegistryConfig, database: Database, trusted: TrustedRoot, signer: ReceiptSigner, keys: HandshakeKeys
) -> Parts:
    """The parts over a signer that answers; SetupError if a key cannot be used."""
    public = signer.status().keys
    if public.get("handshake", b"") != trusted.root.cloud_keys.handshake:
        raise SetupError(
            "cloud signer: its handshake key is not the trust root's, so nobody would take a report: start the signer "
            "whose public.json is in the root, or have a root made with this one's"
        )
    try:
        credentials = Credentials(Library.load(), public[_PURPOSES["udp"]], keys.dtls_sign)
    except (LibraryError, CredentialsError) as error:
        raise SetupError(f"UDP service: {error}") from error
    cloud = {name: hashlib.sha256(public[purpose]).hexdigest() for name, purpose in _PURPOSES.items()}
    reporter = Reporter(trusted=trusted, keys=keys, cloud=cloud, now=utc_now)
    pins = RegistryPins(database, trusted)
    proposals = ProposedKeys(database=database, trusted=trusted)
    return Parts(
        config=config.devices, pins=pins, proposals=proposals, reporter=reporter, credentials=credentials,
        seen=SeenRandoms(database), rate_factor=config.rate_factor,
    )  # fmt: skip
