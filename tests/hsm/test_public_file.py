"""`public.json`: read as it was written, by whoever makes a root and by the signer's own commands alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsm.config import SetupError
from hsm.public_file import public_json, read_public_file

KEYS = {"pin": b"\x30\x01\xff", "log": b"\x30"}


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "public.json"
    path.write_bytes(public_json(KEYS))
    assert read_public_file(path, "restore it") == KEYS


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"pin": 1}', '{"pin": "A"}', '{"pin": "M\u00e4=="}', '{"pin": "MA==\\n"}']
)
def test_what_is_none_ends_with_the_remedy(tmp_path: Path, text: str) -> None:
    path = tmp_path / "public.json"
    path.write_text(text)
    with pytest.raises(SetupError, match=r"is no public\.json of a signer: .*: restore it$"):
        read_public_file(path, "restore it")


def test_a_missing_one_ends_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"restore it$"):
        read_public_file(tmp_path / "public.json", "restore it")
