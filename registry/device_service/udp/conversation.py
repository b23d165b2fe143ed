"""What is said in an open DTLS session: Hello both ways, then pings and key changes (RFC 7252).

DTLS tells which key the device has, and the Hello which device it says that it is: both must be one pin's. Pure but for
its own place: a message in, messages out.
"""

from __future__ import annotations

from registry.device_service import coap
from registry.device_service.coap import CoapError, Heard, Hello, Kind
from trust.identity import DeviceId


class ConversationError(Exception):
    """The session is to end: what came is none of its messages, or of another device. The text is for our own log."""


class Conversation:
    """One device's. `hello` is None until its Hello has come; `over` once it wants another session."""

    def __init__(self, device_id: DeviceId, own_number: int) -> None:
        self._device_id, self._own_number = device_id, own_number
        self._greeting = 0
        self.hello: Hello | None = None
        self.over = False

    def answer(self, message: bytes) -> list[bytes]:
        """What to send for what came, in its order; ConversationError ends the session, without a word of CoAP's."""
        try:
            heard = Heard.parse(message)
            if self.hello is None:
                self._greet(heard)
        except CoapError as error:
            raise ConversationError(str(error)) from error
        match heard.kind:
            case Kind.HELLO if heard.number == self._greeting:  # once more, if it was not heard
                acknowledged = [coap.acknowledged(heard)] if heard.wants_answer else []
                return [*acknowledged, coap.hello(self._own_number)]
            case Kind.PING:
                return [coap.acknowledged(heard)]
            case Kind.KEY_CHANGE:
                self.over = True
                return [coap.changed(heard)] if heard.wants_answer else []
            case Kind.HELLO | Kind.OTHER if heard.wants_answer:
                return [coap.not_found(heard)]
        return []

    def _greet(self, heard: Heard) -> None:
        if heard.kind is not Kind.HELLO:
            raise ConversationError("the first message is no Hello")
        hello = Hello.parse(heard.payload)
        if hello.device_id != self._device_id:
            raise ConversationError("the Hello is of another device than the key, or of none")
        self.hello, self._greeting = hello, heard.number
