"""One operation of the registry's HTTP API as a value: what is asked where, by which function it is answered.

Everything that the OpenAPI document says of an operation stands here. Never answers anything itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec
from starlette.responses import Response

from registry.access.caller import Access, Caller
from registry.access.guard import Heading
from registry.limits.body import MAX_BODY_BYTES
from registry.limits.rates import RouteClass
from registry.messages import ErrorAnswer, read_device
from registry.services import Services
from registry.statuses import later
from trust.identity import DeviceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as a route's function sees it: the path's parameters, the whole body, and who asks.

    `caller` None: nobody was asked who he is, as the route is open to anybody. `heading` is what he would have shown.
    """

    path: Mapping[str, str]
    body: bytes
    heading: Heading
    content_type: str = ""
    caller: Caller | None = None

    @property
    def address(self) -> str:
        """Where it is asked from."""
        return self.heading.address

    @property
    def device(self) -> DeviceId:
        """The device of the path; RefusedError if it is no device id."""
        return read_device(self.path["device_id"])


Work = Callable[[Services, Asked], Response]
Signer = Callable[[Services, Asked], str]
"""Whose signature the request carries, by the trust root alone; empty if nobody's. Consumes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """An operation. `work` runs in a thread, where it may wait for database and signer; its docstring is published.

    `access` says who may use it at all; whose objects a caller may touch is for `work` to decide. `content_type` is the
    request's; `refused` the form of refusals by `work` itself, the rest have the API's one form.
    """

    method: Literal["GET", "PUT", "POST", "DELETE"]
    path: str
    work: Work
    access: Access
    answer: type[msgspec.Struct]
    body: type[msgspec.Struct] | None = None
    refusals: tuple[int, ...] = ()
    content_type: str = "application/json"
    or_form: bool = False  # the body may come as a form, too
    statuses: tuple[int, ...] = (200,)  # of answers
    refused: type[msgspec.Struct] = ErrorAnswer
    rate: RouteClass | None = None  # None: by its method
    signer: Signer | None = None  # who is counted by name where his address has nothing left
    max_body_bytes: int = MAX_BODY_BYTES
    lines: bool = False  # bodies are NDJSON: `body` and `answer` are one line's
    at_once: bool = False  # `work` waits for nothing and runs in the event loop, though all threads wait

    def __post_init__(self) -> None:
        if self.at_once and not self.access.public:
            raise ValueError(f"{self.path}: who asks is looked up in the database, which is no work for the event loop")

    @property
    def route_class(self) -> RouteClass:
        """How often it may be asked for."""
        return self.rate or (RouteClass.READ if self.method == "GET" else RouteClass.WRITE)


def answered(status: int, body: bytes) -> Response:
    """A JSON answer; with 503 goes when to ask again."""
    return Response(body, status, later(status), media_type="application/json")
