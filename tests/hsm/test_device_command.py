"""`station-signer device new` and `show`: the one act that the options name, and what is shown of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hsm.cli import cli
from hsm.cli.standing import device_next
from tests.trust.orders import make
from tests.trust.people import approved_by, file_of, first_root, people
from trust.dsse import Envelope
from trust.pin_act import PinAct
from trust.root_file import wrap
from trust.statement import envelope, read

WHO = people()
DEVICE, KEY, NEW = "a1" * 12, "ab" * 32, "cd" * 32


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = wrap(first_root(WHO.values()))
    (tmp_path / "root.json").write_bytes(file_of(approved_by(made, WHO["ada"], WHO["ben"])))
    return tmp_path / "root.json"


def run(root: Path, *words: str, device: str = DEVICE, reason: str = "for a test") -> Result:
    more = ["--root", str(root), "--fingerprint", KEY, "--reason", reason, "--out", str(root.parent / "act.json")]
    return CliRunner().invoke(cli, ["device", "new", device, *words, *more])


def written(root: Path) -> PinAct:
    return read(Envelope.from_json((root.parent / "act.json").read_bytes().strip()), PinAct)


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        (["--new-key", "rsa-2048"], {"kind": "rekey", "change": "new-key", "key_type": "rsa-2048", "was": ""}),
        (["--new-key", "ec-p256", "--old-until", "2027-01-01T00:00:00Z"], {"ends_at": "2027-01-01T00:00:00Z"}),
        (["--unlock"], {"kind": "rekey", "change": "unlock", "key_type": ""}),
        (["--repin", NEW], {"kind": "repin", "new_fingerprint": NEW, "was": "active"}),
        (["--revoke"], {"kind": "revoke", "was": "active"}),
        (["--scrap", "--was", "provisional"], {"kind": "scrap", "was": "provisional"}),
        (["--unscrap"], {"kind": "unscrap", "was": "scrapped"}),
    ],
)
def test_each_act(root: Path, words: list[str], fields: dict[str, Any]) -> None:
    done = run(root, *words)
    assert done.exit_code == 0, done.output
    act = written(root)
    assert (act.device_id, act.fingerprint) == (DEVICE, KEY)
    assert {name: getattr(act, name) for name in fields} == fields
    shown = CliRunner().invoke(cli, ["device", "show", str(root.parent / "act.json"), "--root", str(root)])
    assert f"act {act.kind} on device {DEVICE}" in shown.output
    assert (shown.exit_code, "not to be done yet" in shown.output) == (2, True)


def test_an_orders_anchor(root: Path) -> None:
    (root.parent / "order.json").write_bytes(envelope(make("ab" * 32, ("st-01",), "cd" * 32)).to_json())
    done = run(root, "--anchor-of", str(root.parent / "order.json"))
    assert done.exit_code == 0, done.output
    assert (written(root).change, len(written(root).anchor_sha256)) == ("new-anchor", 64)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name one act"),
        (["--unlock", "--revoke"], "name one act"),
        (["--unlock", "--old-until", "2027-01-01T00:00:00Z"], "--old-until belongs to"),
        (["--unlock", "--was", "active"], "--was belongs to"),
        (["--repin", "ab"], "it must be 64 digits"),
        (["--new-key", "ec-p256", "--old-until", "tomorrow"], "--old-until: it must be a time in UTC"),
    ],
)
def test_what_names_no_act(root: Path, words: list[str], said: str) -> None:
    done = run(root, *words)
    assert (done.exit_code, said in done.output) == (2, True), done.output
    assert not (root.parent / "act.json").exists()


def test_a_device_or_a_reason_that_is_none(root: Path) -> None:
    for more, said in (({"device": "a1"}, "24 digits"), ({"reason": "short"}, "--reason: ")):
        done = run(root, "--unlock", **more)
        assert (done.exit_code, said in done.output) == (2, True), done.output


def test_another_kind_of_document_is_named(root: Path) -> None:
    done = CliRunner().invoke(cli, ["device", "show", str(root), "--root", str(root)])
    assert (done.exit_code, "is a trust root; give an act on a device" in done.output) == (2, True), done.output


@pytest.mark.parametrize(
    ("what", "command"),
    [
        (["--unlock"], "station device rework {} --act"),
        (["--scrap"], "station device scrap {} --act"),
        (["--revoke"], "station device revoke {} --act"),
        (["--unscrap"], "station device unscrap {} --act"),
        (["--repin", "cd" * 32], "/repin"),
    ],
)
def test_what_comes_after_the_approvals_can_be_typed(root: Path, what: list[str], command: str) -> None:
    assert run(root, *what).exit_code == 0
    assert command.format(DEVICE) in device_next(written(root), root.parent / "act.json")
