"""Valid paths and bodies for requests to the registry's operations, and how one is twisted. Holds no assertion."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from registry.clock import utc_now
from tests.registry.living import TWO
from tests.registry.make import Device, World, public
from tests.trust.people import approved_by
from tests.trust.pin_acts import approved, pin_act, utc
from trust.dsse import Envelope


@dataclass(slots=True)
class Seeds:
    """Valid paths and bodies: of devices that are pinned, and of some that are not yet."""

    made: World
    devices: list[Device] = field(default_factory=lambda: [Device() for _ in range(6)])
    order: Envelope = field(init=False)

    def __post_init__(self) -> None:
        self.order = approved_by(self.made.order_envelope, *TWO)

    def bodies(self) -> dict[tuple[str, str], list[dict[str, Any]]]:
        """By operation; none for what is not known here: Schemathesis makes all of it."""
        order = json.loads(self.order.to_json())
        pins = [self.made.pin(each, order_signed=True) for each in self.devices]
        statements = [json.loads(each.to_json()) for each in pins]
        completions = [self.made.completion(d, p, p) for d, p in zip(self.devices, pins, strict=True)]
        pin, device = "/v1/pins/{device_id}", "/v1/devices/{device_id}"
        shown = {"challenge": "A" * 43 + "=", "spki": "A" * 16, "signatures": ["A" * 16] * 2}
        return {
            ("PUT", pin): [{"statement": each, "order": order} for each in statements],
            ("PUT", f"{pin}/completion"): [{"completion": json.loads(each.to_json())} for each in completions],
            ("POST", "/v1/pins:batch"): [
                {"device_id": str(device.device_id), "statement": each, "order": order}
                for device, each in zip(self.devices, statements, strict=True)
            ],
            ("POST", "/v1/handshakes"): [
                {"device_id": str(each.device_id), "job": str(each.job), "protocol": "udp"} for each in self.devices
            ],
            ("POST", "/v1/handshakes/{handshake}"): [{"received": ["AAAA"], "ended": each} for each in (False, True)],
            ("POST", "/v1/leases"): [{"request": each} for each in statements],
            ("POST", "/v1/orders/{order_sha256}/raises"): [{"act": order}],
            ("POST", f"{device}/repin"): [{"act": self.act(each, "repin"), **shown} for each in self.devices],
            **{
                ("POST", f"{device}/{kind}"): [{"act": self.act(each, kind)} for each in self.devices]
                for kind in ("revoke", "unscrap")
            },
            ("POST", f"{device}/scrap"): [
                {"act": self.act(each, "scrap"), **code}
                for each in self.devices for code in ({}, {"approver": {"user_id": "ab" * 16, "code": "123456"}})
            ],
        }  # fmt: skip

    def act(self, device: Device, kind: str) -> dict[str, Any]:
        """On a device that was never finished, by two people."""
        now, fingerprint = utc_now(), public(device.key).fingerprint
        more = {"new_fingerprint": "ab" * 32} if kind == "repin" else {}
        said = pin_act(
            self.made.trusted, str(device.device_id), fingerprint, kind, was="provisional",
            made_at=utc(now - timedelta(minutes=1)), not_after=utc(now + timedelta(days=7)), **more,
        )  # fmt: skip
        return json.loads(approved(said, *TWO).to_json())

    def values(self) -> Mapping[str, list[str]]:
        """Of path parameters."""
        return {
            "device_id": [str(each.device_id) for each in self.devices],
            "order_sha256": [*[self.order.payload_sha256] * 5, "ab" * 32],
            "page": ["first"],
            "handshake": ["ab" * 16],
        }


# ---- twisting a body

_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def twisted(draw: Callable[[Any], Any], value: Any) -> Any:
    """The value with one thing changed somewhere inside, now and then in an envelope's payload."""
    match value:
        case {"payload": str(payload)} if draw(st.booleans()):
            inner = twisted(draw, json.loads(base64.b64decode(payload)))
            text = json.dumps(inner, separators=(",", ":"), sort_keys=True).encode()
            return value | {"payload": base64.b64encode(text).decode()}
        case dict() if value and draw(st.integers(0, 4)):
            name = draw(st.sampled_from(sorted(value)))
            if draw(st.integers(0, 5)):
                return value | {name: twisted(draw, value[name])}
            return {each: value[each] for each in value if each != name}
        case list() if value and draw(st.booleans()):
            at = draw(st.integers(0, len(value) - 1))
            return [twisted(draw, each) if number == at else each for number, each in enumerate(value)]
        case str() if value and draw(st.booleans()):
            at = draw(st.integers(0, len(value) - 1))
            return value[:at] + draw(st.characters(codec="utf-8")) + value[at + 1 :]
        case _:
            return draw(_ANY)
