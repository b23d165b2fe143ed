"""Faults of the PKCS#11 token during running batches: `tests.faults.token`, in slices for each run and at length by `make soak`."""

import shutil
from pathlib import Path

import pytest

from hsm.token.softhsm import KNOWN_MODULES
from tests.faults.conftest import RunCampaign

pytestmark = [
    pytest.mark.skipif(not any(Path(each).is_file() for each in KNOWN_MODULES), reason="apt install softhsm2"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="not installed: gcc"),
]


@pytest.mark.timeout(180)
def test_token_faults_during_batches_lose_nothing(campaign: RunCampaign):
    """A slice; among the faults are a killed signer, a token taken away and a user PIN that is refused."""
    result = campaign("token", "0/1", "--faults", "45")
    assert result.violations == []
    assert result.points == 45
    assert result.children >= 1
    assert result.verdicts.keys() <= {"PASS", "signer-pin-wrong", "line-stopped", "signer-down"}
    assert result.verdicts["signer-pin-wrong"] >= 1


@pytest.mark.timeout(120)
def test_the_campaign_sees_a_signer_that_signs_again_uncounted(campaign: RunCampaign):
    """Negative control: only the token's own count tells."""
    result = campaign("token", "0/1", "--faults", "30", "--plant", "silent")
    assert any("the token made" in each for each in result.violations), result.violations


@pytest.mark.timeout(120)
def test_the_campaign_sees_a_signer_that_forgets_a_refused_pin(campaign: RunCampaign):
    """Negative control: its next start gives the PIN once more."""
    result = campaign("token", "0/1", "--faults", "12", "--plant", "stubborn")
    assert any("a PIN that is out was given" in each for each in result.violations), result.violations


@pytest.mark.soak
def test_five_thousand_token_faults(campaign: RunCampaign):
    result = campaign("token", "0/1", "--faults", "5000", "--seed", "5")
    assert result.violations == []
    assert result.points == 5000
