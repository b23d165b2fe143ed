"""Rows of the fault table for a finished unit on the bench, whose key, anchor or lock an approved act changes.

A part of `station.fault_table`, which everybody asks. Values only.
"""

from __future__ import annotations

from types import MappingProxyType

from station.disposition import Disposition, Row

_N, _Q = Disposition.NOT_HERE, Disposition.QUARANTINE

ROWS: MappingProxyType[str, Row] = MappingProxyType(
    {
        "unit-not-there": Row(
            _N,
            "The unit that was asked for is in no slot.",
            "Put it in, see that it has power, and name its slot (--slot); then give the command again.",
        ),
        "unit-another": Row(
            _N,
            "Another unit is in the slot than the one that was asked for.",
            "Put the right unit in, or name its slot.",
        ),
        "unit-open": Row(
            _N,
            "The unit is not locked: it takes no authority's word.",
            "Provision it: station run --config FILE --order FILE; a re-key is for a unit that is finished.",
        ),
        "unit-between-keys": Row(
            _N,
            "The unit has a second key beside the one in use, and another act made it so.",
            "Bring that act to its end first: station device rework DEVICE_ID --act FILE --config FILE.",
        ),
        "unit-rekeyed": Row(
            _N,
            "This unit got another key by an approved act after it had passed.",
            "Nothing is wrong with it: put it with the finished units. station device show DEVICE_ID --config FILE "
            "tells of the act; given again, it verifies the unit: "
            "station device rework DEVICE_ID --act FILE --config FILE.",
        ),
        "act-refused": Row(
            _N,
            "The registry does not do what the act wants.",
            "Read the detail. If the unit is otherwise than the act says, or its time is over, have another act made "
            "and approved.",
        ),
        "word-not-taken": Row(
            _Q,
            "The unit does not take the authority's word for this step.",
            "Its anchor names another authority, or it is another unit: put it in the quarantine bin and call the line "
            "engineer.",
        ),
    }
)
