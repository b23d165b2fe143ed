"""The committed vectors are what docs/wire.md says, and the firmware agrees with them byte for byte."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key

from tests.firmware import make_vectors
from tests.firmware.machine import Device, factory_page
from tests.firmware.signatures import proof_message
from tests.firmware.wire import FrameReader, lines

VECTORS: dict[str, Any] = json.loads(make_vectors.OUT.read_text())
SLOTS = {1: (0x1000, 0x2000), 2: (0x3000, 0x4000), 3: (0x5000, 0x6000)}


def stream(carried: dict[str, Any]) -> bytes:
    return b"".join(line.encode() + b"\n" for line in carried["lines"])


def test_the_file_is_what_its_generator_writes() -> None:
    assert make_vectors.OUT.read_text() == make_vectors.text()


def test_its_keys_are_on_their_curves() -> None:
    for key in (make_vectors.CLOUD_EC, make_vectors.AUTH_EC, make_vectors.CLOUD_RSA):
        load_der_public_key(key)


def test_two_codecs_agree_on_lines_and_messages() -> None:
    for carried in VECTORS["framing"]["messages"]:
        assert lines(bytes.fromhex(carried["frame"])) == stream(carried)
        assert FrameReader().feed(stream(carried)) == [bytes.fromhex(carried["frame"])]
    proof = VECTORS["signed"]["proof"]
    assert proof_message("pin", bytes.fromhex(proof["ch"])).hex() == proof["message"]
    assert factory_page().hex() == VECTORS["flash"]["factory_page"]["page"]


@pytest.mark.parametrize("case", VECTORS["framing"]["accepted"], ids=lambda case: case["name"])
def test_accepted_streams_are_answered_once_for_each_frame(device: Device, case: dict[str, Any]) -> None:
    device.client.send_raw(bytes.fromhex(case["stream"]))
    for frame in map(bytes.fromhex, case["frames"]):
        assert device.client.receive().seq == frame[6]
    assert device.client.silent()


def test_dropped_streams_get_no_answer_and_do_no_harm(device: Device) -> None:
    for case in VECTORS["framing"]["dropped"]:
        device.client.send_raw(bytes.fromhex(case["stream"]))
        assert device.client.silent(0.03), case["name"]
        assert device.client.echo(case["name"]) == case["name"]


def test_the_story_of_one_device(device: Device) -> None:
    for step in VECTORS["story"]:
        device.client.send_raw(stream(step["request"]))
        answer = device.client.receive()
        expected = bytes.fromhex(step["answer"]["frame"])
        assert (answer.op, answer.group, answer.seq, answer.command) == (expected[0] & 7, *answer_key(expected)), step[
            "name"
        ]
        assert answer.body == expected[8:], step["name"]
        if "then" in step:
            device.client.wait_for_key()


def answer_key(frame: bytes) -> tuple[int, int, int]:
    return int.from_bytes(frame[4:6], "big"), frame[6], frame[7]


def test_answers_are_cut_into_lines_as_the_vectors_are(start: Callable[..., Device]) -> None:
    device = start()
    step = next(step for step in VECTORS["story"] if step["name"] == "echo of 512 characters")
    device.client.send_raw(stream(step["request"]))
    assert device.client.receive_raw(len(stream(step["answer"]))) == stream(step["answer"])


def test_records_in_flash(device: Device, flash: Path) -> None:
    job = make_vectors.JOB
    device.client.make_key(1, job)
    device.client.write_anchor(make_vectors.ANCHOR)
    device.client.lock(job)
    image = flash.read_bytes()
    lock = bytes.fromhex(VECTORS["flash"]["lock_record"]["record"])
    assert image[0x5000 : 0x5000 + len(lock)] == lock
    for kind, (slot, other) in SLOTS.items():
        size = int.from_bytes(image[slot + 12 : slot + 16], "big")
        payload = image[slot + 16 : slot + 16 + size]
        assert image[slot : slot + 20 + size] == make_vectors.record(kind, 1, payload)
        assert set(image[slot + 20 + size : other + 0x1000]) == {0xFF}
    assert hashlib.sha256(image[0xFF000:]).digest() == hashlib.sha256(factory_page().ljust(4096, b"\xff")).digest()
