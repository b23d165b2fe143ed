"""No WAN: the unit is HELD and listed as *finish me*; the WAN is back: the same insertion ends in PASS, with one pin."""

import re
import shutil
from pathlib import Path

import pytest

from station.demo.plant import MARKER
from station.exits import Exit
from tests.cli.commands import Done, station, typed
from tests.cli.plant import EXAMPLE, Site
from tests.cli.test_batch import NO_HANDSHAKE

pytestmark = pytest.mark.xdist_group("site")
SLOT = "ec-03"


@pytest.mark.timeout(150)  # alone, it starts the plant and waits for the first batch
def test_held_without_the_registry_and_finished_with_it(site: Site, first_batch: Done, tmp_path: Path) -> None:
    """The first batch gets the signer's lease: without one nothing is begun while the registry is away."""
    device, order = site.device(SLOT), site.order("held-order")
    words = ["run", "--config", site.config, "--order", order, "--slots", SLOT]
    with site.without("registry"):
        held = station(*words)
        again = typed(*words, "--jsonl")
        check = typed("check", "--config", site.config)
        dry = typed(*words, "--dry-run")
        report = typed("ledger", "report", "--config", site.config)
        shown = typed("device", "show", device, "--config", site.config)
        nobody = typed("device", "show", "ab" * 12, "--config", site.config)
        demo = a_demo_left_like_this(site, tmp_path)
    assert (held.code, held.err) == (Exit.HELD, NO_HANDSHAKE), held
    left = "outbox: 1 statement was left from earlier; "
    assert held.lines[0].startswith(f"{SLOT}      HELD       {device}  registry-unreachable at pinned: ")
    assert "0 passed, 0 failed, 1 held, 0 quarantined" in held.lines[1]
    assert "1 statement waits for the registry" in held.lines[1]
    finish_me = f"finish me  {device}  insert it again when the registry, or its device service, answers"
    assert held.lines[2:] == [finish_me]

    assert (again.code, again.objects[-1]["held"], again.objects[-1]["finish_me"]) == (Exit.HELD, 1, [device])
    assert again.objects[0] == {
        "event": "outbox-sent",
        "at": again.objects[0]["at"],
        "slot": "",
        "found": 1,
        "waiting": 1,
    }
    assert check.code == Exit.USAGE
    assert re.search(
        r"^ok   ledger +\d+ leaves; 1 statement waits for the registry, for \d min \(", check.out, re.MULTILINE
    )
    (registry,) = [line for line in check.lines if line.startswith("BAD")]
    assert "registry" in registry
    assert "Look at registry, network and proxy; units would be held." in registry
    assert (dry.code, dry.out) == (Exit.USAGE, ""), "a dry run holds nothing"
    assert "units would be held" in dry.err
    assert f"finish me  {device}  order held-order" in report.lines
    assert site.pins(device) == 0
    assert shown.code == 0, "the ledger knows it"
    assert "registry  no answer: no connection to https://localhost:" in shown.out
    (state,) = [line for line in shown.lines if line.startswith("state ")]
    assert state.startswith(
        "state     held: HELD at pinned: registry-unreachable. The registry does not answer. Put the"
    )
    assert f"check --config {site.config})" in state
    assert (nobody.code, "the registry does not answer: look at the id, or ask again" in nobody.err) == (1, True), (
        nobody
    )

    nothing_of_a_demo_is_lost_without_a_word(demo)

    words[4] = site.order("lamps", product='"lamp"', product_id="7")
    other = station(*words, "--retries", "0")
    assert (other.code, other.err) == (Exit.UNIT_FAILED, f"{NO_HANDSHAKE}{left}1 sent, none left\n"), other
    assert site.pins(device) == 1, "though no unit of its order was taken"

    words[4] = order

    done = station(*words)
    assert (done.code, done.err) == (Exit.PASSED, NO_HANDSHAKE), done
    assert done.lines[0].startswith(f"{SLOT}      PASS       {device}  safe at the station")
    assert len(done.lines) == 2, "nothing waits to be finished any more"
    assert site.pins(device) == 1
    report = typed("ledger", "report", "--config", site.config, "--jsonl").objects
    (mine,) = [each for each in report if each.get("order") == "held-order"]
    ends = ("passed", "active", "held", "quarantined", "lost", "in_work", "not_taken", "finish_me")
    assert [mine[name] for name in ends] == [1, 1, 0, 0, 0, 0, 0, []]
    assert typed("ledger", "verify", "--config", site.config).code == 0


def a_demo_left_like_this(site: Site, place: Path) -> Path:
    """Settings of a demo's plant at rest, with the site's root and ledger as they are now."""
    plant = place / "plant"
    plant.mkdir()
    shutil.copytree(site.state / "station", plant / "station", ignore=shutil.ignore_patterns("*.lock"))
    shutil.copyfile(site.state / "root.json", plant / "root.json")
    (plant / MARKER).touch()
    config = place / "config.toml"
    config.write_text(EXAMPLE.read_text().replace("run/demo", "plant"))
    return config


def nothing_of_a_demo_is_lost_without_a_word(config: Path) -> None:
    ledger = config.parent / "plant" / "station" / "ledger.db"
    before = ledger.read_bytes()
    done = typed("demo", "--bench", "native", "--config", config)
    assert (done.code, done.out) == (Exit.USAGE, ""), done
    assert re.search(
        r"has \d units? to be finished and 1 statement that waits for the registry; a new plant would", done.err
    ), done
    for words in (f"demo --keep --config {config}", f"demo --discard --bench native --config {config}"):
        assert re.search(rf":  +\S*station {re.escape(words)}$", done.err, re.MULTILINE), done.err
    assert ledger.read_bytes() == before
    ledger.write_bytes(before[:5000])
    done = typed("demo", "--config", config)
    assert (done.code, done.out) == (Exit.USAGE, "")
    assert "a ledger that cannot be read, so nobody knows what waits in it" in done.err
    assert ledger.exists()
