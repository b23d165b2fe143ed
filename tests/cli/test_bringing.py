"""`station device revoke` and `unscrap`, typed on a terminal at a plant of real processes, by somebody who signs in."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from station.demo import processes
from station.demo.processes import Process
from station.exits import Exit
from station.fault_table import TABLE
from station.scrap.proposal import require_reason
from station.usage import UsageError
from tests.cli.commands import STATION, station
from tests.cli.plant import Site
from tests.cli.terminal import OnTerminal
from tests.cli.test_rework import approved, code_of, key_of, typed

SLOT = "zz-01"


class Lead:
    """Somebody of role lead, who waits for a new code where the last one was used."""

    def __init__(self, site: Site) -> None:
        words = ["user", "add", "--dir", str(site.state / "registry"), "--role", "lead", "--jsonl"]
        made = json.loads(processes.answer([processes.script("station-registry"), *words]))
        self.user, self.password = made["user_id"], made["password"]
        self._secret = parse_qs(urlsplit(made["enrolment"]).query)["secret"][0]
        self._step = 0

    def code(self) -> str:
        """The oldest that is good for ten seconds more: so three go into half a minute."""
        self._step = max(self._step + 1, int(time.time() + 10) // 30 - 1)
        while self._step > int(time.time()) // 30 + 1:
            time.sleep(1)
        return code_of(self._secret, self._step * 30)

    def types(self, *words: object) -> tuple[int, str]:
        """The command with its three answers; its exit code, and what stood on the screen."""
        with OnTerminal([STATION, *map(str, words)], columns=200) as screen:
            screen.wait_until(lambda text: "Your id:" in text)
            screen.press(f"{self.user}\n")
            screen.wait_until(lambda text: "Password:" in text)
            screen.press(f"{self.password}\n")
            screen.wait_until(lambda text: "Code:" in text)
            screen.press(f"{self.code()}\n")
            code = screen.end()
            assert self.password not in screen.screen.text
            return code, screen.screen.text


@pytest.fixture
def device(site: Site) -> Iterator[str]:
    """A unit of the test's own, finished."""
    directory = site.directory / "bench-zz"
    argv = [sys.executable, "-m", "fixtures.bench", "--board", "native", "--devices", "1", "--dir", str(directory),
            "--product", "1001", "--prefix", "zz"]  # fmt: skip
    with Process(argv, site.directory / "bench-zz.log") as bench:
        bench.wait_until((directory / "slots.toml").exists, 30)
        words = ["--slots-file", directory / "slots.toml", "--slots", SLOT, "--jsonl"]
        made = station("run", "--config", site.config, "--order", site.order("brought"), *words)
        assert made.code == 0, made.err
        yield next(each["device_id"] for each in made.objects if each["event"] == "unit-finished")


@pytest.mark.timeout(180)
def test_a_scrap_is_taken_back_and_a_key_revoked_by_who_signs_in(site: Site, device: str) -> None:
    key, lead = key_of(site, device), Lead(site)
    burn = approved(site, "burn", device, key, "--scrap")
    back = approved(site, "back", device, key, "--unscrap")
    end = approved(site, "end", device, key, "--revoke")
    for what, act in (("revoke", back), ("scrap", end), ("rework", end), ("unscrap", burn)):
        wrong = typed(site, what, device, "--act", act)
        right = json.loads(msgspec.json.decode(act.read_bytes(), type=_Payload).text)["kind"]
        assert (wrong.code, f"station device {right} {device} --act {act} does it" in wrong.err) == (2, True), wrong
    piped = typed(site, "unscrap", device, "--act", back)
    assert (piped.code, "asked at a terminal" in piped.err) == (Exit.USAGE, True), piped
    assert typed(site, "scrap", device, "--act", burn).code == 0
    config = ["--config", site.config]
    for word in ("done:", "done before:"):
        code, shown = lead.types("device", "unscrap", device, "--act", back, *config)
        assert (code, f"{word} unscrap of device {device}" in shown, "it is active" in shown) == (0, True, True), shown
    code, shown = lead.types("device", "revoke", device, "--act", end, *config, "--jsonl")
    assert (code, '"state":"revoked","before":false' in shown) == (0, True), shown
    (told,) = typed(site, "show", device, "--jsonl").objects
    assert told["registry"]["state"] == "revoked"


class _Payload(msgspec.Struct):
    payload: bytes

    @property
    def text(self) -> str:
        return self.payload.decode()


def test_ctrl_c_at_a_question_ends_the_command_at_once(site: Site, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    processes.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{key}.key"], key)
    processes.run(["openssl", "ec", "-in", f"{key}.key", "-pubout", "-out", str(key)], tmp_path / "log")
    config, device = ["--config", str(site.config)], "ab" * 12
    for words, question in (
        (["device", "scrap", device, "--reason", "broken housing", *config], "Your id:"),
        (
            ["device", "propose", device, str(key), "--user", "ada", "--url", "https://localhost:1", *config],
            "password:",
        ),
    ):
        with OnTerminal([STATION, *words]) as screen:
            screen.wait_until(lambda text, question=question: question in text)
            began = time.monotonic()
            screen.press("\x03")
            assert (screen.end(), "interrupted" in screen.screen.text) == (130, True), screen.screen.text
            assert time.monotonic() - began < 5


def test_a_reason_is_looked_at_before_anybody_is_asked(site: Site) -> None:
    done = typed(site, "scrap", "ab" * 12, "--reason", "short")
    assert (done.code, "--reason: 8 to 200 characters" in done.err) == (Exit.USAGE, True), done
    for reason in ("two\nlines of it", "x" * 201):
        with pytest.raises(UsageError, match="--reason"):
            require_reason(reason)
    require_reason("broken housing")


def test_a_registry_that_is_away_asks_for_the_command_and_no_unit(site: Site) -> None:
    act = approved(site, "away", site.device("ec-01"), "ab" * 32, "--scrap")
    with site.without("registry"):
        done = typed(site, "scrap", site.device("ec-01"), "--act", act)
    assert (done.code, "Give the same command again" in done.err, "insert it" in done.err) == (7, True, False), done
    assert "insert it again" in TABLE["registry-unreachable"].remedy, "where there is a unit, it stays"


def test_an_act_on_a_device_is_none_for_the_signer(site: Site) -> None:
    act = approved(site, "mistaken", site.device("ec-01"), "ab" * 32, "--scrap", by=())
    done = station("act", act, "--config", site.config)
    assert (done.code, "station device rework, scrap, revoke or unscrap" in done.err) == (Exit.USAGE, True), done


@pytest.mark.timeout(120)
def test_a_person_changes_the_own_password(site: Site) -> None:
    lead = Lead(site)
    words = [STATION, "account", "password", "--config", str(site.config)]

    def change(*answers: str | Callable[[], str]) -> tuple[int, str]:
        with OnTerminal(words, columns=200) as screen:
            for question, answer in zip(
                ("Your id:", "Password:", "Code:", "New password:", "again:"), answers, strict=False
            ):
                screen.wait_until(lambda text, question=question: question in text)
                screen.press(f"{answer if isinstance(answer, str) else answer()}\n")
            return screen.end(), screen.screen.text

    old, new = lead.password, "quiet lanterns over Brno"
    for wrong, said in ((("short", ""), "15 to 128"), ((new, "another one entirely"), "the two differ")):
        code, shown = change(lead.user, old, "000000", *filter(None, wrong))
        assert (code, said in shown) == (Exit.USAGE, True), shown
    weak = f"{lead.user} password"
    code, shown = change(lead.user, old, lead.code, weak, weak)
    assert (code, "password-weak" in shown) == (Exit.USAGE, True), shown
    code, shown = change(lead.user, old, lead.code, new, new)
    assert (code, "the password is changed" in shown, new in shown) == (0, True, False), shown
    code, shown = change(lead.user, old, lead.code, new + "!", new + "!")
    assert (code, "sign-in-refused" in shown) == (Exit.USAGE, True), shown
