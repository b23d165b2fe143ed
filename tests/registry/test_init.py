"""`station-registry init`: an address that no registry may use is refused first, and what fails leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from registry import setup
from registry.cli import cli
from registry.opening import open_database
from registry.settings import Home, SetupError
from tests.registry.postgres import Server


def init(directory: Path, *words: str, host: str = "localhost") -> Result:
    about = ["--name", "registry-01", "--environment", "demo", "--host", host]
    return CliRunner().invoke(cli, ["init", "--dir", str(directory), *about, *words])


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("mysql://a@b/c", "give a file, or postgresql+psycopg"),
        ("postgres://registry@/registry", "give a file, or postgresql+psycopg"),
        ("postgresql+psycopg://registry@db.example/registry?sslmode=require", "sslmode=verify-full"),
        ("postgresql+psycopg://registry:secret@/registry", "passfile="),
        ("postgresql+psycopg://registry@/registry?passfile=/nowhere/x", "passfile=/nowhere/x: no such file"),
        ("postgresql+psycopg://registry@localhost:port/registry", "not a URL"),
        ("postgresql+psycopg:///registry", "names no role"),
        ("sqlite:///registry.db", "by its path"),
        ("://", "not a URL"),
    ],
)
def test_an_address_that_is_not_safe_is_written_nowhere(url: str, remedy: str, tmp_path: Path) -> None:
    done = init(tmp_path / "registry", "--database", url)
    assert (done.exit_code, remedy in done.stderr, "secret" in done.output) == (2, True, False), done.output
    assert not (tmp_path / "registry").exists()


@pytest.mark.parametrize("there", [False, True])
def test_what_fails_takes_its_own_back_and_the_corrected_command_does_it(there: bool, tmp_path: Path) -> None:
    directory = tmp_path / "registry"
    if there:
        directory.mkdir()
        (directory / "note.txt").write_text("mine")
    for words, host in ((["--database", "no/such/registry.db"], "localhost"), ([], "müller.example")):
        done = init(directory, *words, host=host)
        assert (done.exit_code, "station-registry: " in done.stderr) == (2, True), done.output
        left = [each.name for each in directory.iterdir()] if there else directory.exists()
        assert left == (["note.txt"] if there else False)
    assert init(directory).exit_code == 0


def test_an_interrupt_leaves_nothing_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(setup, "migrate", interrupted)
    init(tmp_path / "registry")
    assert not (tmp_path / "registry").exists()


def test_what_others_have_put_there_stays(tmp_path: Path) -> None:
    """The negative control: taking back takes one's own only."""
    (tmp_path / "tls.crt").write_text("another's")
    done = init(tmp_path)
    assert (done.exit_code, "is there already" in done.stderr) == (2, True), done.output
    assert [each.name for each in tmp_path.iterdir()] == ["tls.crt"]


def test_with_a_server_the_next_step_is_said(tmp_path: Path, postgres: Server) -> None:
    directory, name = tmp_path / "registry", "not_migrated"
    postgres.sql(f"CREATE DATABASE {name}")
    done = init(directory, "--database", postgres.url(name))
    command = f"station-registry migrate --dir {directory} --owner URL"
    assert (done.exit_code, command in done.stderr) == (0, True), done.output
    early = CliRunner().invoke(cli, ["user", "list", "--dir", str(directory)])
    assert (early.exit_code, "migrate --dir DIR --owner URL" in early.stderr) == (2, True), early.output


def test_a_file_needs_no_owner(tmp_path: Path) -> None:
    done = init(tmp_path / "registry")
    assert (done.exit_code, "--owner" in done.stderr) == (0, False), done.output
    home = Home.load(tmp_path / "registry")
    (home.directory / "registry.db").write_bytes(b"")
    with pytest.raises(SetupError, match=r"migrate --dir DIR$"):
        open_database(home)
