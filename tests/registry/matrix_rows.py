"""What is asked in each cell of the authorisation matrix, and what must come of it: one row an operation, none left out.

"Own" is the caller's own station or person; for people, devices and orders are nobody's in particular. Holds no assertion.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import urlencode

from tests.registry.cast import Cast, Who
from tests.registry.matrix import Asking, Operation, Row
from tests.registry.test_api import pin_body
from tests.registry.things import Things

OTHER = {"station-01": "station-02", "station-02": "station-01"}
Make = Callable[[Things], Asking]


def of_station(make: Make) -> Callable[[Cast, Who, bool], Asking]:
    """An object of the caller's own station, or of the other one; people and strangers ask for station-01's."""

    def asking(cast: Cast, who: Who, mine: bool) -> Asking:
        station = who.station or "station-01"
        return make(cast.things[station if mine else OTHER[station]])

    return asking


def plain(path: str, body: bytes | None = None) -> Callable[[Cast, Who, bool], Asking]:
    """The same for everybody."""
    return lambda _cast, _who, _mine: Asking(path=path, body=body)


def _pin(things: Things) -> Asking:
    return Asking(path=f"/v1/pins/{things.pinned.device_id}", body=pin_body(things.statement, things.order))


def _completion(things: Things) -> Asking:
    body = b'{"completion":%s}' % things.completion().to_json()
    return Asking(path=f"/v1/pins/{things.pinned.device_id}/completion", body=body)


def _batch(things: Things) -> Asking:
    line = b'{"device_id":"%s","statement":%s,"order":%s}' % (
        str(things.pinned.device_id).encode(), things.statement.to_json(), things.order.to_json(),
    )  # fmt: skip
    return Asking(path="/v1/pins:batch", body=line, content_type="application/x-ndjson")


def _lease(things: Things) -> Asking:
    return Asking(path="/v1/leases", body=b'{"request":%s}' % things.lease_request().to_json())


def _raise(things: Things) -> Asking:
    body = b'{"act":%s}' % things.act().to_json()
    return Asking(path=f"/v1/orders/{things.order.payload_sha256}/raises", body=body)


def _handshake(things: Things) -> Asking:
    device = things.pinned
    body = b'{"device_id":"%s","job":"%s","protocol":"udp"}' % (
        str(device.device_id).encode(),
        str(device.job).encode(),
    )
    return Asking(path="/v1/handshakes", body=body)


def _handshake_step(cast: Cast, who: Who, mine: bool) -> Asking:
    station = who.station or "station-01"
    name = cast.handshake(station if mine else OTHER[station])
    return Asking(path=f"/v1/handshakes/{name}", body=b'{"received":[],"ended":false}')


def of_person(path: str, body: bytes | None = None) -> Callable[[Cast, Who, bool], Asking]:
    """Oneself, or somebody else; everybody but people asks about somebody."""

    def asking(cast: Cast, who: Who, mine: bool) -> Asking:
        return Asking(path=path.format(user_id=who.user if mine and who.user else cast.spare), body=body)

    return asking


def _api_token(cast: Cast, who: Who, mine: bool) -> Asking:
    user = who.user if mine and who.user else cast.spare
    return Asking(path=f"/v1/api-tokens/{cast.token_of(user)}")


def of_device(what: str = "", body: Callable[[Things], bytes] | None = None) -> Callable[[Cast, Who, bool], Asking]:
    """Something about a station's device."""
    end = f"/{what}" if what else ""

    def make(things: Things) -> Asking:
        return Asking(path=f"/v1/devices/{things.pinned.device_id}{end}", body=None if body is None else body(things))

    return of_station(make)


def _no_act(things: Things) -> bytes:
    """An envelope, and no act in it: refused by the act's own rules, once device and caller have been looked at."""
    return b'{"act":%s}' % things.order.to_json()


def _no_step(things: Things) -> bytes:
    asked = {"step": "unlock", "nonce": "5a" * 32}
    return b'{"act":%s,%s' % (things.order.to_json(), json.dumps(asked).encode()[1:])


def _no_repin(things: Things) -> bytes:
    shown = {"challenge": "AA" * 21 + "A=", "spki": "AAAA", "signatures": ["A" * 16] * 2}
    return b'{"act":%s,%s' % (things.order.to_json(), json.dumps(shown).encode()[1:])


def _proposal(_things: Things) -> bytes:
    return b'{"kind":"revoke","reason":"lost on its way to the customer"}'


_NOTHING = b"{}"  # let through, and then refused as no such body: that it was let through is what counts
_SUPPORT = b'{"role":"support"}'
_FORM = urlencode({"grant_type": "client_credentials"}).encode()

ROWS: dict[Operation, Row] = {
    ("GET", "/livez"): Row(asking=plain("/livez"), own="200", other="200"),
    ("GET", "/readyz"): Row(asking=plain("/readyz"), own="200", other="200"),
    ("GET", "/v1/status"): Row(asking=plain("/v1/status"), own="200", other="200"),
    ("POST", "/oauth/token"): Row(  # without assertion and proof nobody gets a token, whoever he is
        asking=lambda _cast, _who, _mine: Asking(
            path="/oauth/token", body=_FORM, content_type="application/x-www-form-urlencoded"
        ),
        own="400 dpop-invalid", other="400 dpop-invalid",
    ),
    ("PUT", "/v1/pins/{device_id}"): Row(asking=of_station(_pin), own="200", other="403 not-authorised"),
    ("PUT", "/v1/pins/{device_id}/completion"): Row(  # let through, and refused by its own rules: its receipt is none
        asking=of_station(_completion), own="403 statement-invalid", other="403 not-authorised",
    ),
    ("GET", "/v1/pins/{device_id}"): Row(
        asking=of_station(lambda things: Asking(path=f"/v1/pins/{things.pinned.device_id}")),
        own="200", other="403 device-of-others", people_other="200",
    ),
    ("POST", "/v1/pins:batch"): Row(  # a line of the other station's is refused by itself: _word looks into it
        asking=of_station(_batch), own="200", other="200 403 not-authorised",
    ),
    ("POST", "/v1/handshakes"): Row(asking=of_station(_handshake), own="201", other="409 not-pinned"),
    ("POST", "/v1/handshakes/{handshake}"): Row(
        asking=_handshake_step, own="200", other="404 handshake-unknown"
    ),
    ("POST", "/v1/leases"): Row(  # let through: this root names no lease key
        asking=of_station(_lease), own="403 not-authorised", other="403 not-authorised",
    ),
    ("GET", "/v1/orders/{order_sha256}"): Row(
        asking=of_station(lambda things: Asking(path=f"/v1/orders/{things.order.payload_sha256}")),
        own="200", other="403 not-authorised", people_other="200",
    ),
    ("POST", "/v1/orders/{order_sha256}/raises"): Row(
        asking=of_station(_raise), own="200", other="403 not-authorised", people_other="200",
    ),
    ("GET", "/v1/roster"): Row(  # let through: this root names no roster key
        asking=plain("/v1/roster"), own="403 not-authorised", other="403 not-authorised",
    ),
    # people: signing in, and what one does with one's own
    ("POST", "/v1/sessions"): Row(asking=plain("/v1/sessions", _NOTHING), own="400 malformed", other="400 malformed"),
    ("POST", "/v1/sessions/current/second-factor"): Row(
        asking=plain("/v1/sessions/current/second-factor", _NOTHING), own="400 malformed", other="400 malformed",
    ),
    ("DELETE", "/v1/sessions/current"): Row(asking=plain("/v1/sessions/current"), own="200", other="200"),
    ("PUT", "/v1/me/password"): Row(asking=plain("/v1/me/password", _NOTHING), own="400 malformed", other="400 malformed"),
    ("GET", "/v1/api-tokens"): Row(asking=plain("/v1/api-tokens"), own="200", other="200"),
    ("POST", "/v1/api-tokens"): Row(asking=plain("/v1/api-tokens", _NOTHING), own="400 malformed", other="400 malformed"),
    ("DELETE", "/v1/api-tokens/{token_sha256}"): Row(asking=_api_token, own="200", other="404 token-unknown"),
    # people: administrators and others; nobody does to himself what an administrator does
    ("GET", "/v1/users"): Row(asking=plain("/v1/users"), own="200", other="200"),
    ("POST", "/v1/users"): Row(asking=plain("/v1/users", _SUPPORT), own="200", other="200"),
    ("GET", "/v1/users/{user_id}"): Row(asking=of_person("/v1/users/{user_id}"), own="200", other="200"),
    ("PUT", "/v1/users/{user_id}/role"): Row(
        asking=of_person("/v1/users/{user_id}/role", _SUPPORT), own="403 not-authorised", other="200",
    ),
    ("PUT", "/v1/users/{user_id}/badge"): Row(
        asking=of_person("/v1/users/{user_id}/badge", b'{"badge":null}'), own="200", other="200",
    ),
    ("POST", "/v1/users/{user_id}/disable"): Row(
        asking=of_person("/v1/users/{user_id}/disable"), own="403 not-authorised", other="200",
    ),
    ("POST", "/v1/users/{user_id}/enable"): Row(
        asking=of_person("/v1/users/{user_id}/enable"), own="200", other="200",
    ),
    ("POST", "/v1/users/{user_id}/reset"): Row(
        asking=of_person("/v1/users/{user_id}/reset"), own="403 not-authorised", other="200",
    ),
    # devices: an act is carried by whom the route names, and judged by its own signatures
    ("GET", "/v1/devices/{device_id}"): Row(
        asking=of_device(), own="200", other="403 device-of-others", people_other="200",
    ),
    ("POST", "/v1/devices/{device_id}/challenge"): Row(
        asking=of_device("challenge"), own="200", other="403 device-of-others", people_other="200",
    ),
    ("POST", "/v1/devices/{device_id}/authorisations"): Row(
        asking=of_device("authorisations", _no_step), own="403 statement-invalid", other="403 device-of-others",
        people_other="403 statement-invalid",
    ),
    ("POST", "/v1/devices/{device_id}/repin"): Row(
        asking=of_device("repin", _no_repin), own="403 statement-invalid", other="403 device-of-others",
        people_other="403 statement-invalid",
    ),
    ("POST", "/v1/devices/{device_id}/scrap"): Row(
        asking=of_device("scrap", _no_act), own="403 statement-invalid", other="403 device-of-others",
        people_other="403 statement-invalid",
    ),
    ("POST", "/v1/devices/{device_id}/revoke"): Row(
        asking=of_device("revoke", _no_act), own="403 statement-invalid", other="403 statement-invalid",
    ),
    ("POST", "/v1/devices/{device_id}/unscrap"): Row(
        asking=of_device("unscrap", _no_act), own="403 statement-invalid", other="403 statement-invalid",
    ),
    ("POST", "/v1/devices/{device_id}/proposals"): Row(asking=of_device("proposals", _proposal), own="200", other="200"),
    ("GET", "/v1/devices/{device_id}/proposals"): Row(asking=of_device("proposals"), own="200", other="200"),
    ("GET", "/v1/orders/{order_sha256}/revocations/{page}"): Row(
        asking=of_station(
            lambda things: Asking(path=f"/v1/orders/{things.order.payload_sha256}/revocations/first")
        ),
        own="200", other="403 not-authorised", people_other="200",
    ),
}  # fmt: skip

# Of the Particle-compatible door, where it is opened: devices are nobody's in particular to people who may propose.
_PROVISIONING = "/v1/provisioning/{device_id}"
DOOR_ROWS: dict[Operation, Row] = {
    ("POST", _PROVISIONING): Row(
        asking=of_station(lambda things: Asking(path=f"/v1/provisioning/{things.pinned.device_id}", body=_NOTHING)),
        own="400 malformed", other="400 malformed",
    ),
    ("GET", _PROVISIONING): Row(
        asking=of_station(lambda things: Asking(path=f"/v1/provisioning/{things.pinned.device_id}")),
        own="200", other="200",
    ),
    ("DELETE", "/v1/access_tokens/current"): Row(asking=plain("/v1/access_tokens/current"), own="200", other="200"),
}  # fmt: skip
