"""`station device show`: what is known, and artefacts that stock openssl checks."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from station.exits import Exit
from tests.cli.commands import STATION, Done, station, typed
from tests.cli.plant import Site
from tests.cli.test_setup import other_root
from tests.docs.pages import blocks, page, section
from trust.dsse import Envelope
from trust.root import RegistryKeys

pytestmark = pytest.mark.xdist_group("site")
FENCED = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPKI = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
SIGNED = ("pin", "pin-receipt", "completion", "completion-receipt")


def openssl(directory: Path, name: str) -> str:
    """What openssl says of a saved statement."""
    words = ["openssl", "dgst", "-sha256", "-verify", f"{name}.pem", "-signature", f"{name}.sig", f"{name}.pae"]
    return subprocess.run(words, cwd=directory, capture_output=True, text=True, check=False).stdout.strip()


def test_a_device_that_passed(site: Site, first_batch: Done) -> None:
    device = site.device("ec-01")
    done = station("device", "show", device, "--config", site.config)
    assert (done.code, done.err) == (0, "")
    assert done.lines[0] == f"device    {device}, emulated"
    assert done.lines[1] == "registry  active, pinned by station st-01, signatures verified"
    assert re.fullmatch(r"key       [0-9a-f]{64}", done.lines[2])
    assert "under order main, " in done.lines[3]
    assert re.search(r", 1 attempt(, verified again (once|\d+ times) since it passed)?$", done.lines[3])
    assert done.lines[4] == "state     passed: active in the cloud"
    checked = {line.split()[0]: line for line in done.lines[5:]}
    assert all("verified with" in checked[kind] for kind in SIGNED)
    assert all("unsigned, covered by the checkpoint" in checked[kind] for kind in ("intent", "completion-intent"))


def test_for_scripts(site: Site, first_batch: Done) -> None:
    device = site.device("ec-01")
    (found,) = typed("device", "show", device, "--config", site.config, "--jsonl").objects
    assert (found["device_id"], found["known"]) == (device, True)
    assert (found["registry"]["state"], found["registry"]["station"]) == ("active", "st-01")
    assert len(found["registry"]["fingerprint"]) == 64
    assert found["registry"]["emulated"] is True
    (job,) = [job for job in found["jobs"] if job["order_id"] == "main"]
    assert (job["state"], job["emulated"], job["attempts"]) == ("passed", True, 1)
    assert job["verified_again"] >= 0
    assert {record["kind"] for record in job["records"]} == {*SIGNED, "intent", "completion-intent"}


def test_units_that_passed_ship_and_an_order_that_nobody_knows_is_named(site: Site, first_batch: Done) -> None:
    device = site.device("ec-01")
    done = station("order", "release", "main", "--config", site.config)
    assert f"ships   {device}  active, witness pending" in done.lines
    assert "not asked); witness: always pending, as none is built" in done.err
    stay = [line for line in done.lines if line.startswith("stays ")]
    assert (done.code == Exit.PASSED) is (not stay)
    found = typed("order", "release", "main", "--config", site.config, "--jsonl").objects
    assert {each["device_id"] for each in found if each["ships"]} >= {device}
    required = station("order", "release", "main", "--config", site.config, "--witness", "required")
    assert not [line for line in required.lines if line.startswith("ships ")] and required.code != Exit.PASSED
    policy = site.config_with("strict", ('witness = "pending"', 'witness = "required"'))
    assert station("order", "release", "main", "--config", policy).out == required.out, "the plant's policy"
    weaker = station("order", "release", "main", "--config", policy, "--witness", "pending")
    assert (weaker.code, weaker.out) == (Exit.USAGE, ""), "whoever types can only be stricter"
    unknown = station("order", "release", "nowhere", "--config", site.config)
    assert (unknown.code, unknown.out) == (Exit.USAGE, "")
    assert "the ledger has no order 'nowhere': station ledger report" in unknown.err


def test_saved_statements_verify_with_openssl(site: Site, first_batch: Done, tmp_path: Path) -> None:
    device = site.device("ec-01")
    done = typed("device", "show", device, "--config", site.config, "--save", tmp_path / "new" / "place")
    place = tmp_path / "new" / "place"
    assert (done.code, len(done.err.splitlines())) == (0, 4 * len(SIGNED))
    for kind in SIGNED:
        name = f"main.{kind}"
        assert openssl(place, name) == "Verified OK"
        assert Envelope.from_json((place / f"{name}.json").read_bytes()).pae == (place / f"{name}.pae").read_bytes()
        signed = (place / f"{name}.pae").read_bytes()
        assert device.encode() in signed
        (place / f"{name}.pae").write_bytes(signed.replace(device.encode(), device[::-1].encode()))
        assert openssl(place, name) != "Verified OK", "negative control"


def test_the_block_of_the_readme_looks_at_the_device_asked_for_and_no_other(
    site: Site, first_batch: Done, tmp_path: Path
) -> None:
    (block,) = FENCED.findall(section(page("README.md"), "## Check a statement yourself"))
    swaps = {".venv/bin/station": STATION, "config.example.toml": str(site.config), "run/shown": str(tmp_path)}
    for old, new in swaps.items():
        assert old in block
        block = block.replace(old, new)

    def typed_for(device: str) -> subprocess.CompletedProcess[str]:
        script = block.replace("DEVICE-ID", device)
        return subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)

    devices = [site.device("ec-01"), site.device("ec-02")]
    for device in devices:
        done = typed_for(device)
        assert (done.returncode, done.stdout.count("Verified OK\n")) == (0, len(SIGNED)), done
    for device in devices:
        statements = [path for path in (tmp_path / device).glob("*.pae") if "receipt" not in path.name]
        assert len(statements) == 2
        assert all(device.encode() in path.read_bytes() for path in statements)
    again = typed_for(devices[0])
    assert (again.returncode, "Verified OK" in again.stdout) == (Exit.USAGE, False), (
        "nothing was saved, nothing is said"
    )
    receipt = next((tmp_path / devices[0]).glob("*.pin-receipt.pae"))
    receipt.write_bytes(receipt.read_bytes() + b" ")
    touched = subprocess.run(
        ["sh", "-c", block.replace("DEVICE-ID", devices[0]).partition("&& (")[2].rpartition(")")[0]],
        cwd=tmp_path, env={**os.environ, "ID": devices[0]}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert touched.returncode != 0, "negative control"


def test_the_openssl_section_of_the_statements_page_can_be_typed_from_top_to_bottom(
    site: Site, first_batch: Done, tmp_path: Path
) -> None:
    script = "\n".join(blocks(page("docs/statements.md")).values())
    swaps = {
        ".venv/bin/station": STATION, "config.example.toml": str(site.config), "run/audit": str(tmp_path),
        "$PWD/run/demo": str(site.state), "DEVICE-ID": site.device("ec-01"),
    }  # fmt: skip
    for old, new in swaps.items():
        assert old in script
        script = script.replace(old, new)
    done = subprocess.run(["bash", "-eu", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    # pin statement, two proofs of possession, closing report, the root's two approvals, checkpoint
    assert (done.returncode, len(re.findall(r"Verified OK|Signature Verified", done.stdout))) == (0, 7), done


def test_an_unknown_device(site: Site, first_batch: Done) -> None:
    done = station("device", "show", "ab" * 12, "--config", site.config)
    assert (done.code, done.lines) == (Exit.UNIT_FAILED, [f"device    {'ab' * 12}", "registry  no pin"])
    assert done.err.startswith("station: neither ledger nor registry knows this id: compare it ")
    assert f"check --config {site.config} shows what is in the slots" in done.err


def test_verifications_are_told_apart_from_attempts(site: Site, first_batch: Done) -> None:
    words = ["device", "show", site.device("ec-01"), "--config", site.config, "--jsonl"]

    def told() -> tuple[int, int]:
        (job,) = [job for job in typed(*words).objects[0]["jobs"] if job["order_id"] == "main"]
        return job["attempts"], job["verified_again"]

    attempts, again = told()
    assert typed("run", "--config", site.config, "--order", site.order("main"), "--slots", "ec-01").code == 0
    assert told() == (attempts, again + 1)


def test_a_place_to_save_that_cannot_be_had(site: Site, first_batch: Done, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = typed("device", "show", site.device("ec-01"), "--config", site.config, "--save", tmp_path / "file" / "x")
    assert done.code == Exit.USAGE
    assert "Traceback" not in done.err
    assert str(tmp_path / "file") in done.err


def test_a_registry_whose_word_does_not_hold(site: Site, first_batch: Done) -> None:
    """The root names another receipt key than the one that the registry's receipts are signed with."""
    keys = RegistryKeys(receipt=ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(*SPKI))
    (site.state / "other-keys.json").write_bytes(other_root(site, registry_keys=keys))
    config = site.config_with("other-keys", ('root = "root.json"', 'root = "other-keys.json"'))
    done = typed("device", "show", site.device("ec-01"), "--config", config)
    assert done.lines[1].startswith("registry  NOT TRUSTED: ")
    assert sum("SIGNATURE DOES NOT VERIFY" in line for line in done.lines) == 2, done.out
