"""Nothing of a request comes into diagnostics or metrics: secrets are planted in every place of one, and looked for."""

from __future__ import annotations

import ast
import io
import json
import logging
import secrets
import sqlite3
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.telemetry.diagnostics import FIELDS, Lines
from tests.registry.make import Device
from tests.registry.running import REPOSITORY, Plant, answered, connect, plant_at, signed_in
from tests.registry.test_api import pin_body

pytestmark = pytest.mark.timeout(60)  # tests start the program
ALWAYS = {"at", "level", "from", "says", "errors", "where"}


class Planted:
    """Words that are nowhere else, by the place where each was put."""

    def __init__(self) -> None:
        self.places: dict[str, str] = {}

    def word(self, place: str, size: int = 12) -> str:
        """A new one: hex, so that it may also pass for a device id, a key's or a token's text."""
        return self.places.setdefault(place, secrets.token_hex(size))

    def found(self, text: str) -> list[str]:
        return [place for place, word in self.places.items() if word.lower() in text.lower()]


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    with plant_at(tmp_path) as made:
        yield made


def requests(planted: Planted) -> Iterator[bytes]:
    """Requests of all kinds, most of them wrong, each with words of its own in all its places."""
    word = planted.word
    host = b"host: localhost\r\n"

    def request(name: str, method: str, path: str, body: str, *headers: str) -> bytes:
        lines = [
            f"{method} {path} HTTP/1.1", "host: localhost", f"authorization: DPoP {word(name + ' token')}",
            f"dpop: {word(name + ' proof')}", f"cookie: session={word(name + ' cookie')}",
            f"user-agent: {word(name + ' agent')}", f"x-{word(name + ' header name')}: 1",
            f"x-forwarded-for: {word(name + ' forwarded')}", f"content-length: {len(body)}", *headers,
        ]  # fmt: skip
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()

    json_body = '{"statement":"%s","%s":{"payload":"%s"}}'
    for method in ("GET", "PUT", "POST", "DELETE", "BREW"):
        for name, path in {
            "pins": f"/v1/pins/{word(method + ' device')}?{word(method + ' query name')}={word(method + ' query')}",
            "completion": f"/v1/pins/{word(method + ' completed')}/completion",
            "devices": f"/v1/devices/{word(method + ' revoked')}/revoke",
            "leases": f"/v1/leases?token={word(method + ' lease query')}",
            "nowhere": f"/{word(method + ' path')}/%{0x41:x}{word(method + ' encoded')}#{word(method + ' fragment')}",
        }.items():
            body = json_body % tuple(word(f"{method} {name} body {part}") for part in ("value", "key", "inner"))
            yield request(f"{method} {name}", method, path, body)
    form = f"grant_type=password&username={word('user')}&password={word('password')}&otp={word('code')}"
    yield request("token", "POST", "/oauth/token", form, "content-type: application/x-www-form-urlencoded")
    yield request("basic", "POST", "/v1/sessions", "{}", f"authorization: Basic {word('basic')}")
    yield request("method", word("method").upper(), "/v1/status", "")
    # what is no request
    yield f"GET /{word('no version')}\r\n\r\n".encode()
    yield b"GET / HTTP/1.1\r\n" + host + f": {word('nameless')}\r\n\r\n".encode()
    yield b"GET / HTTP/1.1\r\n" + host + f"content-length: {word('length')}\r\n\r\n".encode()
    yield b"GET / HTTP/1.1\r\n" + host + f"x: {word('long', 10_000)}\r\n\r\n".encode()
    yield b"PUT / HTTP/1.1\r\n" + host + f"transfer-encoding: {word('encoding')}\r\n\r\n".encode()
    yield b"PUT /v1/leases HTTP/1.1\r\n" + host + f"transfer-encoding: chunked\r\n\r\n{word('chunk')}\r\n".encode()
    yield b"PUT /v1/leases HTTP/1.1\r\n" + host + f"expect: {word('expect')}\r\ncontent-length: 0\r\n\r\n".encode()


def ask(plant: Plant, data: bytes) -> bytes:
    with connect(plant) as line:
        line.sendall(data)
        return answered(line)


def put_pin(plant: Plant, device: Device) -> bytes:
    body = pin_body(plant.made.pin(device), plant.made.order_envelope)
    path = f"/v1/pins/{device.device_id}"
    shown = "".join(f"{name}: {value}\r\n" for name, value in signed_in(plant).headers("PUT", path).items())
    head = f"PUT {path} HTTP/1.1\r\nhost: localhost\r\n{shown}content-length: {len(body)}\r\n\r\n"
    return ask(plant, head.encode() + body)


def put_pins_into_trouble(plant: Plant, planted: Planted) -> None:
    """A silent signer, a bug whose text tells, and a database that fails with its statement's parameters."""
    for name, file in (("silent signer", "signer-down"), ("bug", "signer-bug")):
        device = Device()
        planted.places[f"{name}: device"] = str(device.device_id)
        planted.places[f"{name}: job"] = str(device.job)
        (plant.directory / file).write_text(f"about {planted.word(name + ': text')}")
        put_pin(plant, device)
        (plant.directory / file).unlink()
    with sqlite3.connect(plant.directory / "registry.db") as outside:
        for (trigger,) in outside.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            outside.execute(f'DROP TRIGGER "{trigger}"')
        outside.execute("ALTER TABLE pins RENAME TO elsewhere")
    device = Device()
    planted.places["failing database: device"] = str(device.device_id)
    put_pin(plant, device)


def all_that_is_told(plant: Plant, planted: Planted) -> tuple[str, str]:
    """Diagnostics and metrics of a process that was asked all this."""
    url = plant.telemetry()
    for data in requests(planted):
        ask(plant, data)
    with pytest.raises(OSError, match=r"."):  # it speaks TLS only
        urllib.request.urlopen(f"http://localhost:{plant.port}/{planted.word('plain HTTP')}", timeout=5)
    put_pins_into_trouble(plant, planted)
    with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:
        metrics = answer.read().decode()
    assert plant.end() == 0
    return "".join(plant.said), metrics


def test_nothing_of_a_request_is_told(plant: Plant) -> None:
    planted = Planted()
    plant.start(METRICS="127.0.0.1")
    said, metrics = all_that_is_told(plant, planted)
    assert len(planted.places) > 200
    assert planted.found(said) == []
    assert planted.found(metrics) == []
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert all(set(line) <= ALWAYS | set(FIELDS) for line in lines)
    refused = [line for line in lines if line["says"] == "request refused"]
    assert len(refused) > 20 and {line["status"] for line in refused} >= {400, 404, 405, 500, 503}
    assert any("sqlalchemy.exc.OperationalError" in line.get("errors", ()) for line in lines)
    assert any("builtins.RuntimeError" in line.get("errors", ()) for line in lines)
    told = {line for line in said.splitlines() if not line.startswith("{")}
    assert all(line.startswith(("ready: ", "warning: stations go to ", "metrics: ")) for line in told), told


def test_control_a_path_that_is_told_is_found(plant: Plant) -> None:
    planted = Planted()
    plant.start(METRICS="127.0.0.1", LEAK=1)
    said, metrics = all_that_is_told(plant, planted)
    assert "GET path" in planted.found(said) and "silent signer: device" in planted.found(said)
    assert "GET path" in planted.found(metrics)


# ---- a line


def line_of(formatter: logging.Formatter, logger: str, *args: object, **options: object) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    made = logging.Logger(logger)  # noqa: LOG001 - one of this test's own
    made.addHandler(handler)
    made.error(*args, **options)
    return stream.getvalue()


def failed() -> Exception:
    try:
        try:
            raise ValueError("password hunter2")
        except ValueError as error:
            raise RuntimeError("token abcdef") from error
    except RuntimeError as error:
        return error


def test_a_line_has_the_allowed_fields_and_of_errors_only_kinds_and_places() -> None:
    extra = {"route": "/v1/pins/{device_id}", "status": 400, "path": "/v1/pins/secret", "ms": "12 hunter2"}
    told = line_of(Lines(), "registry.app", "a request failed: %s", "hunter2", exc_info=failed(), extra=extra)
    line = json.loads(told)
    assert (line["says"], line["route"], line["status"]) == ("a request failed: %s", "/v1/pins/{device_id}", 400)
    assert set(line) == {"at", "level", "from", "says", "route", "status", "errors", "where"}, (
        "a kind that does not fit is left out"
    )
    assert line["errors"] == ["builtins.RuntimeError", "builtins.ValueError"]
    assert line["where"][0].startswith("registry/test_diagnostics.py:")
    assert "hunter2" not in told and "abcdef" not in told
    assert "hunter2" in line_of(Lines({**FIELDS, "ms": (str,)}), "registry.app", "x", extra=extra), "control"


def test_what_a_library_says_is_named_by_its_place() -> None:
    told = json.loads(line_of(Lines(), "uvicorn.error", "GET /v1/pins/secret from 10.0.0.1"))
    assert told["from"] == "uvicorn" and "secret" not in told["says"] and " line " in told["says"]


def test_a_line_stays_one_line() -> None:
    assert line_of(Lines(), "registry.app", "two\nlines", extra={"route": "a\nb"}).count("\n") == 1


def messages(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls of a logger."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id.lower() in {"_log", "log", "logger"}:
                yield node


def careless(source: str) -> list[int]:
    """Lines on which a logger is given more than a text of the source."""
    found = []
    for call in messages(ast.parse(source)):
        args = call.args[1:] if isinstance(call.func, ast.Attribute) and call.func.attr == "log" else call.args
        if len(args) != 1 or not isinstance(args[0], ast.Constant):
            found.append(call.lineno)
    return found


def test_our_own_messages_are_texts_of_the_source() -> None:
    told = {
        str(path.relative_to(REPOSITORY)): lines
        for path in (REPOSITORY / "registry").rglob("*.py")
        if (lines := careless(path.read_text()))
    }
    assert told == {}
    assert careless('_log.info("device %s", device)\n_log.warning(f"{token}")\n_log.error("x")') == [1, 2]
