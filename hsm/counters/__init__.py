"""The signer's memory on disk: orders, challenges, what was signed, how much.

Never decides: that is `hsm.policy`. How the file is made, opened and written is `hsm.counters.file`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Literal

from hsm.counters.documents import Documents
from hsm.counters.file import CounterFile
from hsm.records import Binding, Kind, KnownHead, Reserved
from trust.account import OrderCount
from trust.dsse import Envelope
from trust.root import Seen

_SWEEP_EVERY_S = 3600
_TOLD = (
    "rowid IN (SELECT rowid FROM orders ORDER BY "
    "(returned IS NULL AND pins < pin_limit AND completions - scrapped < completion_limit) DESC, rowid DESC LIMIT 100)"
)
_TAKE = MappingProxyType(
    {
        # No unit is begun that could not be completed any more.
        "pin": "UPDATE orders SET pins = pins + 1 "
        "WHERE id = ? AND pins < pin_limit AND completions - scrapped < completion_limit",
        "completion": "UPDATE orders SET completions = completions + 1 "
        "WHERE id = ? AND completions - scrapped < completion_limit",
    }
)


class Counters(CounterFile):
    """What is remembered, by what it is about. Single statements commit alone unless inside `transaction`."""

    _swept_at: int | None = None

    def order(self, order_id: str) -> bytes | None:
        """The order's envelope as imported."""
        row = self.run("SELECT envelope FROM orders WHERE id = ?", order_id).fetchone()
        return None if row is None else bytes(row[0])

    def add_order(self, order_id: str, envelope: bytes, *, pins: int, completions: int) -> bool:
        """Remember an order and its limits; False if the id is known."""
        sql = "INSERT INTO orders VALUES (?, ?, ?, ?, 0, 0, 0, 0, NULL) ON CONFLICT DO NOTHING"
        return self.run(sql, order_id, envelope, pins, completions).rowcount == 1

    def approve_order(self, order_id: str, envelope: bytes) -> None:
        """Keep the order's body with other approvals."""
        self.run("UPDATE orders SET envelope = ? WHERE id = ?", envelope, order_id)

    def root_seen(self) -> Seen | None:
        """The newest trust root that was taken up."""
        row = self.run("SELECT version, sha256 FROM roots ORDER BY version DESC LIMIT 1").fetchone()
        return None if row is None else Seen(*row)

    def take_up_root(self, root: Seen, now: int) -> None:
        """Remember a newer trust root (Unix seconds)."""
        self.run("INSERT INTO roots VALUES (?, ?, ?)", root.version, root.sha256, now)

    @property
    def newest_time(self) -> int:
        """The newest time that was seen signed, in Unix seconds; 0 before the first."""
        row = self.run("SELECT newest FROM times").fetchone()
        return 0 if row is None else int(row[0])

    def see_time(self, newest: int) -> None:
        """Remember a time that was seen signed, if it is newer."""
        if newest > self.newest_time:
            self.run("INSERT INTO times VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET newest = excluded.newest", newest)

    def rebind(self, keys_sha256: str) -> None:
        """The file belongs to these keys from now on: an act has replaced one."""
        self.run("UPDATE owner SET keys_sha256 = ?", keys_sha256)

    @property
    def documents(self) -> Documents:
        """Leases, returns, acts and stops."""
        return Documents(self)

    def order_counts(self) -> list[OrderCount]:
        """Orders with counts and limits, in the order of their import: all, or the 100 that matter most.

        Those first under which something can still be begun, then the newest: more do not fit into a frame, or a leaf.
        """
        return self._counts(_TOLD)

    def order_count(self, order_id: str) -> OrderCount | None:
        """One order with its counts and limits."""
        return next(iter(self._counts("id = ?", order_id)), None)

    def _counts(self, where: str, *values: object) -> list[OrderCount]:
        columns = "id, envelope, pins, pin_limit, completions, completion_limit, scrapped, raised, returned"
        sql = f"SELECT {columns} FROM orders WHERE {where} ORDER BY rowid"  # noqa: S608 - constant text
        return [
            OrderCount(
                order_id=name, order_sha256=Envelope.from_json(envelope).payload_sha256, pins=counts[0],
                pin_limit=counts[1], completions=counts[2], completion_limit=counts[3], scrapped=counts[4],
                raised=counts[5], returned=counts[6] is not None,
            )
            for name, envelope, *counts in self.run(sql, *values)
        ]  # fmt: skip

    def raise_limit(self, order_id: str, units: int) -> bool:
        """Allow so many pin statements more; False without such an order, or when its rest was returned."""
        sql = "UPDATE orders SET pin_limit = pin_limit + ?, raised = raised + ? WHERE id = ? AND returned IS NULL"
        return self.run(sql, units, units, order_id).rowcount == 1

    def return_rest(self, order_id: str, payload_sha256: str, *, pin_limit: int, completion_limit: int) -> None:
        """Set the limits to what is used; the document says what was given back."""
        sql = "UPDATE orders SET pin_limit = ?, completion_limit = ?, returned = ? WHERE id = ?"
        self.run(sql, pin_limit, completion_limit, payload_sha256, order_id)

    def returned(self, order_id: str) -> str | None:
        """Hash of the document by which the rest of the order was returned."""
        row = self.run("SELECT returned FROM orders WHERE id = ?", order_id).fetchone()
        return None if row is None else row[0]

    def scrap(self, device_id: str, order_id: str, revocation: bytes, *, frees_place: bool) -> bool:
        """Take a device out for good; a completed one may free a place of its order. False if it was out already."""
        completed = int(frees_place and self.completion_of_device(order_id, device_id) is not None)
        row = (device_id, order_id, completed, revocation)
        if self.run("INSERT INTO scraps VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", *row).rowcount == 0:
            return False
        self.run("UPDATE orders SET scrapped = scrapped + ? WHERE id = ?", completed, order_id)
        return True

    def scrapped(self, device_id: str) -> bool:
        """Whether the device is out for good."""
        return self.run("SELECT 1 FROM scraps WHERE device_id = ?", device_id).fetchone() is not None

    def scraps_of(self, order_id: str) -> int:
        """How many devices of the order that were signed for here are out for good."""
        sql = (
            "SELECT count(*) FROM scraps JOIN statements USING (device_id) "
            "WHERE statements.kind = 'pin' AND statements.order_id = ?"
        )
        return int(self.run(sql, order_id).fetchone()[0])

    def finished_for_others(self, order_id: str) -> int:
        """Live devices of the order that were completed here, and signed for by another station's signer."""
        sql = (
            "SELECT count(*) FROM statements AS done WHERE done.kind = 'completion' AND done.order_id = ? "
            "AND NOT EXISTS (SELECT 1 FROM scraps WHERE scraps.device_id = done.device_id) "
            "AND NOT EXISTS (SELECT 1 FROM statements AS own WHERE own.kind = 'pin' AND own.device_id = done.device_id)"
        )
        return int(self.run(sql, order_id).fetchone()[0])

    def pins_made(self) -> int:
        """Pin statements of this signer, in all orders."""
        return int(self.run("SELECT coalesce(max(number), 0) FROM statements").fetchone()[0])

    def pins_after(self, number: int, most: int) -> list[bytes]:
        """Payload hashes (32 bytes) of the pin statements after this number, oldest first."""
        sql = "SELECT payload_sha256 FROM statements WHERE number > ? ORDER BY number LIMIT ?"
        return [bytes.fromhex(payload_sha256) for (payload_sha256,) in self.run(sql, number, most)]

    def add_challenge(self, challenge: bytes, binding: Binding, *, now: int, forget_before: int) -> None:
        """Remember a challenge; about once an hour, unused ones issued before `forget_before` are dropped (Unix s)."""
        if self._swept_at is None or abs(now - self._swept_at) >= _SWEEP_EVERY_S:
            self.run("DELETE FROM challenges WHERE used_by IS NULL AND issued_at < ?", forget_before)
            self._swept_at = now
        values = (challenge, binding.purpose, binding.order_id, binding.job, binding.device_id, now)
        self.run("INSERT INTO challenges VALUES (?, ?, ?, ?, ?, ?, NULL)", *values)

    def use_challenge(self, challenge: bytes, binding: Binding, *, used_by: str, issued: tuple[int, int]) -> bool:
        """Use it up for the statement with this payload hash; False if it is unknown, used, expired or for another."""
        return (
            self.run(
                "UPDATE challenges SET used_by = ? WHERE challenge = ? AND purpose = ? AND order_id = ? AND job = ? "
                "AND device_id = ? AND used_by IS NULL AND issued_at BETWEEN ? AND ?",
                used_by, challenge, binding.purpose, binding.order_id, binding.job, binding.device_id, *issued,
            ).rowcount
            == 1
        )  # fmt: skip

    def reserved(self, payload_sha256: str) -> Reserved | None:
        """The statement with this payload."""
        return self._one_reserved("payload_sha256 = ?", payload_sha256)

    def reserved_of_job(self, kind: Kind, job: str) -> Reserved | None:
        """The job's statement of this kind (not for receipts)."""
        return self._one_reserved("kind = ? AND job = ? AND kind <> 'receipt'", kind, job)

    def pin_of_device(self, device_id: str) -> Reserved | None:
        """The device's pin statement, whatever the order: a signer makes one for a device."""
        return self._one_reserved("kind = 'pin' AND device_id = ?", device_id)

    def completion_of_device(self, order_id: str, device_id: str) -> Reserved | None:
        """The device's completion under this order."""
        return self._one_reserved("kind = 'completion' AND order_id = ? AND device_id = ?", order_id, device_id)

    def claim_key(self, fingerprint: str, device_id: str) -> str:
        """The device that this key belongs to: this one if it is new, else the first that was signed for with it."""
        if self.run("INSERT INTO keys VALUES (?, ?) ON CONFLICT DO NOTHING", fingerprint, device_id).rowcount == 1:
            return device_id
        return str(self.run("SELECT device_id FROM keys WHERE fingerprint = ?", fingerprint).fetchone()[0])

    def claim_nonce(self, r: bytes, device_id: str) -> str | None:
        """Remember the r of an ECDSA signature of the device (32 bytes); the device that has used it before, if any."""
        sql = "INSERT INTO nonces VALUES (?, ?) ON CONFLICT DO NOTHING"
        if self.run(sql, r, device_id).rowcount == 1:
            return None
        return str(self.run("SELECT device_id FROM nonces WHERE r = ?", r).fetchone()[0])

    def take_unit(self, kind: Literal["pin", "completion"], order_id: str) -> bool:
        """Count one more unit of the order; False, and nothing counted, when its limit is reached."""
        return self.run(_TAKE[kind], order_id).rowcount == 1

    def add_reserved(self, row: Reserved) -> None:
        """Make a statement's payload durable, not signed yet."""
        self.run(
            "INSERT INTO statements VALUES (?, ?, "
            "CASE ? WHEN 'pin' THEN (SELECT coalesce(max(number), 0) + 1 FROM statements) END, ?, ?, ?, ?, ?, NULL, 0)",
            row.payload_sha256, row.kind, row.kind, row.order_id, row.job, row.device_id, row.fingerprint, row.payload,
        )  # fmt: skip

    def store_envelope(self, payload_sha256: str, envelope: bytes) -> bytes:
        """Keep the signed envelope; returns the one that is kept, which is the first."""
        sql = "UPDATE statements SET envelope = ? WHERE payload_sha256 = ? AND envelope IS NULL"
        if self.run(sql, envelope, payload_sha256).rowcount == 1:
            return envelope
        return bytes(self.run("SELECT envelope FROM statements WHERE payload_sha256 = ?", payload_sha256).fetchone()[0])

    def count_again(self, purpose: str, payload_sha256: str) -> None:
        """Count a payload that is signed once more because its first signature never reached the disk."""
        self.run("UPDATE statements SET resigned = resigned + 1 WHERE payload_sha256 = ?", payload_sha256)
        self.count_signature(purpose, again=True)

    def count_signature(self, purpose: str, *, again: bool = False, times: int = 1) -> None:
        """Count payloads to be signed, or signed again."""
        first, more = (0, times) if again else (times, 0)
        self.run(
            "INSERT INTO signatures VALUES (?, ?, ?) ON CONFLICT (purpose) DO UPDATE "
            "SET payloads = payloads + excluded.payloads, resigned = resigned + excluded.resigned",
            purpose, first, more,
        )  # fmt: skip

    def signatures(self) -> dict[str, tuple[int, int]]:
        """Distinct payloads and re-signs by purpose."""
        return {purpose: (payloads, again) for purpose, payloads, again in self.run("SELECT * FROM signatures")}

    def head(self, origin: str, size: int | None = None) -> KnownHead | None:
        """The log's checkpoint of this size, or its last one."""
        sql = "SELECT size, root_hash, note FROM checkpoints WHERE origin = ?"
        if size is None:
            row = self.run(f"{sql} ORDER BY size DESC LIMIT 1", origin).fetchone()
        else:
            row = self.run(f"{sql} AND size = ?", origin, size).fetchone()
        return None if row is None else KnownHead(size=row[0], root_hash=bytes(row[1]), note=row[2])

    def heads(self) -> dict[str, KnownHead]:
        """The last checkpoint of each log."""
        origins = [origin for (origin,) in self.run("SELECT DISTINCT origin FROM checkpoints")]
        return {origin: head for origin in origins if (head := self.head(origin)) is not None}

    def add_head(self, origin: str, size: int, root_hash: bytes) -> None:
        """Make a checkpoint durable, not signed yet."""
        self.run("INSERT INTO checkpoints VALUES (?, ?, ?, NULL)", origin, size, root_hash)

    def store_note(self, origin: str, size: int, note: str) -> str:
        """Keep the signed note; returns the one that is kept, which is the first."""
        self.run("UPDATE checkpoints SET note = ? WHERE origin = ? AND size = ? AND note IS NULL", note, origin, size)
        return str(self.run("SELECT note FROM checkpoints WHERE origin = ? AND size = ?", origin, size).fetchone()[0])

    def _one_reserved(self, where: str, *values: object) -> Reserved | None:
        columns = "kind, order_id, job, device_id, fingerprint, payload_sha256, payload, envelope"
        row = self.run(f"SELECT {columns} FROM statements WHERE {where}", *values).fetchone()  # noqa: S608 - constant text
        return None if row is None else Reserved(**dict(zip(columns.split(", "), row, strict=True)))
