"""Every file that a person gives to station, signer or registry, and what stands in its place by mistake or malice.

Each reader ends soon, in its own error, with one sentence that names the file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.slots import SlotsFileError, read_slots
from hsm import config as signer_settings
from hsm import roots as signer_roots
from registry import settings as registry_settings
from registry import startup
from station import config as station_settings
from station import faults
from station.plan import load_order
from station.root import load_root
from station.usage import UsageError
from tests.registry.make import world
from trust import toml_text
from trust.toml_text import TomlError, table

pytestmark = pytest.mark.timeout(20)
TRUSTED = world().trusted
READERS: dict[str, tuple[str, Callable[[Path], object], type[Exception]]] = {
    "station's settings": ("config.toml", station_settings.load, faults.SetupError),
    "station's root": ("root.json", load_root, faults.SetupError),
    "order": ("order.toml", lambda path: load_order(path, TRUSTED), UsageError),
    "slots": ("slots.toml", read_slots, SlotsFileError),
    "signer's settings": ("signer.toml", lambda path: signer_settings.load(path.parent), signer_settings.SetupError),
    "signer's root": ("root.json", signer_roots.read_root, signer_settings.SetupError),
    "registry's settings": ("registry.toml", lambda path: registry_settings.Home.load(path.parent), registry_settings.SetupError),
    "registry's root": ("root.json", startup.load_root, registry_settings.SetupError),
}  # fmt: skip
MADE: dict[str, Callable[[Path], object]] = {
    "a FIFO": os.mkfifo,
    "no end": lambda path: path.symlink_to("/dev/zero"),
    "a directory": Path.mkdir,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "nothing": lambda path: None,
    "a terabyte": lambda path: (path.touch(), os.truncate(path, 1 << 40)),
    "nested": lambda path: path.write_text("a = " + "[" * 50_000),
    "nested JSON": lambda path: path.write_text("[" * 50_000),
    "a key of many parts": lambda path: path.write_text("a." * 30_000 + "a = 1"),
    "a number without end": lambda path: path.write_text("a = " + "9" * 100_000),
    "no text": lambda path: path.write_bytes(b"\xff\xfe"),
    "a name without end": lambda path: path.write_text("x" * 60_000 + " = 1"),
    "a name that plays with the terminal": lambda path: path.write_text('"\\u001b[2J" = 1'),
}


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("reader", READERS)
def test_what_stands_in_a_files_place(tmp_path: Path, reader: str, made: str) -> None:
    name, read, error = READERS[reader]
    MADE[made](tmp_path / name)
    began = time.process_time()
    with pytest.raises(error) as caught:
        read(tmp_path / name)
    assert time.process_time() - began < 2
    said = str(caught.value)
    assert str(tmp_path / name) in said
    assert len(said) < 1_000 and said.isprintable(), said


def test_a_name_that_no_file_can_have_in_the_settings(tmp_path: Path) -> None:
    with pytest.raises(faults.SetupError, match="no file can have this name"):
        load_root(tmp_path / "r\0t")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a = '\xff'", "is not UTF-8 text"),
        ("a." * 257 + "a = 1", "has a line with more than 256 dots"),
        ("a = " + "[" * 9_000, "is nested too deeply"),
        ("a = " + "9" * 5_000, "is not TOML: Exceeds the limit"),
        ("a = 1\na = 2", "is not TOML: "),
        ("a = '\x1b'", "is not TOML: "),
    ],
)
def test_the_bounds_of_toml(text: str | bytes, said: str) -> None:
    with pytest.raises(TomlError) as caught:
        table(text)
    assert str(caught.value).startswith(said)


def test_within_the_bounds_it_is_toml(monkeypatch: pytest.MonkeyPatch) -> None:
    assert table('a.b = 1\n[c]\nd = "ä"'.encode()) == {"a": {"b": 1}, "c": {"d": "ä"}}
    assert table("a." * 256 + "a = 1")
    monkeypatch.setattr(toml_text, "_MAX_DOTS", 10_000)
    assert table("a." * 257 + "a = 1"), "control: it is the limit that refuses"
