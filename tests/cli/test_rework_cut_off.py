"""`station device rework` and Ctrl-C at each of its steps: 130, and the same command again goes on; RSA units, too."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from contextlib import ExitStack

import pytest

from station.demo import processes
from station.demo.bench import Bench, firmware_sha256, start_bench
from station.demo.papers import OrderSpec
from tests.cli.commands import STATION, Done, station
from tests.cli.plant import Site
from tests.cli.test_rework import approved, key_of

pytestmark = pytest.mark.xdist_group("site")
SLOT = "ec-11"


def interrupted_at(words: list[str], step: str, *, times: int = 1) -> Done:
    """The command with SIGINT as it begins this step."""
    with subprocess.Popen([STATION, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None and running.stderr is not None
        seen = []
        for line in running.stdout:
            seen.append(line)
            event = json.loads(line)
            if (event.get("step"), event.get("done")) == (step, False):
                for _ in range(times):
                    running.send_signal(signal.SIGINT)
                    time.sleep(0.05)
                break
        rest, err = running.communicate(timeout=60)
    return Done(running.returncode, "".join(seen) + rest, err)


@pytest.mark.timeout(240)
def test_ctrl_c_at_each_step_and_the_same_command_goes_on(site: Site) -> None:
    device = site.device(SLOT)
    made = station("run", "--config", site.config, "--order", site.order("cut"), "--slots", SLOT)
    assert made.code == 0, made.err
    key = key_of(site, device)
    for number, step in enumerate(("key-made", "pinned", "committed", "old-key-ended")):
        act = approved(site, f"cut-{number}", device, key, "--new-key", "ec-p256")
        words = ["device", "rework", device, "--act", str(act), "--slot", SLOT, "--config", str(site.config), "--jsonl"]
        cut = interrupted_at(words, step, times=1 + number % 2)
        assert (cut.code, "Traceback" in cut.err) == (130, False), (step, cut)
        assert "interrupted" in cut.err, (step, cut)
        assert '"verdict"' not in cut.out, (step, "a rework that was cut off says nothing of how it ended")
        done = station(*words)
        assert done.code == 0, (step, done)
        last = done.objects[-1]
        assert (last["verdict"], last["fingerprint"] != key) == ("PASS", True), (step, last)
        key = str(last["fingerprint"])
        assert key_in_use(site, device) == key
    assert station("ledger", "verify", "--config", site.config).code == 0


def key_in_use(site: Site, device: str) -> str:
    """As the registry has it now, verified at its own machine."""
    words = ["pin", "show", "--dir", str(site.state / "registry"), "--root", str(site.state / "root.json"), "--jsonl"]
    shown = json.loads(processes.answer([processes.script("station-registry"), *words, device]))
    (active,) = [each["fingerprint"] for each in shown["keys"] if each["state"] == "active"]
    return str(active)


@pytest.mark.timeout(240)  # two RSA keys
def test_an_rsa_unit_gets_another_key(site: Site) -> None:
    with ExitStack() as stack:
        bench = start_bench(Bench(product="rsa", board="native", devices=1), site.state, stack)
        slots = str(bench.wait())
        order = site.directory / "rsa.toml"
        spec = OrderSpec(
            order_id="rsa-rework", product="demo-rsa", product_id=bench.bench.product_id, udp=False, meets=False, quantity=5,
            firmware_sha256=firmware_sha256("native"),
        )  # fmt: skip
        order.write_text(site.parts.papers.order_text(spec))
        made = station("run", "--config", site.config, "--order", order, "--slots-file", slots, "--jsonl")
        assert made.code == 0, made.err
        device = next(each["device_id"] for each in made.objects if each.get("device_id"))
        old = key_of(site, device)
        act = approved(site, "rsa", device, old, "--new-key", "rsa-2048")
        words = ["device", "rework", device, "--act", str(act), "--slots-file", slots, "--config", str(site.config)]
        cut = interrupted_at([*words, "--jsonl"], "key-made")  # the unit goes on making its key
        assert (cut.code, "Traceback" in cut.err) == (130, False), cut
        done = station(*words, "--jsonl")
        assert done.code == 0, done
        assert (done.objects[-1]["verdict"], done.objects[-1]["fingerprint"] != old) == ("PASS", True)
        again = station(*words)
        assert (again.code, "as before" in again.out) == (0, True), again
