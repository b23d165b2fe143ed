"""The edit that gives mbedTLS raw public keys fits the fetched source, and says so loudly when it does not fit another."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.firmware.conftest import FIRMWARE

EDIT = FIRMWARE / "raw_keys" / "edit.sh"
LIBRARY = FIRMWARE / "build" / "mbedtls" / "library"
CLIENT, COMMON = "ssl_tls12_client.c", "ssl_tls.c"
PLACES = [
    (CLIENT, "mbedtls_ssl_tls12_write_client_hello_exts", "*out_len = (size_t) (p - buf);"),
    (CLIENT, "ssl_parse_server_hello", "int handshake_failure = 0;"),
    (CLIENT, "ssl_parse_server_hello", "switch (ext_id) {"),
    (CLIENT, "ssl_parse_server_hello", "if (handshake_failure == 1) {"),
    (COMMON, "mbedtls_ssl_write_certificate", "i = 7;"),
    (COMMON, "mbedtls_ssl_parse_certificate", "ssl_clear_peer_cert(ssl->session_negotiate);"),
]


@pytest.fixture
def library(native: Path, tmp_path: Path) -> Path:
    """A copy of the two files, as they came."""
    assert native.is_file()
    copy = tmp_path / "library"
    copy.mkdir()
    for name in (CLIENT, COMMON):
        (copy / name).write_bytes((LIBRARY / name).read_bytes())
    return copy


def edited(library: Path) -> subprocess.CompletedProcess[str]:
    out = library.parent / "edited"
    return subprocess.run([EDIT, library, out], capture_output=True, text=True, check=False)


def test_the_edit_adds_lines_and_changes_none(library: Path) -> None:
    done = edited(library)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    added = 0
    for name in (CLIENT, COMMON):
        assert (library / name).read_bytes() == (LIBRARY / name).read_bytes(), "the source stays as it came"
        before = (library / name).read_text().splitlines()
        after = (library.parent / "edited" / name).read_text().splitlines()
        kept = iter(after)
        assert all(line in kept for line in before), "each line of the source, in its order"
        added += len(after) - len(before)
    assert added == 10


def gone(text: str, line: str) -> str:
    return text.replace(line, "")


def twice(text: str, line: str) -> str:
    return text.replace(line, line + "\n    " + line)


def elsewhere(text: str, line: str) -> str:
    """The line as it should be, and in a function that is not the one."""
    return text.replace(line, "") + f"\nint other(void)\n{{\n    {line}\n}}\n"


@pytest.mark.parametrize("change", [gone, twice, elsewhere])
@pytest.mark.parametrize(("name", "function", "line"), PLACES)
def test_a_source_that_is_another_is_refused(
    library: Path, name: str, function: str, line: str, change: Callable[[str, str], str]
) -> None:
    (library.parent / "edited").mkdir()  # as made of another source before
    source = (library / name).read_text()
    assert source.count(line) == 1
    (library / name).write_text(change(source, line))
    done = edited(library)
    assert done.returncode == 1
    assert f"not exactly one line in {function}() begins with: {line}" in done.stderr
    assert "next:" in done.stderr
    assert not list(library.parent.glob("edited*")), "nothing is left that could be built, of before either"


def test_a_source_that_is_not_there_is_refused(library: Path) -> None:
    (library / COMMON).unlink()
    done = edited(library)
    assert done.returncode == 1 and "cannot be read" in done.stderr
    assert not list(library.parent.glob("edited*"))
