"""A session from its first message on: Hello both ways, then pings and key changes, each id the next one.

The first message is what proves the device's key: only who has read message 3 makes one that opens with the right id.
Pure but for its own place in the conversation: bytes in, bytes out. Whatever is odd ends it, without a word.
"""

from __future__ import annotations

from registry.device_service import coap
from registry.device_service.coap import CoapError, Heard, Hello, Kind
from registry.device_service.tcp.credentials import Credentials
from registry.device_service.tcp.numbers import FromDevice, FromService
from registry.device_service.tcp.session import Session, SessionError

_NO_COUNT = frozenset({Kind.ACKNOWLEDGEMENT, Kind.RESET})


class Conversation:
    """One device's. `hello` is None until the device has proved itself by it; `over` once it wants another session."""

    def __init__(self, credentials: Credentials, first_own: int) -> None:
        self._session = Session(credentials)
        self._theirs = FromDevice(credentials.first_id)
        self._own = FromService(first_own)
        self.hello: Hello | None = None
        self.over = False

    def feed(self, data: bytes) -> bytes:
        """What to send for what came; SessionError ends the connection, at once and without a byte."""
        answers = b""
        for message in self._session.feed(data):
            if self.over:
                raise SessionError("a message after the end of the session")
            answers += self._answer(message)
        return answers

    def _answer(self, message: bytes) -> bytes:
        try:
            heard = Heard.parse(message)
            if heard.kind not in _NO_COUNT:
                self._theirs.require_next(heard.number)
            if self.hello is None:
                return self._greeted(heard)
        except CoapError as error:
            self._session.end()
            raise SessionError(str(error)) from error
        except SessionError:
            self._session.end()
            raise
        match heard.kind:
            case Kind.PING:
                return self._session.seal(coap.acknowledged(heard))
            case Kind.KEY_CHANGE:
                self.over = True
                return self._session.seal(coap.changed(heard)) if heard.wants_answer else b""
            case Kind.HELLO | Kind.OTHER if heard.wants_answer:
                return self._session.seal(coap.not_found(heard))
        return b""

    def _greeted(self, heard: Heard) -> bytes:
        if heard.kind is not Kind.HELLO:
            raise SessionError("the first message is no Hello")
        self.hello = Hello.parse(heard.payload)
        return self._session.seal(coap.hello(self._own.take()))
