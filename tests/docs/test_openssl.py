"""The shell blocks of docs/statements.md, run as they stand on statements made here: good ones pass, touched ones do not."""

import asyncio
import base64
import json
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from station.history import Reader, device_history
from station.jobs import RecordKind
from station.provision import Provisioning
from tests.docs.pages import blocks, page
from tests.flow.plant import Parties, Plant
from tests.station.untouched import untouched
from tests.trust import orders
from tests.trust.people import Person, approved_by, approvers, file_of, first_root, next_root, people, person
from trust.dsse import Envelope
from trust.identity import DeviceId
from trust.merkle import leaf_hash
from trust.root_file import parse, wrap
from trust.signed_note import NoteKey, assemble, checkpoint_text
from trust.statement import envelope

BLOCKS = blocks(page("docs/statements.md"))
PIN, DONE = "order-1.pin", "order-1.completion"


def shell(block: str, directory: Path, **variables: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a block of the document in a directory."""
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    command = ["bash", "-eu", "-c", BLOCKS[block]]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)


async def provision(plant: Plant, parties: Parties, device: DeviceId, saved: Path) -> None:
    """One device to PASS and active, a checkpoint, and what `station device show --save` writes."""
    flow = Provisioning(plant.line(parties), plant.slot())
    done = await flow.run()
    await flow.close()
    answer = await parties.cloud.complete(device, done.completion)
    await parties.jobs.record(done.pinned.assigned.job.job_id, RecordKind.COMPLETION_RECEIPT, answer.completion_receipt)

    key = NoteKey(plant.root.root.log_origin("st-01"), plant.root.root.station("st-01").log)
    await parties.jobs.publish(key, parties.signer.sign_checkpoint)
    reader = Reader(root=plant.root, jobs=parties.jobs, cloud=parties.cloud, devices=untouched())
    found = await device_history(reader, device)
    found.save(saved)
    await parties.jobs.close()


@pytest.fixture(scope="module", params=["ec-p256", "rsa-2048"])
def made(request, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("made")
    plant = Plant.make(directory, key_type=request.param, udp=request.param == "ec-p256")  # those meet the cloud
    device = plant.new_device()
    asyncio.run(provision(plant, plant.parties(), device, directory / "saved"))
    plant.close()
    return directory


@pytest.fixture
def saved(made: Path, tmp_path: Path) -> Path:
    """A copy of the saved files, with ledger and trust root beside them."""
    shutil.copytree(made / "saved", tmp_path / "saved")
    for name in ("st-01.db", "root.json"):
        shutil.copyfile(made / name, tmp_path / "saved" / name)
    return tmp_path / "saved"


def flip(path: Path, *, back: int = 1) -> None:
    """Change one bit near the end of a file."""
    raw = bytearray(path.read_bytes())
    raw[-back] ^= 1
    path.write_bytes(raw)


def rewrite(path: Path, change) -> None:
    """Change a saved envelope's payload."""
    envelope = json.loads(path.read_text())
    payload = json.loads(base64.b64decode(envelope["payload"]))
    change(payload)
    envelope["payload"] = base64.b64encode(json.dumps(payload, sort_keys=True, separators=(",", ":")).encode()).decode()
    path.write_text(json.dumps(envelope))


def test_every_block_is_tried_here() -> None:
    by_hand = {"variables"}  # tests/cli/test_device.py: all of the section, typed from top to bottom
    assert set(BLOCKS) - by_hand == {
        "statement", "envelope", "root", "possession", "report", "handshake", "approvals", "checkpoint",
    }  # fmt: skip


def met(saved: Path) -> bool:
    """Whether the unit has met the cloud: the others' order asks for no handshake."""
    return (saved / "order-1.handshake-report.json").exists()


def test_all_statements_verify_and_touched_ones_do_not(saved: Path) -> None:
    names = sorted(path.stem for path in saved.glob("*.pem"))
    report = ["handshake-report"] if met(saved) else []
    assert [name.removeprefix("order-1.") for name in names] == [
        "completion", "completion-receipt", *report, "pin", "pin-receipt",
    ]  # fmt: skip
    for name in names:
        assert shell("statement", saved, NAME=name).stdout == "Verified OK\n"
        flip(saved / f"{name}.pae")
        assert shell("statement", saved, NAME=name).returncode != 0


def test_the_envelope_and_the_root_alone_are_enough(saved: Path) -> None:
    kept = {path.name: path.read_bytes() for path in saved.glob("*.p*")}
    for path in [*saved.glob("*.pae"), *saved.glob("*.sig"), *saved.glob("*.pem")]:
        path.unlink()
    assert shell("root", saved, ROOT="root.json", STATION="st-01").returncode == 0
    keys = {PIN: "pin", DONE: "completion", f"{PIN}-receipt": "receipt"}
    if met(saved):
        keys["order-1.handshake-report"] = "handshake"
    for name, key in keys.items():
        assert shell("envelope", saved, NAME=name).returncode == 0
        assert (saved / f"{name}.pae").read_bytes() == kept[f"{name}.pae"]
        shutil.copyfile(saved / f"{key}.pem", saved / f"{name}.pem")
        assert shell("statement", saved, NAME=name).stdout == "Verified OK\n"
    shutil.copyfile(saved / "completion.pem", saved / f"{PIN}.pem")  # another purpose's key
    assert shell("statement", saved, NAME=PIN).returncode != 0


def test_the_device_own_words_verify_and_changed_ones_do_not(saved: Path) -> None:
    assert shell("possession", saved, PIN=PIN).stdout == "Verified OK\nVerified OK\n"
    assert shell("report", saved, COMPLETION=DONE).stdout == "Verified OK\n"

    def other_port(payload: dict) -> None:
        report = bytearray(base64.b64decode(payload["closing"]["report"]))
        report[130] ^= 1
        payload["closing"]["report"] = base64.b64encode(report).decode()

    rewrite(saved / f"{DONE}.json", other_port)
    assert shell("report", saved, COMPLETION=DONE).returncode != 0
    rewrite(saved / f"{PIN}.json", lambda payload: payload.update(device_id="0" * 23 + "1"))
    assert shell("possession", saved, PIN=PIN).returncode != 0


def test_the_live_handshake_in_the_completion_verifies_and_one_of_another_unit_does_not(saved: Path) -> None:
    assert shell("root", saved, ROOT="root.json", STATION="st-01").returncode == 0
    good = shell("handshake", saved, COMPLETION=DONE)
    if not met(saved):
        assert (good.returncode, good.stdout) == (0, "handshake not-asked \n")
        return
    assert good.returncode == 0 and good.stdout.splitlines()[-1] == "Verified OK", good
    assert "over udp at " in good.stdout
    kept = {name: (saved / name).read_bytes() for name in (f"{DONE}.json", "handshake.pem")}
    rewrite(saved / f"{DONE}.json", lambda payload: payload.update(device_id="0" * 23 + "1"))
    about = shell("handshake", saved, COMPLETION=DONE)
    assert about.returncode != 0 and "about another device_id" in about.stderr

    def touched(payload: dict) -> None:
        report = payload["verification"]["handshake_report"]
        said = json.loads(base64.b64decode(report["payload"]))
        said["transcript_sha256"] = "0" * 64
        report["payload"] = base64.b64encode(json.dumps(said).encode()).decode()

    for change, key in ((touched, "handshake"), (lambda _: None, "receipt")):
        for name, content in kept.items():
            (saved / name).write_bytes(content)
        rewrite(saved / f"{DONE}.json", change)
        (saved / "handshake.pem").write_bytes((saved / f"{key}.pem").read_bytes())
        assert shell("handshake", saved, COMPLETION=DONE).returncode != 0


def test_the_ledgers_head_verifies_and_another_does_not(saved: Path) -> None:
    assert shell("root", saved, ROOT="root.json", STATION="st-01").returncode == 0
    kept = sqlite3.connect(saved / "st-01.db")
    (note,) = kept.execute("SELECT note FROM checkpoints").fetchone()
    kept.close()
    (saved / "checkpoint.note").write_text(note)
    good = shell("checkpoint", saved, NOTE="checkpoint.note")
    assert (good.returncode, "Verified" in good.stdout) == (0, True), good.stderr
    shutil.copyfile(saved / "pin.pem", saved / "log.pem")
    assert shell("checkpoint", saved, NOTE="checkpoint.note").returncode != 0


@pytest.mark.parametrize("key", [ed25519.Ed25519PrivateKey.generate, lambda: ec.generate_private_key(ec.SECP256R1())])
@pytest.mark.parametrize("touched", [False, True])
def test_both_kinds_of_log_key(key, touched: bool, tmp_path: Path) -> None:
    private = key()
    text = checkpoint_text("demo/st-01/log", 1, leaf_hash(b"entry"))
    signed = text.replace("\n1\n", "\n2\n") if touched else text
    parameters = () if isinstance(private, ed25519.Ed25519PrivateKey) else (ec.ECDSA(hashes.SHA256()),)
    public = private.public_key()
    note_key = NoteKey("demo/st-01/log", public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    note = assemble(text, note_key.line(private.sign(signed.encode(), *parameters)))
    (tmp_path / "log.pem").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (tmp_path / "checkpoint.note").write_text(note)
    assert (shell("checkpoint", tmp_path, NOTE="checkpoint.note").returncode != 0) is touched


def documents(directory: Path) -> dict[str, Person]:
    """A root of two versions, of which the second has another officer, and an order; both approved."""
    who = people()
    first = approved_by(wrap(root := first_root(who.values())), who["ada"], who["ben"])
    who["dora"] = person("dora", "officer")
    after = {name: each for name, each in approvers(who.values()).items() if name != "ada"}
    second = approved_by(wrap(next_root(root, first, approvers=after)), who["ada"], who["ben"], who["dora"])
    order = envelope(orders.make(second.payload_sha256, ["st-01"], "ab" * 32, environment="plant-a"))
    (directory / "root.json").write_bytes(file_of(first, second))
    (directory / "order.json").write_bytes(approved_by(order, who["pia"], who["quinn"]).to_json())
    parse((directory / "root.json").read_bytes())
    return who


def test_approvals_verify_one_by_one(tmp_path: Path) -> None:
    documents(tmp_path)
    done = shell("approvals", tmp_path, DOCUMENT="order.json", ROOT="root.json")
    assert (done.returncode, done.stdout.count("Verified OK\n")) == (0, 2), done
    assert "signature of pia in version 2 product-owner\n" in done.stdout
    of_root = shell("approvals", tmp_path, DOCUMENT="root.json", ROOT="root.json")
    assert (of_root.returncode, of_root.stdout.count("Verified OK\n")) == (0, 3), of_root
    assert "signature of ada in version 1 officer\n" in of_root.stdout
    assert parse((tmp_path / "root.json").read_bytes()).sha256 in of_root.stdout


def test_a_changed_document_or_a_strangers_signature_does_not(tmp_path: Path) -> None:
    who = documents(tmp_path)
    rewrite(tmp_path / "order.json", lambda payload: payload.update(quantity=9_000_000))
    assert shell("approvals", tmp_path, DOCUMENT="order.json", ROOT="root.json").returncode != 0
    documents(tmp_path)  # the same names with other keys, in a new root
    order = Envelope.from_json((tmp_path / "order.json").read_bytes())
    (tmp_path / "order.json").write_bytes(approved_by(order, who["pia"]).to_json())
    assert shell("approvals", tmp_path, DOCUMENT="order.json", ROOT="root.json").returncode != 0
