"""`station-signer public`: keys by purpose, one as PEM; a file that is none, or a purpose it lacks, is one sentence."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from hsm.cli import cli
from hsm.public_file import public_json
from tests.trust.documents import ec_key, spki
from trust.keys import PublicKey


def asked(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, ["public", *map(str, words)])


def test_keys_by_purpose_and_one_as_pem(tmp_path: Path) -> None:
    keys = {"authority": spki(ec_key()), "cloud-udp": spki(ec_key())}
    file = tmp_path / "public.json"
    file.write_bytes(public_json(keys))
    listed = asked(file)
    assert [line.split() for line in listed.output.splitlines()] == [
        [name, PublicKey.from_der(key).fingerprint] for name, key in keys.items()
    ]
    one = asked(file, "--purpose", "authority")
    assert (one.exit_code, PublicKey.from_pem(one.output).spki) == (0, keys["authority"])
    missing = asked(file, "--purpose", "pin")
    assert (missing.exit_code, missing.output) == (
        2,
        f"station-signer: {file} has no key 'pin'; it has authority, cloud-udp\n",
    )
    file.write_text("{}}")
    assert "name the public.json that station-signer init has made" in asked(file).output
