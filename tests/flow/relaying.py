"""The device service for plants in one process: its own desk, its keys in software tokens, and what goes wrong on the way.

What runs is what `station-registry devices` runs, without socket, HTTP and signer's process. Holds no assertion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fixtures.device import Service
from hsm.signer import SignerError
from registry.clock import utc_now
from registry.database import Database
from registry.device_service.pins import RegistryPins
from registry.device_service.relay.desk import Desk
from registry.device_service.relay.messages import Answer, Open, Refusal, Step
from registry.device_service.relay.tcp_bench import TcpBench
from registry.device_service.relay.udp_bench import UdpBench
from registry.device_service.relay.word import Reporter
from registry.device_service.tcp.connection import Times
from registry.device_service.udp.gnutls.credentials import Credentials
from registry.device_service.udp.gnutls.library import Library
from station.cloud import CloudRefusedError, CloudUnreachableError, DeviceServiceAwayError, DeviceServiceUnableError
from station.relay import Carried
from tests.hsm.software_token import SoftwareToken, sealed
from trust.codes import Code
from trust.dsse import Envelope
from trust.handshake import HandshakeReport
from trust.identity import DeviceId, JobId
from trust.keys import PublicKey
from trust.root import TrustedRoot

QUICK = Times(refused_s=0.3)


@dataclass(slots=True)
class TokenKeys:
    """A `hsm.signer.HandshakeKeys` over a cloud token's keys; the labels are those of the keys that sign."""

    token: SoftwareToken
    report_label: str = "handshake"
    sign_label: str = "cloud-tcp"
    opens: bool = True
    says: Callable[[HandshakeReport], HandshakeReport] = lambda report: report

    def tcp_open(self, ciphertext: bytes, nonce: bytes) -> bytes:
        plain = self.token.open_rsa("cloud-tcp", ciphertext)
        if not self.opens or plain is None or plain[: len(nonce)] != nonce:
            raise SignerError(Code.HANDSHAKE_REFUSED, "the message is none for this handshake")
        return plain[len(nonce) :]

    def tcp_sign(self, mac: bytes) -> bytes:
        return self.token.sign_rsa(self.sign_label, mac)

    def dtls_sign(self, digest: bytes) -> bytes:
        return self.token.sign_ecdsa("cloud-udp", digest)

    def sign_handshake(self, report: HandshakeReport) -> Envelope:
        return sealed(self.token, self.says(report), self.report_label)


class LocalRelay:
    """A `station.relay.Relay` over a desk of the device service."""

    def __init__(
        self, database: Database, trusted: TrustedRoot, keys: TokenKeys, station: str = "st-01", service: str = "tcp"
    ) -> None:
        spki = keys.token.public_key(f"cloud-{service}")
        self.keys = keys
        self._work = ThreadPoolExecutor(2)
        self.cloud = cloud = {service: PublicKey.from_der(spki).fingerprint}
        reporter = Reporter(trusted=trusted, keys=keys, cloud=cloud, now=utc_now)
        begin: Any = {"tcp": partial(TcpBench, reporter=reporter, work=self._work, times=QUICK)}
        if service == "udp":
            credentials = Credentials(Library.load(), spki, keys.dtls_sign)
            begin = {
                "udp": partial(
                    UdpBench, reporter=reporter, work=self._work, credentials=credentials, repeated=lambda _: ""
                )
            }
        self.desk = Desk(RegistryPins(database, trusted), begin, self._work, cloud=cloud)
        self._station = station
        self.opened = self.steps = 0

    async def open(self, device: DeviceId, job: JobId, service: Service, first: Sequence[bytes]) -> Carried:
        self.opened += 1
        asked = Open(
            station=self._station, device_id=str(device), job=str(job), protocol=service.value, received=tuple(first)
        )  # fmt: skip
        return _carried(await self.desk.answer(asked))

    async def step(self, handshake: str, received: Sequence[bytes], *, ended: bool = False) -> Carried:
        self.steps += 1
        asked = Step(station=self._station, handshake=handshake, received=tuple(received), ended=ended)
        return _carried(await self.desk.answer(asked))

    def close(self) -> None:
        self.desk.close()
        self._work.shutdown()


def _carried(answer: Answer) -> Carried:
    if not isinstance(answer, Refusal):
        return Carried(handshake=answer.handshake, state=answer.state, send=answer.send, report=answer.report)
    if answer.code is Code.DEVICE_SERVICE_UNABLE:
        raise DeviceServiceUnableError(answer.message)
    if answer.code is Code.TOO_MANY_REQUESTS:
        raise CloudUnreachableError(answer.message, after_s=answer.after_s)
    raise CloudRefusedError(answer.code, answer.message)


@dataclass(slots=True)
class NoRelay:
    """Nobody there: `error` is raised by whatever is asked."""

    error: Exception = field(default_factory=lambda: DeviceServiceAwayError("the device service does not answer"))

    async def open(self, *_: object) -> Carried:
        raise self.error

    async def step(self, *_: object, ended: bool = False) -> Carried:
        raise self.error


@dataclass(slots=True)
class ShakyRelay:
    """A relay whose steps go wrong: `strikes` by the number of the step, from 1."""

    relay: Any
    strikes: dict[int, Exception]
    after: bool = False  # the service has had it, and only the answer is lost
    steps: int = 0

    async def open(self, device: DeviceId, job: JobId, service: Service, first: Sequence[bytes]) -> Carried:
        return await self.relay.open(device, job, service, first)

    async def step(self, handshake: str, received: Sequence[bytes], *, ended: bool = False) -> Carried:
        self.steps += 1
        error = self.strikes.get(self.steps)
        if error is not None and not self.after:
            raise error
        said = await self.relay.step(handshake, received, ended=ended)
        if error is not None:
            raise error
        return said
