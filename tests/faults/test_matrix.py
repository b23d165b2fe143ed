"""The fault matrix: whatever fails, and wherever the station dies, the next insertion brings the unit to its end."""

import pytest

from tests.faults.conftest import RunCampaign

PARTS = 4


@pytest.mark.timeout(120)
@pytest.mark.parametrize("part", range(PARTS))
def test_every_call_fails_or_fails_but_applied_or_loses_power_or_is_the_last(campaign: RunCampaign, part: int):
    result = campaign("single", f"{part}/{PARTS}")
    assert result.violations == []
    assert result.trials > 80
    assert result.verdicts["PASS"] < result.trials / 2, "most faults must be noticed"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("part", range(PARTS))
def test_a_crash_and_another_crash_in_the_recovery(campaign: RunCampaign, part: int):
    """Pairs that leave every disk as another pair does are run once; `make soak` runs each."""
    result = campaign("pairs", f"{part}/{PARTS}")
    assert result.violations == []
    assert result.trials > 60
    assert result.pairs > 400


@pytest.mark.timeout(60)
def test_a_crash_at_one_station_and_the_rest_at_another(campaign: RunCampaign):
    result = campaign("two-stations")
    assert result.violations == []
    assert result.trials > 20


@pytest.mark.timeout(60)
def test_a_unit_taken_away_is_never_active(campaign: RunCampaign):
    result = campaign("taken-away")
    assert result.violations == []
    assert result.trials == 13


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("control", "invariant"), [("late-intent", "same_job_same_bytes"), ("forgotten-job", "one_device_one_key")]
)
def test_the_matrix_sees_a_station_that_does_not_write_ahead(campaign: RunCampaign, control: str, invariant: str):
    """Negative control: planted in the station, not in the checker; no violation without a crash."""
    result = campaign(control)
    assert any(invariant in each for each in result.violations), result.violations


@pytest.mark.timeout(180)
def test_crashes_of_real_processes(campaign: RunCampaign):
    """A slice: six pairs from inside, four kills from outside; `make soak` runs all pairs."""
    result = campaign("real", "0/1", "--pairs", "6", "--devices", "18")
    assert result.violations == []
    assert (result.pairs, result.trials, result.children) == (6, 16, 22)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(6))
def test_all_pairs_of_crashes_of_real_processes(campaign: RunCampaign, part: int):
    result = campaign("real", f"{part}/6", "--devices", "200")
    assert result.violations == []
    assert result.pairs > 40


@pytest.mark.soak
@pytest.mark.parametrize("part", range(PARTS))
def test_each_single_pair_of_crashes(campaign: RunCampaign, part: int):
    result = campaign("pairs", f"{part}/{PARTS}", "--all")
    assert result.violations == []
    assert result.pairs > 700


@pytest.mark.soak
def test_a_crash_at_each_single_point_of_one_station_and_the_rest_at_another(campaign: RunCampaign):
    result = campaign("two-stations", "0/1", "--all")
    assert result.violations == []
