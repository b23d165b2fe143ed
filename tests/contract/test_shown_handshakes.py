"""What `station device show` says of a handshake: judged, and never *proved* of one that does not hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from station.jobs import RecordKind
from station.shown_handshake import key_of, shown
from tests.contract.judges import Court, Unit


def of(court: Court, unit: Unit, **says: Any) -> str:
    verification = msgspec.structs.replace(unit.done.verification, **says)
    done = court.seal(msgspec.structs.replace(unit.done, verification=verification), "completion")
    records = {RecordKind.PIN: unit.pin, RecordKind.COMPLETION: done}
    return shown(court.trusted, court.floor.order_envelope, records)


def test_what_is_shown(tmp_path: Path) -> None:
    court = Court(tmp_path, handshakes=("udp",), handshake_waivers=("service-away",))
    unit, other = court.unit(), court.unit()
    report = unit.done.verification.handshake_report
    assert report is not None
    assert of(court, unit).startswith("proved over udp, ECDHE-ECDSA-AES128-CCM-8, carried by station st-01, ")
    waived = of(court, unit, handshake="waived", handshake_report=None, handshake_waiver="service-away")
    assert waived == "waived: service-away"
    assert of(court, unit, handshake_report=other.done.verification.handshake_report).startswith("DOES NOT HOLD: ")
    assert of(court, unit, handshake="waived", handshake_report=None, handshake_waiver="no-tunnel").startswith(
        "DOES NOT"
    )
    assert shown(court.trusted, court.floor.order_envelope, {RecordKind.PIN: unit.pin}) == ""
    found = key_of(court.trusted, report)
    assert found is not None
    assert found.spki == court.cloud.public_key("handshake")
    assert key_of(court.trusted, court.floor.handshake_report(unit.device, "receipt")) is None
    court.database.close()
