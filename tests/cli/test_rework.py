"""`station device rework` and `scrap`, typed at a plant of real processes: registry, SoftHSM signers, native firmware."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import struct
import subprocess
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from station.demo import processes
from station.exits import Exit
from station.faults import Fault
from station.scrap.proposal import Proposed, propose_scrap
from station.signed_in import SignIn
from station.usage import UsageError
from tests.cli.commands import STATION, Done, station
from tests.cli.plant import Site
from tests.cli.terminal import OnTerminal
from tests.hsm.by_hand import sign_by_hand
from trust.identity import DeviceId

SLOT = "ec-09"
PEOPLE = ("demo-owner", "demo-quality")


def approved(site: Site, name: str, device: str, fingerprint: str, *what: str, by: tuple[str, ...] = PEOPLE) -> Path:
    """An act on the device, made as people type it, with these people's signatures."""
    signer, file = processes.script("station-signer"), site.directory / f"{name}.act"
    log, root = site.directory / "acts.log", str(site.state / "root.json")
    file.unlink(missing_ok=True)
    made = ["device", "new", device, "--root", root, "--fingerprint", fingerprint, *what]
    processes.run([signer, *made, "--reason", "for a test", "--out", str(file)], log)
    people = site.state / "people"
    sign_by_hand(file, *((people / f"{each}.key", (people / f"{each}.passphrase").read_text().strip()) for each in by))
    return file


def typed(site: Site, what: str, device: str, *words: object) -> Done:
    return station("device", what, device, *words, "--config", site.config)


def key_of(site: Site, device: str) -> str:
    (shown,) = typed(site, "show", device, "--jsonl").objects
    return str(shown["registry"]["fingerprint"])


@pytest.mark.timeout(400)
def test_a_finished_unit_gets_another_key_and_is_scrapped(site: Site) -> None:
    device = site.device(SLOT)
    made = station("run", "--config", site.config, "--order", site.order("rework"), "--slots", SLOT)
    assert made.code == 0, made.err
    old = key_of(site, device)
    first = approved(site, "first", device, old, "--unlock")
    assert typed(site, "rework", device, "--act", first).code == 0
    release, words = ("order", "release", "rework", "--config", site.config), ("run", "--config", site.config, "--order",
                      site.order("rework"), "--slots", SLOT, "--jsonl")  # fmt: skip
    assert "not-locked" in station(*release).out
    relocked = station(*words)
    assert (relocked.code, '"already":true' in relocked.out) == (0, True), relocked
    assert station(*release).code == 0, "verified again, it ships"
    alone = approved(site, "alone", device, old, "--new-key", "ec-p256", by=PEOPLE[:1])
    refused = typed(site, "rework", device, "--act", alone)
    assert (refused.code, refused.out) == (Exit.USAGE, ""), refused
    assert "act rekey on device" in refused.err
    act = approved(site, "rekey", device, old, "--new-key", "ec-p256")
    absent = typed(site, "rework", device, "--act", act, "--slot", "ec-06")
    assert (absent.code, "unit-another" in absent.err) == (Exit.UNIT_FAILED, True), absent
    done = typed(site, "rework", device, "--act", act, "--jsonl")
    assert done.code == 0, done.err + done.out
    steps, last = [each for each in done.objects if each["event"] == "rework-step"], done.objects[-1]
    assert [each["step"] for each in steps if each["done"]] == [
        "met", "asked", "key-made", "pinned", "committed", "verified", "old-key-ended",
    ]  # fmt: skip
    assert (last["verdict"], last["device_id"], last["emulated"]) == ("PASS", device, True)
    assert last["fingerprint"] != old
    nobody = approved(site, "nobody", "ab" * 12, old, "--unlock")
    missing = typed(site, "rework", "ab" * 12, "--act", nobody)
    assert (missing.code, "is in no slot" in missing.err) == (Exit.UNIT_FAILED, True), missing
    again = typed(site, "rework", device, "--act", act)
    assert (again.code, "as before" in again.out, last["fingerprint"] in again.out) == (0, True, True), again
    shown = typed(site, "show", device)
    assert f"rework    new-key PASS, {last['fingerprint']}" in shown.out, shown.out
    assert key_of(site, device) == last["fingerprint"], "an act is made with the key that is shown"
    assert f"key       {last['fingerprint']}" in shown.out, shown.out
    released = station("order", "release", "rework", "--config", site.config)
    assert (released.code, released.out.startswith(f"ships   {device}")) == (0, True), released
    report = station("ledger", "report", "--config", site.config)
    assert "order rework: 1 unit reworked here" in report.out, report.out
    with site.without("registry"):
        away = station(*words)
    for taken in (station(*words), away):
        assert (taken.code, '"code":"unit-rekeyed"' in taken.out) == (Exit.UNIT_FAILED, True), taken
    (still,) = typed(site, "show", device, "--jsonl").objects
    assert [each["state"] for each in still["jobs"]] == ["passed"], "a good unit stays one"
    unlock = approved(site, "open", device, last["fingerprint"], "--unlock")
    opened = typed(site, "rework", device, "--act", unlock)
    assert opened.code == 0, opened
    open_unit = station("order", "release", "rework", "--config", site.config)
    assert (open_unit.code, f"stays   {device}  not-locked" in open_unit.out) == (Exit.HELD, True), open_unit
    locking = station(*words)
    assert '"code":"unit-rekeyed"' in locking.out, locking
    assert "it is whole and locked" in locking.out, locking
    locked = station("order", "release", "rework", "--config", site.config)
    assert (locked.code, locked.out.startswith(f"ships   {device}")) == (0, True), locked
    burn = approved(site, "scrap", device, last["fingerprint"], "--scrap")
    for word in ("scrapped:", "scrapped before:"):
        scrapped = typed(site, "scrap", device, "--act", burn)
        assert (scrapped.code, scrapped.out.startswith(word)) == (0, True), scrapped
    order = next(each for each in station("order", "show", "--jsonl", "--config", site.config).objects
                 if each["order_id"] == "rework")  # fmt: skip
    assert order["scrapped"] == 1, "its signer is told"
    out = station("run", "--config", site.config, "--order", site.order("rework"), "--slots", SLOT, "--jsonl")
    assert out.code == Exit.QUARANTINED, out.out
    assert '"code":"device-scrapped"' in out.out
    late = typed(site, "rework", device, "--act", unlock)
    assert late.code == Exit.QUARANTINED, late
    assert station("ledger", "verify", "--config", site.config).code == 0


@pytest.mark.timeout(120)
def test_somebody_who_signs_in_proposes_a_scrap_and_nothing_is_scrapped(site: Site, first_batch: Done) -> None:
    assert first_batch.code == 0, first_batch.err
    device = DeviceId.parse(site.device("ec-01"))
    words = ["user", "add", "--dir", str(site.state / "registry"), "--role", "lead", "--jsonl"]
    user = json.loads(processes.answer([processes.script("station-registry"), *words]))
    secret = parse_qs(urlsplit(user["enrolment"]).query)["secret"][0]

    def propose(password: str, seconds: int) -> Proposed:
        code = code_of(secret, int(time.time()) + seconds)
        who = SignIn(user_id=user["user_id"], password=password, code=code)
        assert password not in repr(who)
        return asyncio.run(propose_scrap(site.config, device, "broken housing", who))

    with pytest.raises(UsageError, match="sign-in-refused"):
        propose("not the password at all", 0)
    found = propose(user["password"], 0)
    assert (found.state, len(found.proposal) > 8) == ("active", True)
    assert (
        f"station-signer device new {device} --root ROOT --fingerprint {key_of(site, str(device))} --scrap"
        in found.next
    )
    (shown,) = typed(site, "show", str(device), "--jsonl").objects
    assert shown["registry"]["state"] == "active"
    with site.without("registry"), pytest.raises(Fault, match="does not answer"):
        propose(user["password"], 30)


@pytest.mark.timeout(120)
def test_a_unit_that_was_never_finished_is_scrapped_on_its_approvers_code(site: Site) -> None:
    device = cut_off_behind_its_pin(site, "ec-10")
    words = ["user", "add", "--dir", str(site.state / "registry"), "--role", "lead", "--jsonl"]
    user = json.loads(processes.answer([processes.script("station-registry"), *words]))
    secret = parse_qs(urlsplit(user["enrolment"]).query)["secret"][0]
    burn = approved(site, "burn", device, key_of(site, device), "--scrap", "--was", "provisional", by=("demo-quality",))
    (signature,) = json.loads(burn.read_bytes())["signatures"]
    (piped,) = (typed(site, "scrap", device, "--act", burn),)
    assert (piped.code, "one-time code is asked at a terminal" in piped.err) == (Exit.USAGE, True), piped

    def on_terminal(code: str) -> tuple[int, str]:
        command = [STATION, "device", "scrap", device, "--act", str(burn), "--config", str(site.config)]
        with OnTerminal(command, columns=400) as scrap:
            scrap.wait_until(lambda text: "Approver's id" in text)
            scrap.press(f"{user['user_id']}\n")
            scrap.wait_until(lambda text: "Code" in text)
            scrap.press(f"{code}\n")
            return scrap.end(), scrap.screen.text

    now_s = int(time.time())
    code, text = on_terminal(code_of(secret, now_s))
    assert (code, "not-authorised: the act is not approved with this user's key" in text) == (Exit.USAGE, True), text
    words = ["user", "approver", "--dir", str(site.state / "registry"), user["user_id"], signature["keyid"]]
    processes.run([processes.script("station-registry"), *words], site.directory / "approver.log")
    code, text = on_terminal("none")
    assert (code, "sign-in-refused" in text) == (Exit.USAGE, True), text
    good = code_of(secret, int(time.time()))
    code, text = on_terminal(good)
    assert (code, "scrapped: device" in text, good in text) == (0, True, False), text
    again = typed(site, "scrap", device, "--act", burn)
    assert (again.code, again.out.startswith("scrapped before:")) == (0, True), "and nobody is asked again"


def cut_off_behind_its_pin(site: Site, slot: str) -> str:
    """A unit that the registry has pinned and nobody has finished; its id."""
    words = ["run", "--config", site.config, "--order", site.order("cut-off"), "--slots", slot, "--jsonl"]
    with subprocess.Popen([STATION, *map(str, words)], stdout=subprocess.PIPE, text=True) as batch:
        assert batch.stdout is not None
        for line in batch.stdout:
            event = json.loads(line)
            if (event["event"], event.get("step")) == ("step-done", "pinned"):
                break
        batch.kill()
    device = site.device(slot)
    (shown,) = typed(site, "show", device, "--jsonl").objects
    assert shown["registry"]["state"] == "provisional"
    return device


def code_of(secret: str, now_s: int) -> str:
    """As an authenticator computes it (RFC 6238)."""
    key, step = base64.b32decode(secret + "=" * (-len(secret) % 8)), now_s // 30
    digest = hmac.digest(key, struct.pack(">Q", step), "sha1")
    at = digest[-1] & 15
    return f"{(int.from_bytes(digest[at : at + 4]) & 0x7FFFFFFF) % 10**6:06}"


def test_what_cannot_be_asked_for(site: Site) -> None:
    device = site.device(SLOT)
    for words, said in (
        (("--act", site.directory / "none.act"), "name the act's file with --act"),
        (("--act", site.state / "root.json"), "is a trust root; give an act on a device"),
    ):
        done = typed(site, "rework", device, *words)
        assert (done.code, said in done.err) == (Exit.USAGE, True), done
    for words, said in (((), "--reason TEXT"), (("--reason", "broken housing"), "asked at a terminal")):
        done = typed(site, "scrap", device, *words)
        assert (done.code, said in done.err) == (Exit.USAGE, True), done
