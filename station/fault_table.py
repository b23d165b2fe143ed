"""One table from a fault's code to disposition, sentence and remedy. The operator guide is made from it.

Which leaf error is which fault is in `station.leaves`. Never raises and never prints.
"""

from __future__ import annotations

from types import MappingProxyType

from station.disposition import Disposition, Row
from station.exits import Exit
from station.handshake_faults import ROWS as HANDSHAKE_ROWS
from station.rework.faults import ROWS

_R, _N, _H, _Q, _L, _S = Disposition
_WEAK, _ORDER = Exit.WEAK_KEY, Exit.ORDER_EXHAUSTED
_INSERT_AGAIN = "Check cable and contacts, then insert the unit again."
_ENGINEER = "Put the unit in the quarantine bin and call the line engineer."

TABLE: MappingProxyType[str, Row] = MappingProxyType(
    {
        # the port and the device
        "port-busy": Row(
            _R,
            "Another program holds this slot's port.",
            "Close it (ModemManager and other stations are the usual ones), then retry.",
        ),
        "port-missing": Row(
            _R, "This slot's port is not there.", "Plug the adapter in or correct the port in the slots file."
        ),
        "port-not-allowed": Row(
            _R,
            "The operating system refuses this slot's port.",
            "Put the station's user in the group that owns the port (dialout).",
        ),
        "link-failed": Row(_R, "The port could not be set up.", "Replug the adapter, then retry."),
        "no-answer": Row(_R, "The device does not answer.", _INSERT_AGAIN),
        "link-lost": Row(_R, "The connection to the device was lost.", _INSERT_AGAIN),
        "garbled": Row(
            _R, "The device's answers are garbled.", "Check cable, baud rate and ground, then insert the unit again."
        ),
        "device-busy": Row(_R, "The device stayed busy.", _INSERT_AGAIN),
        "generation-failed": Row(
            _R,
            "The device could not make a key.",
            "Insert the unit again; after a second time put it in the repair bin.",
        ),
        "power-failed": Row(
            _R, "The slot's power switch did not obey.", "Check the switch of this slot, then insert the unit again."
        ),
        "bad-proof": Row(
            _R,
            "The device's signature does not verify.",
            "Insert the unit again; after a second time put it in the repair bin.",
        ),
        "indicator-failed": Row(
            _R, "The jig's lamps do not answer.", "Check the jig's controller, then insert the unit again."
        ),
        # the unit is not what it should be
        "wrong-product": Row(_N, "This unit is another product than the order's.", "Put it in the wrong-product bin."),
        "firmware-not-allowed": Row(
            _N,
            "This unit's firmware is not on the order's list.",
            "Load the order's firmware, then insert the unit again.",
        ),
        "unit-not-ordered": Row(
            _N,
            "The order does not let this unit be made.",
            "Keep it apart as it is: the detail says what the order asks for.",
        ),
        "passed-other-order": Row(
            _N,
            "A unit with this id has passed under another order.",
            "Verify it under that order; only then it goes with that order's good units.",
        ),
        "order-full": Row(
            _N,
            "The order has no room for this unit: its units have passed, or are begun.",
            "Keep the unit for the next order; under this one it can begin when one that is begun has failed for good.",
            Exit.ORDER_EXHAUSTED,
        ),
        "registry-needed": Row(
            _N,
            "The unit carries a key of unknown origin and the registry does not answer.",
            "Leave the unit as it is; insert it again when the registry is back.",
        ),
        "device-refused": Row(_Q, "The device refused a command that it must take.", _ENGINEER),
        "rng-failed": Row(
            _Q,
            "The device's random number generator failed its health test.",
            "Defective unit: put it in the quarantine bin.",
        ),
        "unit-changed": Row(_Q, "The unit answers with another identity than before.", _ENGINEER),
        "key-changed": Row(_Q, "The unit carries another key than this job's.", _ENGINEER),
        "key-lost": Row(_Q, "The unit has lost the key that this job is about.", _ENGINEER),
        "locked-unknown": Row(_Q, "The unit is locked and neither ledger nor registry knows it.", _ENGINEER),
        "origin-not-allowed": Row(
            _Q, "The unit brings a key that the order does not allow to be collected.", _ENGINEER
        ),
        "device-scrapped": Row(_Q, "This unit was scrapped: its id is burned.", "Destroy it as scrap."),
        "other-order": Row(_Q, "The unit was begun under another order.", _ENGINEER),
        "job-conflict": Row(
            _Q, "Another station took this unit over.", "Finish it at that station or put it in the quarantine bin."
        ),
        "device-twice": Row(
            _Q,
            "Two slots hold units with the same device id.",
            "Put this unit in the quarantine bin and keep the other one apart when it is done: one is a clone.",
        ),
        "too-many-attempts": Row(_Q, "The unit failed too often.", _ENGINEER),
        "anchor-differs": Row(_Q, "The anchor read back differs from the order's.", _ENGINEER),
        "lock-not-holding": Row(_Q, "The unit took a write after it was locked, or is not locked.", _ENGINEER),
        "report-differs": Row(_Q, "The unit's closing report differs from what was written.", _ENGINEER),
        "outcome-unknown": Row(_Q, "A write was not answered and cannot be read back.", _ENGINEER),
        "nonce-repeated": Row(
            _Q,
            "The unit reused a signature nonce: its key is exposed.",
            "Defective unit: put it in the quarantine bin.",
            _WEAK,
        ),
        "key-weak": Row(_Q, "The unit's key failed vetting.", "Defective unit: put it in the quarantine bin.", _WEAK),
        "other-key-pinned": Row(_Q, "The registry has another key pinned for this unit.", _ENGINEER),
        "pin-refused": Row(_Q, "The registry refused this unit's pin statement.", _ENGINEER),
        "completion-refused": Row(
            _Q, "The registry refused this unit's completion: it signed with a nonce of another unit.", _ENGINEER, _WEAK
        ),
        "challenge-unknown": Row(
            _Q, "The signer does not know the challenge of this unit's statement any more.", _ENGINEER
        ),
        "unit-not-signed": Row(_Q, "The signer does not take this unit's statement.", _ENGINEER),
        "signed-otherwise": Row(_Q, "The signer has already signed something else for this unit.", _ENGINEER),
        **ROWS,
        **HANDSHAKE_ROWS,
        # the line
        "key-duplicate": Row(
            _L,
            "Two units have the same key.",
            "Stop using this firmware: its random numbers repeat. Call the line engineer.",
            _WEAK,
        ),
        "order-refuses": Row(
            _L, "The order does not allow this.", "Check order and product, then start again.", _ORDER
        ),
        "order-exhausted": Row(_L, "The order is used up.", "Start the next order.", _ORDER),
        "order-spent": Row(
            _L,
            "The registry takes no more pins of this order from this station; the signer has signed for more.",
            "Keep the unit: it is signed for, and goes on when inserted again once officers have raised the allowance "
            "(station-signer act new --help). If nobody else has used this signer, call the security officer first: "
            "there may be two of it.",
            _ORDER,
        ),
        "signer-down": Row(
            _L,
            "The signer does not answer.",
            "Start the signer: its service, or station-signer serve --dir DIR --root ROOT; if it runs, see to its "
            "token, as the detail says. Units in work go on when inserted again.",
            Exit.LINE_STOPPED,
        ),
        "signer-pin-wrong": Row(
            _L,
            "The signer's token refuses its user PIN, or has no try to spare.",
            "Try no other PIN: call the security officer (station-signer status --dir DIR shows what the token said).",
            Exit.LINE_STOPPED,
        ),
        "signer-refused": Row(_L, "The signer refused.", "Read the detail; call the line engineer.", Exit.LINE_STOPPED),
        "signer-wrong": Row(
            _L,
            "The signer answered with something else than was asked.",
            "Do not go on: call the security officer.",
            Exit.LINE_STOPPED,
        ),
        "held-too-many": Row(
            _L,
            "As many units are held as the order allows to wait for the registry.",
            "Finish held units first, when the registry, or its device service, answers (station check --config FILE).",
            Exit.LINE_STOPPED,
        ),
        "lease-needed": Row(
            _L,
            "The signer's lease is used up, and the registry does not answer.",
            "When it answers (station check --config FILE), start again: units in work go on when inserted again.",
            Exit.LINE_STOPPED,
        ),
        "lease-refused": Row(
            _L,
            "The signer's memory is not what the registry has seen of it.",
            "Do not go on: the signer was restored or copied. Call the security officer.",
            Exit.LINE_STOPPED,
        ),
        "signer-stopped": Row(
            _L,
            "The signer has stopped itself.",
            "Call the security officer: two officers lift a stop (station-signer act new --help).",
            Exit.LINE_STOPPED,
        ),
        "signer-surplus": Row(
            _L,
            "The signer has signed for more units than this ledger knows of.",
            "Do not go on: somebody else has used the signer, or the ledger is an old one. Call the security officer.",
            Exit.LINE_STOPPED,
        ),
        "ledger-failed": Row(
            _L,
            "The station's ledger cannot be written.",
            "Free disk space or replace the disk, then start again.",
            Exit.LINE_STOPPED,
        ),
        "ledger-conflict": Row(
            _L,
            "The ledger has other bytes for this step.",
            "Run station ledger verify --config FILE; call the line engineer.",
            Exit.LINE_STOPPED,
        ),
        "ledger-differs": Row(
            _L,
            "Ledger and signer do not tell of the same log.",
            "Begin no unit and no new ledger: put the newest ledger back in its place, or call the security officer.",
            Exit.LINE_STOPPED,
        ),
        "registry-refused": Row(
            _L,
            "The registry refuses this station.",
            "Read the detail; check root, order and environment.",
            Exit.LINE_STOPPED,
        ),
        "access-refused": Row(
            _L,
            "The registry does not take this station for one of its own.",
            "Read the detail: the registry's trust root must name this station, with its signer's keys (station check "
            "--config FILE). Units in work go on when inserted again.",
            Exit.LINE_STOPPED,
        ),
        "clocks-differ": Row(
            _L,
            "Registry, signer and station do not have the same time.",
            "Set the clock that is wrong, as the detail says; then start again. Units in work go on when inserted "
            "again.",
            Exit.LINE_STOPPED,
        ),
        "registry-wrong": Row(
            _L,
            "The registry's answer does not verify.",
            "Do not go on: call the security officer.",
            Exit.LINE_STOPPED,
        ),
        "internal": Row(
            _L,
            "The station found an error in itself.",
            "Keep the log, call the line engineer; units in work go on when inserted again.",
            Exit.LINE_STOPPED,
        ),
        "line-stopped": Row(
            _N, "The line was stopped while this unit was in work.", "Insert the unit again when the line runs."
        ),
        # held
        "registry-unreachable": Row(
            _H,
            "The registry does not answer.",
            "Put the unit in the hold bin; insert it again when the registry answers (station check --config FILE).",
            Exit.HELD,
        ),
        # set-up
        "setup": Row(_S, "The station cannot start.", "Correct this, then start again.", Exit.USAGE),
    }
)
