"""Live handshakes as an operator and an auditor meet them: real devices over UDP, by the registry's HTTPS alone."""

from __future__ import annotations

import pytest

from station.events import HandshakeWent
from station.exits import Exit
from tests.cli.commands import typed
from tests.cli.plant import Site
from tests.cli.test_batch import events, finished, run

pytestmark = pytest.mark.xdist_group("site")
UDP = {"handshakes": '["udp"]'}
SAYS = "proof: a live handshake of each unit with the cloud, over udp\n"


def test_a_unit_meets_the_cloud_and_everybody_is_told(site: Site) -> None:
    rehearsed = run(site, "meeting", "--dry-run", "--slots", "ec-07", type_it=typed, **UDP)
    assert (rehearsed.code, rehearsed.err.endswith(SAYS)) == (Exit.PASSED, True), rehearsed
    done = run(site, "meeting", "--slots", "ec-07", "--jsonl", **UDP)
    assert done.code == Exit.PASSED, done
    (met,) = [event for event in events(done) if isinstance(event, HandshakeWent) and event.outcome]
    assert (met.outcome, met.from_unit > 0, met.unit_seconds > 0 < met.cloud_seconds) == ("proved", True, True)
    (unit,) = finished(done)
    shown = typed("device", "show", unit.device_id, "--config", site.config)
    assert "handshake proved over udp, " in shown.out
    assert "    handshake-report    verified with " in shown.out
    assert typed("ledger", "verify", "--config", site.config).code == Exit.PASSED


def test_a_device_service_that_is_down_holds_units_or_is_waived(site: Site) -> None:
    with site.without("devices"):
        (held,) = finished(run(site, "held", "--slots", "ec-08", "--jsonl", **UDP))
        assert (held.code, held.exit_code) == ("device-service-away", Exit.HELD)
    back = run(site, "held", "--slots", "ec-08", "--jsonl", **UDP)
    (unit,) = finished(back)
    assert (back.code, unit.verdict.value) == (Exit.PASSED, "PASS"), unit


def test_what_has_no_handshake_says_so(site: Site) -> None:
    done = run(site, "plain", "--dry-run", "--slots", "ec-07", type_it=typed)
    assert done.err.endswith("proof: no handshake: the order asks for none\n")
