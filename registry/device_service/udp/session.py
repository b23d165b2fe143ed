"""One device's DTLS session as a step function: what came goes in, what to send comes out, and when to call again.

The same for the public socket and the bench relay. A device is who its key's pin says, however it has shown the key,
and only once three things agree: GnuTLS says that the handshake is done, the pin was found in it, and the device's
signature over the transcript holds by the pinned key. No socket, no thread; blocks while the signer signs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from registry.device_service.udp.gnutls.credentials import Credentials
from registry.device_service.udp.gnutls.endpoint import LONGEST, CallbackError, Endpoint, Presented, Timing
from registry.device_service.udp.gnutls.library import GnuTlsError, Prestate
from registry.device_service.udp.packing import packed, unpacked
from registry.device_service.udp.reasons import Reason, reason_of
from registry.device_service.udp.transcript import Exchanged, Transcript
from trust.identity import DeviceId
from trust.keys import PublicKey, PublicKeyError

MTU: Final = 1_024
BENCH_MTU: Final = 640
"""What a device takes in one command of the tunnel."""
_SHORTEST_WAIT_S: Final = 0.05


class SessionError(Exception):
    """The session is over, or there is none. `reason` is a word for counters, the text for the registry's own log."""

    def __init__(self, reason: Reason, why: str) -> None:
        super().__init__(why)
        self.reason = reason


class Pins(Protocol):
    """Which keys are good on this way in."""

    def good(self, spki: bytes) -> DeviceId | None:
        """Whose pin this DER SubjectPublicKeyInfo is, now; None for nobody's. Asked before the key is proved."""


class Suite(StrEnum):
    """IANA's names of what both sides may agree on."""

    CCM_8 = "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"
    GCM = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"


_SUITES: Final = {"AES-128-CCM-8": Suite.CCM_8, "AES-128-GCM": Suite.GCM}


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The device at the other end, proved."""

    device_id: DeviceId
    spki: bytes
    presented: Presented
    suite: Suite
    exchanged: Exchanged


class Recognition:
    """Which device the key that was shown is the pin of. By itself, so that session and endpoint are in no ring."""

    def __init__(self, pins: Pins) -> None:
        self._pins = pins
        self.found: tuple[DeviceId, bytes, Presented] | None = None
        self.refused = ""
        """Why, for the log."""

    def is_good(self, spki: bytes, presented: Presented) -> bool:
        """Look it up, and keep what was found for the second look."""
        device = self._pins.good(spki)
        if device is None:
            fingerprint = hashlib.sha256(spki).hexdigest()
            self.refused = f"no good pin for the key with fingerprint {fingerprint}, shown as {presented}"
            return False
        self.found = device, spki, presented
        return True


class Session:
    """One device's. Every call but `outgoing`, `due_s` and `close` raises SessionError once it is over."""

    def __init__(
        self,
        credentials: Credentials,
        pins: Pins,
        *,
        cookie: Prestate | None = None,
        mtu: int = MTU,
        timing: Timing | None = None,
        repeated: Callable[[Exchanged], str] = lambda _: "",
    ) -> None:
        """`cookie` is what came of the hello that is fed first; without one, whoever feeds knows whence it comes.

        `repeated` says what of the handshake was there before, and keeps it; empty if nothing was.
        """
        self._recognition, self._mtu, self._repeated = Recognition(pins), mtu, repeated
        self._peer: Peer | None = None
        self._over: SessionError | None = None
        first = (0, 0) if cookie is None else (cookie.hsk_read_seq, cookie.hsk_write_seq + 1)
        self._transcript = Transcript(*first)
        self._endpoint = Endpoint(
            credentials,
            self._recognition.is_good,
            self._transcript.see,
            mtu=mtu,
            timing=timing or Timing(),
            prestate=cookie,
        )

    @property
    def peer(self) -> Peer | None:
        """The device, once it is established."""
        return self._peer

    @property
    def established(self) -> bool:
        """Whether messages can be sent."""
        return self._peer is not None and self._over is None

    def feed(self, datagram: bytes) -> list[bytes]:
        """The messages that came with it; what is no datagram of this session is dropped, as DTLS wants it."""
        self._require_open()
        if not 0 < len(datagram) <= LONGEST:  # an empty one is GnuTLS's word for the end
            return []
        self._endpoint.incoming.extend(unpacked(datagram))
        return self._go_on()

    def tick(self) -> list[bytes]:
        """Send again what is due; as `feed`, and SessionError "timed-out" at the end of a handshake's time."""
        self._require_open()
        return self._go_on()

    def due_s(self) -> float | None:
        """Seconds until `tick`; None where nothing is due by itself."""
        if self._over is not None or self._peer is not None:
            return None
        return max(self._endpoint.due_ms / 1_000, _SHORTEST_WAIT_S)

    def send(self, message: bytes) -> None:
        """As one datagram; it has 1 to `most_bytes`."""
        self._require_open()
        if self._peer is None:
            raise ValueError("not established: nothing can be sent yet")
        if not 0 < len(message) <= self.most_bytes:
            raise ValueError(f"a message of {len(message)} bytes: 1 to {self.most_bytes} fit")
        try:
            self._endpoint.send(message)
        except GnuTlsError as error:
            raise self._failed(error) from (error.__cause__ or error)

    @property
    def most_bytes(self) -> int:
        """Of a message, by MTU and suite."""
        return self._endpoint.most_bytes

    def outgoing(self) -> list[bytes]:
        """The datagrams to send now, in their order; each is given once."""
        sent = packed(self._endpoint.outgoing, self._mtu)
        self._endpoint.outgoing.clear()
        return sent

    def close(self) -> None:
        """Say so to the device, if it is established; nothing is fed or sent any more."""
        if self.established:
            self._endpoint.bye()
        if self._over is None:
            self._over = SessionError(Reason.CLOSED, "closed here")

    # ---- steps

    def _go_on(self) -> list[bytes]:
        try:
            if self._peer is None:
                if not self._endpoint.handshake():
                    return []
                self._peer = self._proved()
            return self._messages()
        except GnuTlsError as error:
            raise self._failed(error) from (error.__cause__ or error)

    def _messages(self) -> list[bytes]:
        found: list[bytes] = []
        while (message := self._endpoint.receive()) is not None:
            if not message:
                self._endpoint.bye()  # RFC 5246 §7.2.1: answered in kind
                closed = self._end(Reason.CLOSED, "closed by the device")
                if not found:
                    raise closed
                break
            found.append(message)
        return found

    def _proved(self) -> Peer:
        """The second look: that the library is through is not enough, however sure it is."""
        if self._recognition.found is None:
            raise self._end(Reason.NOT_PINNED, "the handshake is done and no pin was looked up")
        exchanged = self._transcript.exchanged()
        device, spki, presented = self._recognition.found
        try:
            holds = PublicKey.from_der(spki).verifies_digest(exchanged.signature, exchanged.transcript)
        except PublicKeyError as error:
            raise self._end(Reason.BAD_SIGNATURE, str(error)) from error
        if not holds:
            raise self._end(Reason.BAD_SIGNATURE, "the device's signature is not over this handshake")
        again = self._repeated(exchanged)
        if again:
            self._endpoint.bye()
            raise self._end(Reason.REPEATED, f"the device has used this {again} before")
        suite = _SUITES[self._endpoint.cipher]
        return Peer(device_id=device, spki=spki, presented=presented, suite=suite, exchanged=exchanged)

    def _failed(self, error: GnuTlsError) -> SessionError:
        self._endpoint.alert(error)
        reason = Reason.FAULT if isinstance(error, CallbackError) else reason_of(error.code)
        return self._end(reason, self._recognition.refused or str(error))

    def _end(self, reason: Reason, why: str) -> SessionError:
        self._over = SessionError(reason, why)
        return self._over

    def _require_open(self) -> None:
        if self._over is not None:
            raise SessionError(self._over.reason, str(self._over))
