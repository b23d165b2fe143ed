"""`station-registry station`: what the root tells of stations, and drafts that officers approve before they count."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from hsm.public_file import public_json
from registry.access.client_credentials import GRANT_TYPE
from registry.access.guard import Heading
from registry.access.oauth import OAuthError, read_form
from registry.access.opening import open_door
from registry.cli import cli
from registry.database import Database
from tests.registry.access import StationClient
from tests.registry.approved import ADA, BEN, CLEO, approved_world
from tests.registry.make import StationSigner, World, world
from tests.trust.people import approved_by, file_of
from trust.root import Root
from trust.root_file import parse, versions, wrap


@pytest.fixture(scope="module")
def made() -> World:
    return approved_world()


@pytest.fixture
def root(made: World, tmp_path: Path) -> Path:
    path = tmp_path / "root.json"
    path.write_bytes(file_of(approved_by(wrap(made.trusted.root), ADA, BEN)))
    return path


@pytest.fixture
def newcomer() -> StationSigner:
    return StationSigner()


def public(signer: StationSigner, place: Path) -> Path:
    keys = {name: getattr(signer.keys, name) for name in signer.keys.__struct_fields__}
    (place / "public.json").write_bytes(public_json(keys))
    return place / "public.json"


def typed(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, ["station", *map(str, words)])


def approve(path: Path, *who: object) -> Root:
    """As `station-signer root approve` does; the newest version, if the file may be used."""
    *before, (draft, _) = versions(path.read_bytes())
    path.write_bytes(file_of(*(each for each, _ in before), approved_by(draft, *who)))  # type: ignore[arg-type]
    return parse(path.read_bytes()).root


def let_in(database: Database, root: Root, name: str, signer: StationSigner) -> str:
    """What a registry that serves this root says to the station."""
    door, station = open_door(database, root), StationClient(name, signer.client, root.registry_url)
    station.nonce = door.guard._stations.nonce()
    heading = Heading(method="POST", path="/oauth/token", dpop=(station.proof("POST", "/oauth/token"),))
    try:
        door.grants[GRANT_TYPE](read_form("application/x-www-form-urlencoded", station.form()), heading)
    except OAuthError as error:
        return error.code.value
    return "let in"


def test_a_station_comes_and_goes_by_the_root_alone(
    root: Path, made: World, newcomer: StationSigner, tmp_path: Path, database: Database
) -> None:
    second, third = tmp_path / "root-2.json", tmp_path / "root-3.json"
    drafted = typed("enrol", "station-09", "--root", root, "--public", public(newcomer, tmp_path), "--out", second)
    assert drafted.exit_code == 0, drafted.output
    assert drafted.stdout.strip() == versions(second.read_bytes())[-1][0].payload_sha256
    assert "is a draft; next: station-signer root approve" in drafted.stderr
    draft = versions(second.read_bytes())[-1][1]
    assert let_in(database, made.trusted.root, "station-09", newcomer) == "client-unknown"
    served = approve(second, ADA, BEN)
    assert served == draft and served.version == 2
    assert let_in(database, served, "station-09", newcomer) == "let in"
    assert let_in(database, served, "station-01", made.stations["station-01"]) == "let in"
    gone = typed("revoke", "station-01", "--root", second, "--out", third)
    assert gone.exit_code == 0, gone.output
    served = approve(third, BEN, CLEO)
    assert let_in(database, served, "station-01", made.stations["station-01"]) == "client-unknown"
    assert let_in(database, served, "station-09", newcomer) == "let in"
    told = [json.loads(line) for line in typed("list", "--root", third, "--jsonl").stdout.splitlines()]
    assert [(each["station"], each["since"], each["until"]) for each in told] == [
        ("station-01", 1, 3), ("station-02", 1, None), ("station-09", 2, None),
    ]  # fmt: skip


@pytest.mark.parametrize("who", [(), (ADA,)], ids=["nobody", "one officer"])
def test_a_draft_alone_is_worth_nothing(root: Path, newcomer: StationSigner, tmp_path: Path, who: tuple) -> None:
    out = tmp_path / "root-2.json"
    typed("enrol", "station-09", "--root", root, "--public", public(newcomer, tmp_path), "--out", out)
    with pytest.raises(ValueError, match="version 2"):
        approve(out, *who)
    again = typed("revoke", "station-01", "--root", out, "--out", tmp_path / "root-3.json")
    assert again.exit_code == 2 and "version 2" in again.stderr
    assert not (tmp_path / "root-3.json").exists()


def test_new_keys_of_a_station(root: Path, made: World, newcomer: StationSigner, tmp_path: Path) -> None:
    argv = ("enrol", "station-01", "--root", root, "--public", public(newcomer, tmp_path), "--out")
    refused = typed(*argv, tmp_path / "root-2.json")
    assert refused.exit_code == 2 and "with other keys" in refused.stderr
    assert typed(*argv, tmp_path / "root-2.json", "--replace-keys").exit_code == 0
    approve(tmp_path / "root-2.json", ADA, BEN)
    shown = typed("show", "station-01", "--root", tmp_path / "root-2.json")
    assert "in since version 1, new keys in 2" in shown.stdout
    told = json.loads(typed("show", "station-01", "--root", tmp_path / "root-2.json", "--jsonl").stdout)
    assert told["keys"]["client"] == hashlib.sha256(newcomer.keys.client).hexdigest()
    assert told["changed"] == [2]


def test_what_cannot_be_drafted(root: Path, made: World, newcomer: StationSigner, tmp_path: Path) -> None:
    out, keys = tmp_path / "root-2.json", public(newcomer, tmp_path)
    there = public(made.stations["station-02"], tmp_path / "..")
    unsigned = tmp_path / "unsigned.json"
    unsigned.write_bytes(wrap(world().trusted.root).to_json())
    cases = [
        (("revoke", "station-77", "--root", root, "--out", out), "'station-77' is not in the trust root"),
        (("enrol", "station-02", "--root", root, "--public", there, "--out", out), "with these keys already"),
        (
            ("enrol", "station-77", "--root", root, "--public", keys, "--replace-keys", "--out", out),
            "could be replaced",
        ),
        (("enrol", "Station 9", "--root", root, "--public", keys, "--out", out), "trust root"),
        (("enrol", "registry-01", "--root", root, "--public", keys, "--out", out), "have one name"),
        (("enrol", "st-9", "--root", root, "--public", there, "--out", out), "one key stands in two places"),
        (("enrol", "st-9", "--root", root, "--public", root, "--out", out), "is no public.json"),
        (("enrol", "st-9", "--root", root, "--public", tmp_path / "none", "--out", out), "No such file"),
        (("revoke", "station-01", "--root", keys, "--out", out), "give a trust root"),
        (("revoke", "station-01", "--root", tmp_path / "none", "--out", out), "give the root file"),
        (("revoke", "station-01", "--root", unsigned, "--out", out), "is unsigned"),
        (("revoke", "station-01", "--root", root, "--out", root), "nothing was written; name a new file"),
        (("list", "--root", keys), "give a trust root"),
    ]
    before = root.read_bytes()
    for argv, told in cases:
        found = typed(*argv)
        assert found.exit_code == 2 and told in found.stderr, (argv, found.output)
        assert found.stderr.count("\n") == 1 and "Traceback" not in found.stderr
    assert root.read_bytes() == before and not out.exists()
    unknown = typed("show", "station-77", "--root", root)
    assert (unknown.exit_code, unknown.stdout) == (1, "")


def test_a_station_that_came_back_is_in_since_then(root: Path, made: World, tmp_path: Path) -> None:
    two, three = tmp_path / "2.json", tmp_path / "3.json"
    typed("revoke", "station-02", "--root", root, "--out", two)
    approve(two, ADA, BEN)
    assert "left out since version 2" in typed("show", "station-02", "--root", two).stdout
    keys = public(made.stations["station-02"], tmp_path)
    assert typed("enrol", "station-02", "--root", two, "--public", keys, "--out", three).exit_code == 0
    approve(three, ADA, BEN)
    assert "in since version 3" in typed("show", "station-02", "--root", three).stdout
    assert msgspec.json.encode(parse(three.read_bytes()).root.stations) == msgspec.json.encode(
        made.trusted.root.stations
    )
