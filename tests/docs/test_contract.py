"""Documents and code say the same: codes, steps, records, payload types, fields, verbs, words."""

import importlib
import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any, get_args

import msgspec
import pytest

import fixtures.slots
import station.evidence
from hsm import verbs
from registry import app, statuses
from registry.messages import StatusAnswer
from registry.services import Services
from station.config import Config
from station.events import Step
from station.jobs import RecordKind
from station.jobs.papers import PAPERS
from tests.docs.pages import TOP, page, quoted, rows, section
from trust.account import AllotmentReturn, Balance
from trust.act import Act
from trust.codes import Code
from trust.handshake import HandshakeReport
from trust.lease import Lease, LeaseRequest
from trust.minutes import Minutes
from trust.order import WorkOrder
from trust.order_file import from_toml
from trust.pin_act import PinAct
from trust.rekey import PAYLOAD_TYPE as AUTHORISATION_TYPE
from trust.repin import Repin
from trust.revocation import Revocation
from trust.root import Root
from trust.root_file import ROOT_TYPE
from trust.roster import Roster
from trust.statement import Completion, Event, PinStatement, Receipt, Statement, read

STATUS = StatusAnswer(registry="r", environment="demo", root_sha256="", root_version=1, version="1", trouble="")
STATEMENTS, FLOW = page("docs/statements.md"), page("docs/flow.md")
KINDS: dict[str, type[Statement]] = {
    "pin": PinStatement, "completion": Completion, "receipt": Receipt, "order": WorkOrder, "event": Event,
    "lease-request": LeaseRequest, "lease": Lease, "balance": Balance, "allotment-return": AllotmentReturn,
    "revocation": Revocation, "repin": Repin, "act": Act, "minutes": Minutes, "roster": Roster,
    "pin-act": PinAct, "handshake-report": HandshakeReport,
}  # fmt: skip
SECTIONS = {name: f"### {name.replace('-', ' ').capitalize()}" for name in KINDS} | {"order": "## 5. Work order"}


def first_cells(text: str) -> list[str]:
    return [name for row in rows(text) for name in quoted(row[0])]


def test_every_code_has_its_row_and_none_is_invented() -> None:
    assert sorted(first_cells(section(STATEMENTS, "## 11. Codes"))) == sorted(Code)


def test_statuses_of_refusals_are_the_registrys() -> None:
    table = section(STATEMENTS, "## 9. Registry API").split("| status | codes |")[1]
    told = {(code, int(status)) for status, codes in rows(f"| status | codes |{table}") for code in quoted(codes)}
    known = {(code.value, status) for code, status in statuses._STATUS.items()}
    special = {("not-pinned", 404), ("internal", 500), ("token-unavailable", 503), ("store-failed", 503)}
    refused = {(code, status) for code, status in told if status == statuses._REFUSED}
    assert told == known | special | refused
    assert not {code for code, _ in refused} & {code for code, _ in known | special}


def test_every_step_has_its_row_in_its_place() -> None:
    table = [row for row in rows(section(FLOW, "## Steps")) if quoted(row[0])]
    assert [quoted(row[0])[0] for row in table] == [step.value for step in Step]
    types = {name for name, each in vars(station.evidence).items() if is_dataclass(each) and
             each.__module__ == "station.evidence"}  # fmt: skip
    assert {quoted(row[1])[0] for row in table} == types


def test_every_fault_in_the_flow_exists() -> None:
    from station.fault_table import TABLE

    named = {code.strip() for row in rows(section(FLOW, "## Steps")) for code in row[3].split(",") if code.strip()}
    assert named <= set(TABLE)
    assert len(named) > 20


def test_every_record_has_its_row() -> None:
    assert first_cells(section(FLOW, "## What is on record")) == [kind.value for kind in RecordKind]


def test_every_paper_has_its_row() -> None:
    assert set(first_cells(section(FLOW, "## Papers"))) >= {str(kind.__struct_config__.tag) for kind in PAPERS}


def test_payload_types_are_the_codes_own() -> None:
    told = {row[0]: quoted(row[1])[0] for row in rows(section(STATEMENTS, "## 2. Payload types"))}
    others = {"root": ROOT_TYPE, "rekey-authorisation": AUTHORISATION_TYPE}
    assert told == {**{name: kind.PAYLOAD_TYPE for name, kind in KINDS.items()}, **others}
    assert {name: kind.__struct_config__.tag for name, kind in KINDS.items()} == {name: name for name in KINDS}


@pytest.mark.parametrize("name", KINDS)
def test_every_field_has_its_row(name: str) -> None:
    common = {"type", *Statement.__struct_fields__}
    assert set(first_cells(STATEMENTS.split("### Pin")[0].split("## 3. Statements")[1])) == common
    told = first_cells(section(STATEMENTS, SECTIONS[name]))
    assert sorted(told) == sorted(set(KINDS[name].__struct_fields__) - common)


@pytest.mark.parametrize("name", KINDS)
def test_every_field_of_an_inner_object_is_named(name: str) -> None:
    named = set(quoted(section(STATEMENTS, "## 3. Statements" if name != "order" else SECTIONS[name])))
    for field in msgspec.structs.fields(KINDS[name]):
        for inner in structs(field.type):
            assert set(inner.__struct_fields__) <= named, field.name


def test_every_field_of_the_root_has_its_row() -> None:
    told = section(STATEMENTS, "## 4. Trust root")
    assert sorted(first_cells(told)) == sorted({"type", *Root.__struct_fields__})
    inner = {each for field in msgspec.structs.fields(Root) for each in structs(field.type)}
    assert {each.__name__ for each in inner} == {
        "Approver", "Thresholds", "StationKeys", "RegistryKeys", "CloudKeys", "LeaseTerms",
    }  # fmt: skip
    for each in inner:
        assert set(each.__struct_fields__) <= set(quoted(told)), each


def structs(kind: Any) -> Iterator[type[msgspec.Struct]]:
    """The structs that a field of this type holds, itself or in a list or table."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
    for part in get_args(kind):
        yield from structs(part)


def test_structs_in_lists_and_tables_are_found() -> None:
    assert {each.__name__ for field in msgspec.structs.fields(WorkOrder) for each in structs(field.type)} == {
        "Allotment", "Firmware", "SecurityState",
    }  # fmt: skip


def test_the_order_of_the_document_is_taken() -> None:
    example = re.search(r"```toml\n(.*?)```", section(STATEMENTS, "## 5. Work order"), re.DOTALL)
    order = read(from_toml(example[1], environment="demo", root_sha256="ab" * 32), WorkOrder)
    assert sum(each.quantity for each in order.stations.values()) == order.quantity
    assert (order.after_lock.debug_closed, order.firmware[0].version) == (True, "1.4.0")


def test_a_field_that_is_left_out_is_seen() -> None:
    without = STATEMENTS.replace("| `origin_proven` |", "| `origin` |", 1)
    assert sorted(first_cells(section(without, "### Pin"))) != sorted(first_cells(section(STATEMENTS, "### Pin")))


def test_verbs_are_the_signers() -> None:
    told = {(quoted(row[0])[0], row[1]) for row in rows(section(STATEMENTS, "## 10. Signer socket"))}
    both = set(verbs._FACTORY) & set(verbs._CLOUD)
    known = {(name, "both") for name in both} | {(name, "factory") for name in set(verbs._FACTORY) - both}
    assert told == known | {(name, "cloud") for name in set(verbs._CLOUD) - both}


def test_routes_are_the_registrys() -> None:
    told = {tuple(name.split()) for name in first_cells(section(STATEMENTS, "## 9. Registry API")) if " " in name}
    document = app.create_app(
        Services(
            pins=None,
            acts=None,
            proposals=None,
            batch=None,
            leases=None,
            orders=None,
            people=None,
            rosters=None,
            status=STATUS,
            guard=None,
            grants={},
            particle=object(),  # its door is open
        )
    ).openapi()
    assert told == {(method.upper(), path) for path, each in document["paths"].items() for method in each}


def test_the_slots_file_of_the_document_is_taken(tmp_path) -> None:
    example = re.search(r"```toml\n(.*?)```", section(FLOW, "## Slots file"), re.DOTALL)
    (tmp_path / "slots.toml").write_text(example[1])
    (slot,) = fixtures.slots.read_slots(tmp_path / "slots.toml")
    assert (slot.name, slot.power, slot.emulated) == ("slot-01", "", False)


def test_the_example_settings_show_every_entry() -> None:
    import tomllib

    shown = tomllib.loads(page("config.example.toml"))
    for field in msgspec.structs.fields(Config):
        assert set(shown[field.name]) == set(field.type.__struct_fields__), field.name


MODULES = ["trust.order", "trust.statement", "trust.root", "trust.identity", "station.jobs", "station.faults", "station.order_report",
           "fixtures.device", "registry.pins.record"]  # fmt: skip
PACKAGES = ("trust.", "given.", "ledger.", "hsm.", "fixtures.", "station.", "registry.")


def missing(reference: str) -> bool:
    """Whether a dotted name of the glossary's last column is not in the code."""
    if reference.endswith("/") or "/" in reference:
        return not (TOP / reference).exists()
    if not reference.startswith(PACKAGES):
        name, _, attribute = reference.partition(".")
        homes = [vars(importlib.import_module(module)) for module in MODULES]
        found = next((each[name] for each in homes if name in each), None)
        return found is None or not has(found, attribute)
    parts = reference.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part, None)
        return found is None
    return True


def has(found: object, attribute: str) -> bool:
    return not attribute or attribute in dir(found) or attribute in getattr(found, "__annotations__", {})


def references() -> list[str]:
    text = page("docs/glossary.md")
    cells = [row[-1] for row in rows(text) if len(row) == 3]
    names = [name for cell in cells for name in quoted(cell)]
    return [name for name in names if re.fullmatch(r"[A-Za-z_][\w./]*", name) and ("." in name or "/" in name)]


def test_the_glossarys_places_exist() -> None:
    assert [name for name in references() if missing(name)] == []
    assert len(references()) > 60


@pytest.mark.parametrize(
    "planted", ["station.nothing", "trust.order.Nothing", "WorkOrder.nothing", "Nothing.else", "no/"]
)
def test_a_place_that_is_not_there_is_seen(planted: str) -> None:
    assert missing(planted)
