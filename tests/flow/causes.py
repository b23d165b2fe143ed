"""A real cause for every fault that a unit can meet: what must happen on the bench for each code of the table.

`ELSEWHERE` are the codes that no unit can cause, each with the reason and the place where it is tested.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fixtures.device import TunnelFault
from fixtures.families.smp.emulated.faults import LockFault, Strike, Trouble, Verb
from fixtures.link import LinkError, PortNotAllowedError
from tests.flow import handshake_causes as meet
from tests.flow import lease_causes as lease
from tests.flow import line_causes as line
from tests.flow import unit_causes as unit
from tests.flow.unit_causes import Play
from trust.order import Firmware


@dataclass(frozen=True, slots=True)
class Cause:
    """How to bring a fault about; `order` (and `leases`: units a lease) and `stations` are those of the plant."""

    play: Play
    order: dict[str, Any] = field(default_factory=dict)
    stations: tuple[str, ...] = ("st-01",)


CAUSES: dict[str, list[Cause]] = {
    "port-busy": [Cause(unit.port_busy)],
    "port-missing": [Cause(unit.port_missing)],
    "port-not-allowed": [Cause(unit.port_refuses(PortNotAllowedError("not for this user")))],
    "link-failed": [Cause(unit.port_refuses(LinkError("no such baud rate")))],
    "no-answer": [Cause(unit.no_answer)],
    "link-lost": [Cause(unit.link_lost)],
    "garbled": [Cause(unit.device_with(Strike(Verb.IDENTIFY, Trouble.REFUSED, times=9, code=99)))],
    "device-busy": [Cause(unit.device_busy)],
    "generation-failed": [Cause(unit.device_with(generation_fails=True))],
    "power-failed": [Cause(unit.power_failed)],
    "bad-proof": [Cause(unit.bad_proof)],
    "indicator-failed": [Cause(unit.indicator_failed)],
    "wrong-product": [Cause(unit.device_with(), {"product_id": 8})],
    "unit-not-ordered": [Cause(unit.device_with(), {"devices": ("ab" * 12,)})],
    "firmware-not-allowed": [Cause(unit.device_with(), {"firmware": (Firmware(sha256="ab" * 32),)})],
    "order-full": [Cause(unit.order_full, {"quantity": 1, "allowance": 1})],
    "registry-needed": [Cause(unit.registry_needed)],
    "device-refused": [Cause(unit.device_with(Strike(Verb.WRITE_ANCHOR, Trouble.REFUSED, code=10)))],
    "rng-failed": [
        Cause(unit.device_with(rng_stuck=True)),
        Cause(unit.device_with(Strike(Verb.GENERATE, Trouble.REFUSED, code=7))),
    ],
    "unit-changed": [Cause(unit.device_with(id_after_reboot=b"\x01" * 12))],
    "key-changed": [Cause(unit.key_changed)],
    "key-lost": [Cause(unit.key_lost)],
    "locked-unknown": [Cause(unit.locked_unknown)],
    "origin-not-allowed": [Cause(unit.device_with(), {"origins": ("collected",)})],
    "other-order": [Cause(unit.begun_under_another_order), Cause(unit.pinned_under_another_order)],
    "passed-other-order": [Cause(unit.passed_other_order), Cause(unit.passed_other_order_and_the_registry_is_away)],
    "job-conflict": [Cause(unit.job_conflict, stations=("st-01", "st-02"))],
    "device-twice": [Cause(unit.device_twice)],
    "too-many-attempts": [Cause(unit.too_many_attempts)],
    "anchor-differs": [Cause(unit.device_with(anchor_corrupts=True))],
    "lock-not-holding": [
        Cause(unit.device_with(lock=LockFault.IGNORED)),
        Cause(unit.device_with(lock=LockFault.PRETENDED)),
    ],
    "report-differs": [Cause(unit.report_differs)],
    "outcome-unknown": [
        Cause(unit.device_with(Strike(Verb.WRITE_ANCHOR, Trouble.POWER_LOST_AFTER))),
        Cause(unit.device_with(Strike(Verb.LOCK, Trouble.POWER_LOST_BEFORE))),
    ],
    "nonce-repeated": [Cause(unit.nonce_repeated), Cause(unit.exposed_before)],
    "other-key-pinned": [Cause(unit.other_key_pinned)],
    "pin-refused": [Cause(unit.pin_refused, stations=("st-01", "st-02"))],
    "completion-refused": [Cause(unit.completion_refused, stations=("st-01", "st-02"))],
    "signed-otherwise": [Cause(unit.signed_otherwise)],
    "challenge-unknown": [Cause(unit.challenge_unknown)],
    "key-duplicate": [Cause(line.key_duplicate), Cause(line.nonce_of_another_unit)],
    "order-refuses": [Cause(line.order_refuses, {"origins": ("collected",)})],
    "order-exhausted": [Cause(line.order_exhausted, {"quantity": 1, "allowance": 0})],
    "signer-down": [Cause(line.signer_down)],
    "signer-pin-wrong": [Cause(line.signer_pin_wrong)],
    "signer-refused": [Cause(line.signer_refused)],
    "signer-wrong": [Cause(line.signer_wrong)],
    "ledger-failed": [Cause(line.ledger_failed)],
    "ledger-conflict": [Cause(line.ledger_conflict)],
    "registry-refused": [Cause(line.registry_refused)],
    "registry-wrong": [Cause(line.registry_wrong), Cause(meet.nothing_carried_for_a_receipted_pin, meet.ORDER)],
    "order-spent": [Cause(lease.order_spent, {"quantity": 2, "allowance": 0})],
    "held-too-many": [Cause(lease.held_too_many, {"offline_allowance": 1})],
    "lease-needed": [
        Cause(lease.lease_needed, {"leases": 5}),
        Cause(lease.lease_needed_in_mid_order, {"leases": 1}),
    ],
    "lease-refused": [
        Cause(lease.restored_signer_asks, {"leases": 1}),
        Cause(lease.restored_signer_signs, {"leases": 1}),
    ],
    "signer-stopped": [Cause(lease.signer_stopped), Cause(lease.signer_stopped_before_the_completion)],
    "device-scrapped": [
        Cause(lease.scrapped_before_its_signature, {"leases": 5}),
        Cause(lease.scrapped_before_its_completion, {"leases": 5}),
        Cause(lease.scrapped_says_the_registry),
    ],
    "handshake-not-trusted": [Cause(meet.service_of_another_key, meet.ORDER)],
    "handshake-refused": [Cause(meet.refused, meet.ORDER)],
    "handshake-other-protocol": [Cause(meet.unit_says(TunnelFault.OTHER_PROTOCOL), meet.ORDER)],
    "handshake-not-opened": [Cause(meet.not_opened, meet.ORDER)],
    "handshake-replayed": [Cause(meet.unit_says(TunnelFault.BAD_MESSAGE_ID), meet.ORDER)],
    "handshake-timed-out": [Cause(meet.silent, meet.ORDER), Cause(meet.unit_says(TunnelFault.TIMED_OUT), meet.ORDER)],
    "handshake-closed": [Cause(meet.unit_says(TunnelFault.REFUSED), meet.ORDER)],
    "handshake-unit-failed": [Cause(meet.unit_says(TunnelFault.OWN), meet.ORDER)],
    "unit-no-tunnel": [Cause(meet.no_client, {"handshakes": ("udp",)})],
    "device-service-away": [
        Cause(meet.away, meet.ORDER),
        Cause(meet.unable, meet.ORDER),
        Cause(meet.forgotten, meet.ORDER),
    ],
    "cloud-key-differs": [Cause(meet.order_for_another_cloud_key, meet.another_cloud_key())],
    "handshake-report-wrong": [
        Cause(meet.report_of_another_unit, meet.ORDER),
        Cause(meet.report_by_another_key, meet.ORDER),
        Cause(meet.no_report, meet.ORDER),
    ],
    "handshake-key-replaced": [Cause(meet.key_replaced_behind_the_intent, meet.ORDER)],
    "handshake-not-proved": [Cause(meet.signer_of_a_newer_root, meet.ORDER)],
    "line-stopped": [Cause(line.line_stopped)],
    "registry-unreachable": [Cause(line.registry_unreachable)],
}

ELSEWHERE = {
    "unit-not-signed": "the signer's second opinion on what the flow has refused before; its word is classified: "
    "test_a_statement_that_the_signer_does_not_take_quarantines_the_unit",
    "internal": "a bug of the station: test_a_bug_stops_the_line_and_does_not_vanish",
    "access-refused": "the registry is asked without HTTP here: tests/station/test_cloud_access.py",
    "clocks-differ": "likewise: tests/station/test_cloud_access.py",
    "ledger-differs": "before any unit: tests/cli/test_same_log.py",
    "signer-surplus": "signer and ledger are held against each other before, beside and after a batch: "
    "tests/station/test_agreement.py",
    "setup": "before any unit: nothing was started",
    **dict.fromkeys(
        ("unit-not-there", "unit-another", "unit-open", "unit-between-keys", "act-refused", "word-not-taken"),
        "of units that are reworked: tests/registry/test_rework.py, tests/cli/test_rework.py",
    ),
    "unit-rekeyed": "wants an approved act on record: tests/registry/test_rekeyed.py, tests/cli/test_rework.py",
    "key-weak": "every weak key that can be recognised so far is refused as no key at all (trust.keys); the signer's word for "
    "it is classified: test_a_weak_key_has_its_own_exit_code",
}
