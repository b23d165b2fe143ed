"""Live handshakes as an operator and an auditor meet them: the C firmware over UDP, by the registry's HTTPS alone."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from station.events import HandshakeWent
from station.exits import Exit
from station.root import load_root
from tests.cli.commands import STATION, Done, station, typed
from tests.cli.plant import Site
from tests.cli.test_batch import NO_HANDSHAKE, events, finished, run
from tests.cli.test_device import FENCED
from tests.docs.pages import blocks, page, section
from tests.station.proxies import Proxy, serving

pytestmark = pytest.mark.xdist_group("site")
UDP = {"handshakes": '["udp"]'}
SAYS = "proof: a live handshake of each unit with the cloud, over udp\n"


def proved(done: Done) -> list[HandshakeWent]:
    return [event for event in events(done) if isinstance(event, HandshakeWent) and event.outcome == "proved"]


def test_a_unit_meets_the_cloud_and_everybody_is_told(site: Site, tmp_path: Path) -> None:
    rehearsed = run(site, "meeting", "--dry-run", "--slots", "ec-12", type_it=typed, **UDP)
    assert (rehearsed.code, rehearsed.err.endswith(SAYS)) == (Exit.PASSED, True), rehearsed
    done = run(site, "meeting", "--slots", "ec-12", "--jsonl", **UDP)
    assert done.code == Exit.PASSED, done
    (met,) = proved(done)
    assert met.from_unit > 0 < met.to_unit
    assert met.unit_seconds > 0 < met.cloud_seconds
    (unit,) = finished(done)
    assert unit.handshake == "proved"
    shown = typed("device", "show", unit.device_id, "--config", site.config)
    assert "handshake proved over udp, " in shown.out
    assert "    handshake-report    verified with " in shown.out
    assert typed("ledger", "verify", "--config", site.config).code == Exit.PASSED
    pages_hold(site, unit.device_id, tmp_path)


def pages_hold(site: Site, device: str, place: Path) -> None:
    """README and the page about statements, typed for a unit that has met the cloud: its report is among what verifies."""
    (readme,) = FENCED.findall(section(page("README.md"), "## Check a statement yourself"))
    told = "Five times `Verified OK`: pin statement, its receipt, the device service's report"
    assert told in section(page("README.md"), "## Check a statement yourself")
    statements = "\n".join(blocks(page("docs/statements.md")).values())
    swaps = {
        ".venv/bin/station": STATION, "config.example.toml": str(site.config), "run/shown": str(place / "shown"),
        "run/audit": str(place / "audit"), "$PWD/run/demo": str(site.state), "DEVICE-ID": device,
    }  # fmt: skip

    def typed_out(script: str) -> tuple[int, int]:
        for old, new in swaps.items():
            script = script.replace(old, new)
        done = subprocess.run(["bash", "-eu", "-c", script], cwd=place, capture_output=True, text=True, check=False)
        return done.returncode, len(re.findall("Verified OK|Signature Verified", done.stdout))

    assert [typed_out(readme), typed_out(statements)] == [(0, 5), (0, 8)]


def test_a_device_service_that_is_down_holds_units_or_is_waived(site: Site) -> None:
    with site.without("devices"):
        (held,) = finished(run(site, "held", "--slots", "ec-13", "--jsonl", **UDP))
        assert (held.code, held.exit_code) == ("device-service-away", Exit.HELD)
        waived = run(site, "waived", "--slots", "ec-14", "--jsonl", handshake_waivers='["service-away"]', **UDP)
        assert waived.code == Exit.PASSED, waived
        promised = run(site, "waived", "--dry-run", "--slots", "ec-14", handshake_waivers='["service-away"]', **UDP)
    assert promised.err.endswith(f"{SAYS[:-1]}; if the device service is away: none (service-away)\n"), promised
    (unit,) = finished(waived)
    assert unit.handshake == "waived"
    report = typed("ledger", "report", "--config", site.config)
    assert f"waived     {unit.device_id}  order waived: passed without a live handshake (service-away)" in report.lines
    assert "order waived: handshakes: 1 waived" in report.lines
    verified = typed("ledger", "verify", "--config", site.config).out
    assert re.search(r"^handshakes: (\d+ proved, )?1 waived(, \d+ not asked)?$", verified, re.MULTILINE), verified
    release = typed("order", "release", "waived", "--config", site.config)
    assert f"ships   {unit.device_id}  active, handshake WAIVED, witness pending" in release.lines
    assert "may ship (handshakes: 1 waived); witness" in release.err
    again = run(site, "waived", "--slots", "ec-14", handshake_waivers='["service-away"]', **UDP)
    assert "already passed, active in the cloud, handshake WAIVED" in again.lines[0]
    assert "1 passed (1 already), 1 of them without handshake (WAIVED), 0 failed" in again.lines[-1]
    assert "handshake waived: service-away\n" in typed("device", "show", unit.device_id, "--config", site.config).out
    with serving(Proxy()) as proxy:
        config = site.config_with("by-proxy", ('proxy = ""', f'proxy = "{proxy.url}"'))
        order = site.order("held", **UDP)
        done = station("run", "--config", config, "--order", order, "--slots", "ec-13", "--jsonl")
    assert (done.code, len(proved(done))) == (Exit.PASSED, 1), done
    registry = urlsplit(load_root(site.state / "root.json").root.registry_url).netloc
    assert {head.splitlines()[0] for head in proxy.asked} == {f"CONNECT {registry} HTTP/1.1"}, "and nowhere else"


def test_what_has_no_handshake_says_so(site: Site) -> None:
    done = run(site, "plain", "--dry-run", "--slots", "ec-12", type_it=typed)
    assert done.err.endswith(NO_HANDSHAKE)
