"""docs/deployment.md about the device service: its tables are held against the code's own words, its lines are typed."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from registry.device_service.relay.messages import State
from registry.device_service.tcp.connection import FAULT, Ended
from registry.device_service.udp.reasons import Reason
from registry.settings import DevicesConfig, Home
from tests.docs.pages import TOP, blocks, page, quoted, rows, section
from tests.registry.device_service.dtls_client import spki_of
from tests.registry.device_service.field_units import count, tcp_door, udp_door
from tests.registry.device_service.seeded import seeded
from tests.registry.device_service.service_end import Service
from tests.registry.device_service.test_tcp import Keys, Pins

SERVICE = section(page("docs/deployment.md"), "### The device service")
WHY = section(page("docs/deployment.md"), "### Why does my device not come in")
CODE = TOP / "registry" / "device_service"
Words = set[tuple[str, str]]


def constants(node: ast.AST) -> Iterator[str]:
    """The texts that may come out of an expression: itself, or either side of a choice."""
    if isinstance(node, ast.IfExp):
        yield from constants(node.body)
        yield from constants(node.orelse)
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
        yield node.value


def called(call: ast.Call) -> set[str]:
    """The function's name, and those of functions that are given to it to be called with the rest."""
    return {getattr(each, "attr", getattr(each, "id", "")) for each in (call.func, *call.args)}


def given(text: str, *names: str) -> set[str]:
    """The texts that are given to calls of these functions, at once or later, or are their arguments' own."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and called(node) & {*names}:
            found.update(each for argument in node.args for each in constants(argument))
        if isinstance(node, ast.FunctionDef) and node.name in names:
            found.update(each for default in node.args.defaults for each in constants(default))
    return found


def returned(text: str, name: str) -> set[str]:
    """The texts that a function returns."""
    found = (each for each in ast.walk(ast.parse(text)) if isinstance(each, ast.FunctionDef) and each.name == name)
    returns = (each for function in found for each in ast.walk(function) if isinstance(each, ast.Return) and each.value)
    return {each for one in returns if one.value is not None for each in constants(one.value)}


def source(name: str) -> str:
    return (CODE / name).read_text("utf-8")


def results() -> Words:
    """All that `result` may say, and where."""
    connection, udp = source("tcp/connection.py"), source("field/udp_door.py")
    tcp = given(source("tcp/handshake.py"), "RefusedHandshakeError") | returned(connection, "reason_of") | {FAULT}
    tcp |= given(source("field/tcp_door.py"), "_tell") | {each.value for each in Ended}
    relay = given(source("relay/desk.py"), "_drop") | {*get_args(State)} - {"running"}
    found = {"relay": relay, "tcp": tcp, "udp": given(udp, "_forget", "_drop_open", "_failed", "handshake") | {*Reason}}
    return {(str(word), where) for where, words in found.items() for word in words} - {("field", "udp")}


def limits() -> Words:
    """All that `limit` may say."""
    found = set()
    for where, file, name in (("tcp", "field/tcp_door.py", "turned_away"), ("udp", "field/udp_door.py", "_full")):
        words = returned(source(file), name) | given(source(file), "limited")
        found |= {(word, where) for word in words}
    return found


def told(text: str, head: str) -> Words:
    """The words of the table with this head."""
    table = f"| {head} |{text.split(f'| {head} |')[1]}".split("\n\n")[0]
    return {(quoted(row[0])[0], where) for row in rows(table) for where in quoted(row[1])}


def test_every_word_of_how_a_handshake_ended_has_its_row_and_none_is_invented() -> None:
    assert told(WHY, "`result`") == results()
    assert len(results()) > 30


def test_every_limit_has_its_row() -> None:
    assert told(WHY, "`limit`") == limits()
    assert len(limits()) == 8


def test_a_word_that_is_left_out_is_seen() -> None:
    assert told(WHY.replace("| `other-key` |", "| `another-key` |"), "`result`") != results()
    assert given('f("a" if x else "b")\ndef f(one, why="c"): ...', "f") == {"a", "b", "c"}
    assert returned('def f():\n    return "a" if x else ""', "f") == {"a"}


def test_the_example_is_taken_and_every_setting_has_its_row(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", SERVICE, re.DOTALL)
    (tmp_path / "registry.toml").write_text(f'name = "registry-01"\nenvironment = "demo"\n{example}')
    taken = Home.load(tmp_path).config.devices
    assert (taken.tcp, taken.udp) == ("0.0.0.0:5683", "0.0.0.0:5684")
    assert taken == msgspec.structs.replace(DevicesConfig(), tcp=taken.tcp, udp=taken.udp)
    table = SERVICE.split("| setting |")[1].split("\n\n")[0]
    assert {name for row in rows(f"| setting |{table}") for name in quoted(row[0])} == {
        *DevicesConfig.__struct_fields__
    }


async def typed(block: str, **words: str) -> str:
    """What a line of the page prints, for this port."""
    text = blocks(WHY)[block]
    for old, new in words.items():
        assert f"{old}=" in text
        text = re.sub(rf"{old}=\S+", f"{old}={new}", text)
    done = await asyncio.create_subprocess_exec("bash", "-c", text, stdout=-1, stderr=-1)
    out, _ = await done.communicate()
    return out.decode()


@pytest.mark.timeout(60)
def test_what_the_page_types_finds_the_udp_port_and_its_key() -> None:
    assert shutil.which("gnutls-cli") is not None, "it is not installed: see setup/packages-base.txt"
    service = Service()

    async def story() -> None:
        async with udp_door(service.credentials, service.pins) as (door, port):
            said = await typed("try_udp", UDP=str(port))
            assert f"sha256:{hashlib.sha256(spki_of(service.signer.key)).hexdigest()}" in said
            assert (count(door.metrics, "udp", "no-key"), len(door)) == (1, 0)

    asyncio.run(story())


@pytest.mark.timeout(60)
def test_what_the_page_types_finds_the_tcp_port() -> None:
    async def story(keys: Any) -> None:
        async with tcp_door(keys, Pins({})) as (door, port):
            assert (await typed("try_tcp", TCP=str(port))).strip() == "40"
            await asyncio.sleep(0.1)
            assert (count(door.metrics, "tcp", "left"), door.open) == (1, 0)

    asyncio.run(story(Keys(seeded("cloud", 2048))))
