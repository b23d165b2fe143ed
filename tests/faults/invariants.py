"""What must be true of every disk when the last child of a trial has ended. Each function is one sentence of the design.

Judges bytes only, with its own reading code (`tests.faults.disk`); what it returns are sentences about violations.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.faults import disk
from tests.faults.disk import Sealed, query
from tests.faults.insertion import DEVICE, FINDINGS, SIGNED
from trust.order import WorkOrder
from trust.root import TrustedRoot

_ORDER_OF_RECORDS = (
    "intent", "pin", "pin-receipt", "handshake-report", "completion-intent", "completion", "completion-receipt",
)  # fmt: skip
_PIN_RESULT, _DONE_RESULT = ("pin-receipt", "pin-refused"), "completion"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A finished trial: where, which stations, what the device's key was after each child, each log as it was before."""

    place: Path
    root: TrustedRoot
    work: WorkOrder
    stations: tuple[str, ...]
    keys_seen: frozenset[str]
    logs_before: dict[str, list[list[bytes]]] = field(default_factory=dict)
    replaced_on_purpose: bool = False
    passed: bool = True

    def ledger(self, station: str) -> Path:
        return self.place / f"{station}.db"

    @property
    def device(self) -> disk.Device:
        return disk.device(self.place / f"{DEVICE}.flash")

    def jobs(self) -> Iterator[tuple[str, str, dict[str, Sealed]]]:
        """Station, job and records, for each job of the device."""
        for station in self.stations:
            for job in disk.jobs(self.ledger(station), self.device.device_id):
                yield station, job, disk.records(self.ledger(station), job)

    def pin(self) -> Sealed | None:
        found = query(self.place / "registry.db", "SELECT statement FROM pins")
        return Sealed.of(found[0][0]) if found else None


def violations(scene: Scene) -> list[str]:
    """All of them; none for a trial that holds."""
    return [f"{check.__name__}: {each}" for check in CHECKS for each in check(scene)]


def nothing_left_before_its_record(scene: Scene) -> Iterator[str]:
    """Write ahead: the wrappers saw each effect's record on disk before the effect; green last."""
    path = scene.place / FINDINGS
    if path.exists():
        yield from path.read_text().splitlines()


def one_device_one_key(scene: Scene) -> Iterator[str]:
    if len(scene.keys_seen) > 1 and not scene.replaced_on_purpose:
        yield f"the device has had {len(scene.keys_seen)} keys"
    replaced = [each for station in scene.stations for each in disk.events(scene.ledger(station), "key-replaced")]
    if replaced and not scene.replaced_on_purpose:
        yield f"a key was taken for one of unknown origin: {replaced[0]['details']}"
    pin = scene.pin()
    if pin is not None and scene.passed and pin.body["fingerprint"] != scene.device.fingerprint:
        yield "the device holds another key than the one pinned"
    if pin is not None and scene.passed and pin.body["job"] != scene.device.job:
        yield "the device's key is bound to another job than the pin's"


def one_active_pin(scene: Scene) -> Iterator[str]:
    registry = scene.place / "registry.db"
    pins = query(registry, "SELECT device_id, statement_sha256 FROM pins")
    done = query(registry, "SELECT device_id, pin_sha256, statement FROM completions")
    receipts = {row[0] for row in query(registry, "SELECT statement_sha256 FROM receipts")}
    if len(pins) > 1 or len(done) > 1:
        yield f"{len(pins)} pins and {len(done)} completions for one device"
    if scene.passed and (len(pins), len(done)) != (1, 1):
        yield f"passed, and the registry has {len(pins)} pins and {len(done)} completions"
    if done and done[0][:2] != pins[0]:
        yield "the completion closes another pin"
    for name in [each[1] for each in pins] + [Sealed.of(each[2]).sha256 for each in done]:
        if scene.passed and name not in receipts:
            yield f"no receipt for {name[:16]}"


def one_job_for_life(scene: Scene) -> Iterator[str]:
    found = [(station, job) for station, job, _ in scene.jobs()]
    for station in scene.stations:
        if sum(each == station for each, _ in found) > 1:
            yield f"{station} has several jobs for one device and order"
    if scene.passed and not found:
        yield "passed without a job"


def same_job_same_bytes(scene: Scene) -> Iterator[str]:
    pin = scene.pin()
    for station, job, records in scene.jobs():
        for intent, signed in (("intent", "pin"), ("completion-intent", "completion")):
            ours = signed in records and records[signed].body["station"] == station  # else finished elsewhere
            if ours and intent in records and records[intent].payload != records[signed].payload:
                yield f"{station}: {signed} was signed with other bytes than intended"
        counters = scene.place / station / "counters.db"
        for kind, payload in query(counters, "SELECT kind, payload FROM statements WHERE job = ?", job):
            intended = records.get({"pin": "intent", "completion": "completion-intent"}[kind])
            if intended is None or intended.payload != payload:
                yield f"{station}: the signer was asked for a {kind} that was never intended"
        kept = (
            "pin" in records and "pin-refused" not in records
        )  # a collected key brings its job: two stations, one job
        if kept and pin is not None and pin.body["job"] == job and records["pin"].payload != pin.payload:
            yield f"{station}: the registry holds other bytes for this job"


def one_statement_and_one_count(scene: Scene) -> Iterator[str]:
    """Per signer: one pin statement a device, counts = distinct devices, signatures made = payloads + re-signs."""
    for station in scene.stations:
        counters = scene.place / station / "counters.db"
        rows = query(counters, "SELECT kind, device_id, envelope IS NOT NULL, resigned FROM statements")
        pins, completions = query(counters, "SELECT pins, completions FROM orders")[0]
        for kind, counted in (("pin", pins), ("completion", completions)):
            devices = [device for each, device, _, _ in rows if each == kind]
            if len(devices) != len(set(devices)):
                yield f"{station}: {len(devices)} different {kind} statements for one device"
            if counted != len(set(devices)):
                yield f"{station}: {counted} {kind}s counted, {len(set(devices))} devices signed for"
        yield from _token_against_count(counters, scene.place / station / SIGNED, rows, station)
        if scene.passed and len(scene.stations) == 1 and pins != 1:
            yield f"passed, and {pins} units counted"


def _token_against_count(
    counters: Path, signed: Path, rows: list[tuple[str, str, bool, int]], station: str
) -> Iterator[str]:
    """A crash between the count and the token leaves the count one too high, never too low."""
    by_purpose = {purpose: (first, again) for purpose, first, again in query(counters, "SELECT * FROM signatures")}
    made = signed.read_text().split() if signed.exists() else []
    for kind in ("pin", "completion"):
        first, again = by_purpose.get(kind, (0, 0))
        finished = sum(1 for each, _, done, _ in rows if each == kind and done)
        if not finished <= made.count(kind) <= first + again:
            yield f"{station}: token made {made.count(kind)} {kind} signatures, counted {first} + {again}, stored {finished}"


def completion_only_with_everything(scene: Scene) -> Iterator[str]:
    """No completion without receipt, second proof, read-back and the device's own closing report, all verified."""
    for station, job, records in scene.jobs():
        done = records.get(_DONE_RESULT)
        if done is None:
            continue
        yield from (f"{station}: {each}" for each in _completion(scene, job, records, done))


def _completion(scene: Scene, job: str, records: dict[str, Sealed], done: Sealed) -> Iterator[str]:
    body, root = done.body, scene.root.root
    pin, receipt = records.get("pin"), records.get("pin-receipt")
    if pin is None or receipt is None:
        yield "completed without pin statement and receipt"
        return
    spki = base64.b64decode(pin.body["spki"])
    if not done.signed_by(root.completion_key(body["station"]).spki):
        yield "the completion's signature does not verify"
    if not pin.signed_by(root.pin_key(pin.body["station"]).spki):
        yield "the pin statement's signature does not verify"
    if not receipt.signed_by(root.receipt_key.spki) or receipt.body["statement_sha256"] != pin.sha256:
        yield "the receipt is not the registry's word on this pin"
    if (body["pin_sha256"], body["receipt_sha256"]) != (pin.sha256, receipt.sha256):
        yield "the completion names another pin or receipt"
    if body["verification"]["possession"]["context"] != "verify" or not _possession(body["verification"], spki, scene):
        yield "no second proof of possession"
    closing = {name: base64.b64decode(value) for name, value in body["closing"].items()}
    signed = b"device-report-v1\0" + closing["challenge"] + closing["report"]
    if not disk.verifies(spki, closing["signature"], signed):
        yield "the closing report is not the device's"
    if scene.work.handshakes and not _met(body, root.cloud_keys.handshake):
        yield "no report of a live handshake of this job"
    if not body["write_refused_after_lock"] or bytes.fromhex(job) not in closing["report"]:
        yield "no refused write, or a report about another job"


def _met(done: dict[str, Any], handshake_key: bytes) -> bool:
    """Whether the device service's word of it is in the completion, about the same job, device and key."""
    report = done["verification"]["handshake_report"]
    if report is None:
        return False
    sealed = disk.Sealed.of(json.dumps(report).encode())
    same = ("job", "device_id", "fingerprint", "cloud_fingerprint", "station")
    return sealed.signed_by(handshake_key) and all(sealed.body[name] == done[name] for name in same)


def _possession(holder: dict[str, dict[str, object]], spki: bytes, scene: Scene) -> bool:
    proof = holder["possession"]
    context, signatures = str(proof["context"]).encode(), proof["signatures"]
    assert isinstance(signatures, list)
    message = b"device-proof-v1\0\x0c" + bytes.fromhex(scene.device.device_id) + bytes([len(context)]) + context
    message += base64.b64decode(str(proof["challenge"]))
    return len(signatures) == 2 and all(disk.verifies(spki, base64.b64decode(each), message) for each in signatures)


def steps_in_order(scene: Scene) -> Iterator[str]:
    for station, _, records in scene.jobs():
        found = [kind for kind in records if kind in _ORDER_OF_RECORDS]
        if found != [kind for kind in _ORDER_OF_RECORDS if kind in found]:
            yield f"{station}: records in the order {found}"


def device_as_completed(scene: Scene) -> Iterator[str]:
    """What the completion says is what flash holds: anchor of the order, locked for this job."""
    if not any(_DONE_RESULT in records for _, _, records in scene.jobs()):
        return
    device, work = scene.device, scene.work
    wanted = (work.cloud_key, work.authority_key, {"tcp": 0, "udp": 1}[work.service], work.host, work.port)
    if device.anchor != wanted:
        yield "the anchor in flash is not the order's"
    if device.locked_for is None or device.locked_for != device.job:
        yield "completed, and the device is not locked for its job"


def outbox_tells_the_truth(scene: Scene) -> Iterator[str]:
    for station in scene.stations:
        waiting = disk.pending(scene.ledger(station))
        if waiting and scene.passed and len(scene.stations) == 1:
            yield f"{station}: {waiting} still waits although the registry answers"
        for _, job, records in scene.jobs():
            answered = [kind for kind in _PIN_RESULT if kind in records]
            if len(answered) > 1:
                yield f"{station}: job {job} was received and refused"


def delivered_is_there(scene: Scene) -> Iterator[str]:
    """What a ledger has a receipt for, the registry holds, with this very receipt."""
    held = dict(query(scene.place / "registry.db", "SELECT statement_sha256, envelope FROM receipts"))
    for station, job, records in scene.jobs():
        for subject in ("pin", "completion"):
            receipt = records.get(f"{subject}-receipt")
            named = receipt and held.get(receipt.body["statement_sha256"])
            if receipt is not None and (named is None or Sealed.of(named).payload != receipt.payload):
                yield f"{station}: job {job} has a receipt for its {subject} that the registry never gave"


def log_never_shrinks(scene: Scene) -> Iterator[str]:
    for station, earlier in scene.logs_before.items():
        now = disk.entries(scene.ledger(station))
        for before in earlier:
            if now[: len(before)] != before:
                yield f"{station}: the log lost or changed leaves"


def log_hashes_to_its_frontier(scene: Scene) -> Iterator[str]:
    """RFC 6962 section 2.1, computed here from the entries alone."""
    for station in scene.stations:
        for index, entry, hashed in query(scene.ledger(station), 'SELECT "index", entry, leaf_hash FROM leaves'):
            if hashlib.sha256(b"\0" + entry).digest() != hashed:
                yield f"{station}: leaf {index} does not hash to its hash"


def no_private_key_in_any_record(scene: Scene) -> Iterator[str]:
    secrets = {"device": scene.device.scalar, **_signing_keys(scene)}
    for path in [*scene.place.glob("*.db"), *scene.place.glob("*/*.db")]:
        held = disk.everything(path)
        for name, secret in secrets.items():
            if secret is not None and any(each in held for each in _spellings(secret)):
                yield f"the private key of {name} is in {path.name}"


def _signing_keys(scene: Scene) -> dict[str, bytes]:
    keys = {
        path: load_pem_private_key(path.read_bytes(), None, unsafe_skip_rsa_key_validation=True)
        for path in scene.place.glob("*/*.pem")
    }
    return {
        f"{path.parent.name}/{path.stem}": key.private_numbers().private_value.to_bytes(32)
        for path, key in keys.items()
        if isinstance(key, ec.EllipticCurvePrivateKey)
    }


def _spellings(secret: bytes) -> list[bytes]:
    """Raw, hex, and the middle of base64 at each of its three alignments."""
    coded = [base64.b64encode(bytes(shift) + secret)[4:-4] for shift in range(3)]
    return [secret, secret.hex().encode(), secret.hex().upper().encode(), *coded]


CHECKS: tuple[Callable[[Scene], Iterator[str]], ...] = (
    nothing_left_before_its_record,
    one_device_one_key,
    one_active_pin,
    one_job_for_life,
    same_job_same_bytes,
    one_statement_and_one_count,
    completion_only_with_everything,
    steps_in_order,
    device_as_completed,
    outbox_tells_the_truth,
    delivered_is_there,
    log_never_shrinks,
    log_hashes_to_its_frontier,
    no_private_key_in_any_record,
)
