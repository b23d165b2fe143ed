"""Rows of the fault table for the live handshake, by what the unit, the device service or the report says.

A part of `station.fault_table`, which everybody asks. Values only.
"""

from __future__ import annotations

from types import MappingProxyType

from fixtures.device import TunnelFault
from station.disposition import Disposition, Row
from station.exits import Exit

_R, _Q, _H, _L = Disposition.RETRY, Disposition.QUARANTINE, Disposition.HOLD, Disposition.LINE_STOP
_AGAIN = "Insert the unit again; after a second time put it in the repair bin."
_ENGINEER = "Put the unit in the quarantine bin and call the line engineer."

OF_UNIT: MappingProxyType[TunnelFault, str] = MappingProxyType(
    {
        TunnelFault.NOT_TRUSTED: "handshake-not-trusted",
        TunnelFault.NOT_OPENED: "handshake-not-opened",
        TunnelFault.BAD_MESSAGE_ID: "handshake-replayed",
        TunnelFault.OTHER_PROTOCOL: "handshake-other-protocol",
        TunnelFault.TIMED_OUT: "handshake-timed-out",
        TunnelFault.REFUSED: "handshake-closed",
        TunnelFault.OWN: "handshake-unit-failed",
    }
)
"""The code for each reason that a unit gives for its own failure."""

ROWS: MappingProxyType[str, Row] = MappingProxyType(
    {
        "handshake-not-trusted": Row(
            _Q,
            "The unit does not take the cloud's device service for its own: the cloud key in its flash, or "
            "the one that the service has, is another.",
            _ENGINEER,
        ),
        "handshake-refused": Row(
            _Q,
            "The cloud's device service refuses the unit: it does not prove that it has the pinned key.",
            _ENGINEER,
        ),
        "handshake-other-protocol": Row(
            _Q, "Unit and device service do not speak the same protocol or version.", _ENGINEER
        ),
        "unit-no-tunnel": Row(
            _Q,
            "The unit has no client of the order's device service, as its firmware ought to have.",
            _ENGINEER,
        ),
        "handshake-key-replaced": Row(
            _Q,
            "The device service's key that signed the report of the unit's handshake was replaced before the unit was "
            "finished.",
            _ENGINEER,
        ),
        "handshake-not-opened": Row(_R, "The unit could not open what the device service sent.", _AGAIN),
        "handshake-replayed": Row(_R, "The unit got a message of the handshake twice or out of order.", _AGAIN),
        "handshake-timed-out": Row(_R, "The live handshake did not come to its end in time.", _AGAIN),
        "handshake-closed": Row(_R, "The live handshake was broken off.", _AGAIN),
        "handshake-unit-failed": Row(_R, "The unit's own part in the live handshake failed.", _AGAIN),
        "device-service-away": Row(
            _H,
            "The registry answers, and the cloud's device service, or its signer, does not do its part.",
            "Put the unit in the hold bin; insert it again when the device service runs (whoever runs the registry: "
            "station-registry devices, and the cloud signer).",
            Exit.HELD,
        ),
        "cloud-key-differs": Row(
            _L,
            "The order names another cloud key than the device service has.",
            "Do not go on with this order: ask whoever runs the registry which cloud key is in force, and get an order "
            "that names it.",
            Exit.LINE_STOPPED,
        ),
        "handshake-report-wrong": Row(
            _L,
            "The device service's report of the handshake does not hold.",
            "Do not go on: call the security officer.",
            Exit.LINE_STOPPED,
        ),
        "handshake-not-proved": Row(
            _L,
            "The signer does not take the unit's live handshake for proved.",
            "Read the detail: the signer and this station must have the same trust root, the newest; then insert the "
            "unit again.",
            Exit.LINE_STOPPED,
        ),
    }
)
