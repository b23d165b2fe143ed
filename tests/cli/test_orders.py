"""Orders and acts from the people who approve them to the signer's process and the ledger, every command typed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest

from station.exits import Exit
from tests.cli.orderkit import Desk, open_desk, serving
from tests.docs.pages import page
from trust.dsse import Envelope
from trust.minutes import Minutes, Step
from trust.order import WorkOrder
from trust.root_file import parse
from trust.statement import envelope, read

pytestmark = pytest.mark.xdist_group("orders")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with open_desk(tmp_path_factory.mktemp("desk"), page("config.example.toml")) as opened:
        yield opened


def test_without_orders_a_sentence_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    with open_desk(tmp_path_factory.mktemp("empty"), page("config.example.toml")) as empty:
        done = empty.station("order", "show")
        assert (done.code, done.out) == (0, "")
        assert "the signer knows no order yet: station order import FILE" in done.err
        assert (empty.station("order", "show", "--jsonl").out, empty.station("order", "show", "--jsonl").err) == (
            "",
            "",
        )


def test_an_approved_order_is_known_to_the_signer_and_on_record(desk: Desk) -> None:
    file = desk.order("first", "pia", "quinn")
    done = desk.station("order", "import", file)
    assert (done.code, done.out) == (0, "first: 5 + 1 of lamp known to the signer\n"), done.err
    count = desk.counted("first")
    assert (count["pins"], count["pin_limit"], count["completion_limit"], count["returned"]) == (0, 6, 5, False)
    assert "first" in desk.leaves()
    assert desk.station("order", "import", file).code == 0, "the same again changes nothing"
    assert desk.leaves().count("first") == 1
    lines = desk.station("order", "show").lines
    assert any(re.fullmatch(r"first +signed for 0 of 6, completed 0 of 5, scrapped 0", line) for line in lines)


@pytest.mark.parametrize(
    ("by", "said"),
    [((), ""), (("pia",), "approved by pia"), (("ada", "ben"), "has none of the roles"),
     (("pia", "quinn", "rita"), "is no approver's")],
)  # fmt: skip
def test_an_order_that_too_few_or_others_approved_is_refused(desk: Desk, by: tuple[str, ...], said: str) -> None:
    name = f"not-{'-'.join(by) or 'anybody'}"
    file = desk.order(name)
    desk.sign_regardless(file, *by)
    if not by:
        assert desk.signer("order", "show", file, "--root", desk.root).code == 0, (
            "in demo, one without approvals is taken"
        )
        return
    done = desk.station("order", "import", file)
    assert (done.code, done.out) == (Exit.USAGE, "")
    assert said in done.err
    assert desk.counted(name) == {}
    shown = desk.signer("order", "show", file, "--root", desk.root)
    assert (shown.code, "nothing may be made under it yet" in shown.err) == (2, True)


def test_an_order_for_another_station(desk: Desk) -> None:
    file = desk.order("elsewhere")
    document = Envelope.from_json(file.read_bytes().strip())
    work = read(document, WorkOrder)
    file.write_bytes(envelope(msgspec.structs.replace(work, stations={"st-02": work.stations["st-01"]})).to_json())
    done = desk.station("order", "import", file)
    assert done.code == Exit.USAGE, done
    assert "station 'st-02' is none that its trust root names" in done.err


def test_a_changed_order_is_nobodys(desk: Desk, tmp_path: Path) -> None:
    file = desk.order("changed", "pia", "quinn")
    other = desk.order("other-bytes", "pia", "quinn")
    import json

    one, two = (json.loads(each.read_bytes()) for each in (file, other))
    mixed = tmp_path / "mixed.json"
    mixed.write_text(json.dumps(one | {"payload": two["payload"]}, sort_keys=True, separators=(",", ":")))
    done = desk.station("order", "import", mixed)
    assert done.code == Exit.USAGE and "is not over this document" in done.err


def test_the_rest_of_an_order_is_given_back_once(desk: Desk) -> None:
    assert desk.station("order", "import", desk.order("rest", "pia", "quinn")).code == 0
    asked = desk.station("order", "close", "rest")
    assert (asked.code, asked.out, desk.counted("rest")["returned"]) == (Exit.USAGE, "", False), asked
    assert "rest: signed for 0 of 6; room for 6 more devices goes, for good" in asked.err
    assert "nothing was given back; a script says --yes" in asked.err
    with mock.patch("station.cli.order.is_asked", return_value=True), mock.patch("click.confirm", return_value=False):
        assert desk.station("order", "close", "rest").code == Exit.USAGE, "somebody was asked, and said no"
    assert desk.counted("rest")["returned"] is False
    done = desk.station("order", "close", "rest", "--yes")
    assert (done.code, done.out) == (0, "rest: returned 5 units and 1 of the allowance\n"), done.err
    count = desk.counted("rest")
    assert (count["pin_limit"], count["completion_limit"], count["returned"]) == (0, 0, True)
    again = desk.station("order", "close", "rest")
    assert (again.code, again.out) == (done.code, done.out)
    assert desk.leaves().count("rest") == 2, "the order, and its return"
    assert any(line.endswith(", scrapped 0, rest returned") for line in desk.station("order", "show").lines)
    unknown = desk.station("order", "close", "never-seen", "--yes")
    assert (unknown.code, unknown.out) == (Exit.USAGE, "")
    assert "the signer knows no order 'never-seen': station order show lists them" in unknown.err


def test_two_officers_raise_an_allowance_once(desk: Desk) -> None:
    order = desk.order("raised", "pia", "quinn")
    assert desk.station("order", "import", order).code == 0
    act = desk.act("more", "ada", "ben", words=("--raise-allowance", order, "--units", 3))
    done = desk.station("act", act)
    assert done.code == 0 and done.out.startswith("done, and on record: act "), done
    assert (desk.counted("raised")["pin_limit"], desk.counted("raised")["raised"]) == (9, 3)
    assert desk.leaves().count("act") == 1
    again = desk.station("act", act)
    assert again.code == 0 and again.out.startswith("done before, and on record: act ")
    assert (desk.counted("raised")["pin_limit"], desk.leaves().count("act")) == (9, 1)


def test_an_act_that_was_done_and_is_not_on_record_is_put_there(desk: Desk) -> None:
    """The station died between the signer and its ledger."""
    import asyncio

    from hsm.client import SignerClient

    order = desk.order("crashed", "pia", "quinn")
    assert desk.station("order", "import", order).code == 0
    act = desk.act("late", "ada", "ben", words=("--raise-allowance", order, "--units", 2))
    before = desk.leaves().count("act")
    signer = SignerClient(desk.place / "s" / "signer-factory" / "run" / "signer.sock")
    asyncio.run(signer.perform_act(Envelope.from_json(act.read_bytes().strip())))
    assert desk.leaves().count("act") == before
    assert desk.station("act", act).out.startswith("done before, and on record")
    assert (desk.leaves().count("act"), desk.counted("crashed")["raised"]) == (before + 1, 2)


@pytest.mark.parametrize("by", [(), ("ada",), ("pia", "quinn"), ("ada", "pia")])
def test_an_act_of_too_few_officers_is_not_done(desk: Desk, by: tuple[str, ...]) -> None:
    name = f"few-{'-'.join(by) or 'nobody'}"
    order = desk.order(name, "pia", "quinn")
    assert desk.station("order", "import", order).code == 0
    act = desk.act(name, words=("--raise-allowance", order, "--units", 3))
    desk.sign_regardless(act, *by)
    done = desk.station("act", act)
    assert done.code == Exit.LINE_STOPPED and "act-not-approved" in done.err, done
    assert desk.counted(name)["pin_limit"] == 6
    shown = desk.signer("act", "show", act, "--root", desk.root)
    assert (shown.code, "not to be done yet" in shown.err) == (2, True)
    assert "act raise-allowance by signer st-01" in shown.out


def test_a_stop_that_is_not_in_force_cannot_be_lifted(desk: Desk) -> None:
    done = desk.station("act", desk.act("lift", "ada", "ben", words=("--lift-stop", 1)))
    assert done.code == Exit.LINE_STOPPED
    assert done.err.startswith("station: The signer refused.") and "stop 1 is not in force" in done.err


@pytest.mark.parametrize(
    ("changes", "by", "said"),
    [({"signer": "st-02"}, ("ada", "ben"), "'st-02', whom the trust root does not name"),
     ({"role": "cloud"}, ("ada", "ben"), "cloud signer 'st-01'"),
     ({"officers": ("ada", "pia")}, ("ada", "ben", "pia"), "pia, who is no officer"),
     ({}, ("ada", "ben"), "")],
    ids=["of a stranger", "of a registry", "of one officer", "right"],
)  # fmt: skip
def test_minutes_are_kept_of_this_station_and_by_its_officers(
    desk: Desk, changes: dict[str, Any], by: tuple[str, ...], said: str
) -> None:
    found = Minutes(
        environment="demo", root_sha256=parse(desk.root.read_bytes()).sha256, signer="st-01", role="factory",
        subject="ceremony", act_sha256="", officers=("ada", "ben"), software="keystation", token="t", module="m", keys=(),
        steps=(Step(what="root", found="as told"),), began_at="2026-11-22T20:00:00Z", ended_at="2026-11-22T20:01:00Z",
    )  # fmt: skip
    file, before = desk.place / "kept.minutes", desk.leaves().count("minutes")
    file.write_bytes(envelope(msgspec.structs.replace(found, **changes)).to_json())
    desk.sign_regardless(file, *by)
    done = desk.station("minutes", file)
    assert (done.code, said in done.err) == (Exit.USAGE if said else 0, True), done
    assert desk.leaves().count("minutes") == before + (not said)


def test_what_is_no_act_or_order_is_one_sentence(desk: Desk, tmp_path: Path) -> None:
    order = desk.order("no-act", "pia", "quinn")
    for words, said in (
        (("act", order), "no-act.json is an order; give an act"),
        (("minutes", order), "no-act.json is an order; give minutes"),
        (("order", "import", desk.root), "root.json is a trust root; give an order"),
        (("act", tmp_path / "missing"), "name the act's file"),
        (("order", "import", tmp_path / "missing"), "name the order's file"),
    ):
        done = desk.station(*words)
        assert (done.code, done.out, len(done.err.splitlines())) == (Exit.USAGE, "", 1), (words, done)
        assert said in done.err


def test_the_log_of_all_this_verifies(desk: Desk) -> None:
    order = desk.order("verified", "pia", "quinn")
    assert desk.station("order", "import", order).code == 0
    act = desk.act("verified", "ada", "ben", words=("--raise-allowance", order, "--units", 3))
    assert desk.station("act", act).code == 0
    assert (
        desk.station("order", "close", "verified", "--yes").out == "verified: returned 5 units and 4 of the allowance\n"
    )
    done = desk.station("ledger", "verify")
    assert done.code == 0, done


def test_an_approver_who_leaves_is_followed_by_another_one(
    desk: Desk, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Version 2 has rita in quinn's place: what quinn approved is void, and rita approves it over the same bytes."""
    with open_desk(tmp_path_factory.mktemp("rotation"), page("config.example.toml")) as other:
        file = other.order("open", "pia", "quinn")
        assert other.station("order", "import", file).code == 0
        second = other.place / "second.json"
        fingerprint = other.new_root(second, "ada", "ben", people=("ada", "ben", "pia", "rita"), previous=other.root)
        assert other.signer("root", "show", second).code == 0
    second.replace(other.root)
    with serving(other):
        assert fingerprint in other.signer("status", "--dir", other.place / "s" / "signer-factory").out
        void = other.station("order", "import", file)
        assert void.code == Exit.USAGE and "is no approver's of this trust root" in void.err
        said = other.approve("order", file, "rita")
        assert "taken out: 1 approval by" in said.err
        assert other.station("order", "import", file).code == 0
        assert other.leaves().count("event") >= 1, "the newer root is on record"
