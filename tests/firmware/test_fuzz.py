"""Hostile bytes never crash the firmware: a short campaign against the sanitised build, a long one under `make soak`."""

from pathlib import Path

import pytest

from tests.firmware.fuzz import campaign

pytestmark = pytest.mark.timeout(60)


def test_mutated_requests_do_no_harm(sanitised: Path) -> None:
    assert campaign(sanitised, 2.0, seed=20) > 1000


def test_the_fuzzer_finds_a_line_overrun(overrunning: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises((AssertionError, OSError)):
        campaign(overrunning, 20.0, seed=21)
    assert "out of bounds" in capfd.readouterr().err


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_mutated_requests_do_no_harm_for_long(sanitised: Path) -> None:
    print(campaign(sanitised, 300.0, seed=22), "mutated requests")
