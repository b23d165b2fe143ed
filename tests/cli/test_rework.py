"""`station device rework` and `scrap`, typed at a plant of real processes: registry, SoftHSM signers, native firmware."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import struct
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from station.demo import processes
from station.exits import Exit
from station.faults import Fault
from station.scrap_proposal import Proposed, SignIn, propose_scrap
from station.usage import UsageError
from tests.cli.commands import Done, station
from tests.cli.plant import Site
from trust.identity import DeviceId

SLOT = "ec-07"
PEOPLE = ("demo-owner", "demo-quality")


def approved(site: Site, name: str, device: str, fingerprint: str, *what: str, by: tuple[str, ...] = PEOPLE) -> Path:
    """An act on the device, made and approved as people type it."""
    signer, file = processes.script("station-signer"), site.directory / f"{name}.act"
    log, root = site.directory / "acts.log", str(site.state / "root.json")
    file.unlink(missing_ok=True)
    made = ["device", "new", device, "--root", root, "--fingerprint", fingerprint, *what]
    processes.run([signer, *made, "--reason", "for a test", "--out", str(file)], log)
    for person in by:
        key = str(site.state / "people" / person)
        words = ["--root", root, "--key", f"{key}.key", "--secret", f"file:{key}.passphrase", "--yes"]
        processes.run([signer, "device", "approve", str(file), *words], log)
    return file


def typed(site: Site, what: str, device: str, *words: object) -> Done:
    return station("device", what, device, *words, "--config", site.config)


def key_of(site: Site, device: str) -> str:
    (shown,) = typed(site, "show", device, "--jsonl").objects
    return str(shown["registry"]["fingerprint"])


@pytest.mark.timeout(180)
def test_a_finished_unit_gets_another_key_and_is_scrapped(site: Site) -> None:
    device = site.device(SLOT)
    made = station("run", "--config", site.config, "--order", site.order("rework"), "--slots", SLOT)
    assert made.code == 0, made.err
    old = key_of(site, device)
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
    report = station("ledger", "report", "--config", site.config)
    assert "order rework: 1 unit reworked here" in report.out, report.out
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
    late = typed(site, "rework", device, "--act", act)
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
