"""`station run` that is interrupted twice ends as after once: 130, its closing lines or a sentence, and no traceback."""

import signal
import subprocess
import time

import pytest

from tests.cli.commands import STATION, Done
from tests.cli.plant import Site

pytestmark = pytest.mark.xdist_group("site")


@pytest.mark.parametrize("first_s", [0.5, 1.0, 2.0])
def test_a_second_signal_changes_nothing(site: Site, first_batch: Done, first_s: float) -> None:
    words = ["run", "--config", site.config, "--order", site.order("main"), "--slots", "ec-01", "--count", "9"]
    with subprocess.Popen(
        [STATION, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as batch:
        time.sleep(first_s)
        batch.send_signal(signal.SIGINT)
        time.sleep(0.05)
        batch.send_signal(signal.SIGINT)
        _, err = batch.communicate(timeout=20)
    assert (batch.returncode, "Traceback" in err) == (130, False), err
    last = err.strip().splitlines()[-1]
    assert last.startswith(("interrupted", "outbox: ")), err
