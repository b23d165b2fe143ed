"""The service's word for one handshake: the report filled in and signed. Blocks as long as the signer does.

Never made before the device's own Hello has come under the keys of this handshake.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from hsm.signer import HandshakeKeys
from registry.clock import stamp
from registry.device_service.pins import BenchPin
from trust.dsse import Envelope
from trust.handshake import HandshakeReport
from trust.root import TrustedRoot


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporter:
    """What is the same in all reports of one service. `cloud` is the fingerprint of its key, by protocol."""

    trusted: TrustedRoot
    keys: HandshakeKeys
    cloud: dict[str, str]
    now: Callable[[], datetime]

    def report(self, held: BenchPin, station: str, suite: str, transcript: bytes) -> Envelope:
        """Signed; SignerError, SignerUnavailableError. `transcript` is 32 bytes of SHA-256."""
        root, pin = self.trusted.root, held.pin
        said = HandshakeReport(
            environment=root.environment, root_sha256=self.trusted.sha256, registry=root.registry, station=station,
            order_id=pin.order_id, job=pin.job, device_id=pin.device_id, fingerprint=pin.fingerprint,
            cloud_fingerprint=self.cloud[held.order.service], protocol=held.order.service, suite=suite,
            transcript_sha256=transcript.hex(), at=stamp(self.now()),
        )  # fmt: skip
        return self.keys.sign_handshake(said)
