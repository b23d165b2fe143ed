"""What one full look at a finished unit has shown, and which of the authority's words it is younger than.

A word that no pin shows may have opened a unit, or changed its anchor, wherever that was done. A look covers those that
the registry showed before it: they are over a nonce of the unit that has lost power since. So no clock is asked which
of the two was first. Values, and the question for them; decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from fixtures.device import Anchor
from station.cloud import Cloud, CloudRefusedError, CloudUnreachableError
from station.cloud.devices import Asks, Devices
from station.faults import fault
from trust import rekey
from trust.identity import DeviceId
from trust.order import WorkOrder
from trust.root import TrustedRoot
from trust.statement import StatementError


@dataclass(frozen=True, slots=True)
class Look:
    """`anchor_sha256` of the anchor that was read back, as acts name it; `words` by the SHA-256 of their payloads."""

    anchor_sha256: str
    words: frozenset[str]

    def details(self) -> dict[str, str]:
        """As events have it."""
        return {"anchor_sha256": self.anchor_sha256, "words": " ".join(sorted(self.words))}

    @classmethod
    def told(cls, details: Mapping[str, str]) -> Self:
        """Out of an event's details."""
        return cls(details.get("anchor_sha256", ""), frozenset(details.get("words", "").split()))


def named(anchor: Anchor | None) -> str:
    """The anchor as acts name it; empty for none."""
    if anchor is None:
        return ""
    return rekey.anchor_sha256(
        cloud_key=anchor.cloud_key.spki, authority_key=anchor.authority_key.spki, service=anchor.service.value,
        host=anchor.host, port=anchor.port,
    )  # fmt: skip


def of_order(work: WorkOrder) -> str:
    """The order's anchor as acts name it."""
    return rekey.anchor_sha256(
        cloud_key=work.cloud_key, authority_key=work.authority_key, service=work.service, host=work.host, port=work.port
    )


async def words_now(cloud: Cloud, root: TrustedRoot, device: DeviceId) -> frozenset[str]:
    """Those that the registry shows; none while it cannot be asked, so that a look covers none. `registry-wrong`."""
    if not isinstance(cloud, Asks):
        return frozenset()
    try:
        held = await Devices(cloud).held(device)
        return frozenset() if held is None else frozenset(each.sha256 for each in held.words(root))
    except (CloudUnreachableError, CloudRefusedError):
        return frozenset()
    except StatementError as error:
        raise fault("registry-wrong", str(error)) from error
