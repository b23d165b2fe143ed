"""The fault matrix: whatever fails, and wherever the station dies, the next insertion brings the unit to its end."""

import pytest

from tests.faults.conftest import RunCampaign

PARTS = 4


@pytest.mark.timeout(120)
def test_every_call_fails_or_fails_but_applied_or_loses_power_or_is_the_last(campaign: RunCampaign):
    """An eighth of the faults, from all over the run; `make soak` has each."""
    result = campaign("single", "0/8")
    assert result.violations == []
    assert result.trials > 40
    assert result.verdicts["PASS"] < result.trials / 2, "most faults must be noticed"


@pytest.mark.timeout(120)
def test_a_crash_and_another_crash_in_the_recovery(campaign: RunCampaign):
    """Two first crashes, each with all second ones that leave no disk as another does; `make soak` runs each pair."""
    result = campaign("pairs", "9/18")
    assert result.violations == []
    assert result.trials > 30
    assert result.pairs > 75


@pytest.mark.timeout(120)
def test_every_call_of_a_live_handshake_fails_or_is_the_last(campaign: RunCampaign):
    """A quarter of them; `make soak` has each fail."""
    result = campaign("handshake", "1/4")
    assert result.violations == []
    assert result.trials > 15
    assert result.verdicts["PASS"] > 3, "what can be begun anew is"


@pytest.mark.timeout(60)
def test_a_crash_at_one_station_and_the_rest_at_another(campaign: RunCampaign):
    """A third of the crashes; `make soak` has each."""
    result = campaign("two-stations", "0/3")
    assert result.violations == []
    assert result.trials > 10


@pytest.mark.timeout(60)
def test_a_crash_at_one_station_and_the_rest_at_another_where_keys_are_collected(campaign: RunCampaign):
    """Another third of them."""
    result = campaign("two-stations-collected", "1/3")
    assert result.violations == []
    assert result.trials > 10


@pytest.mark.timeout(60)
def test_the_outbox_beside_the_flow(campaign: RunCampaign):
    """A slice of all orders of the two; `make soak` runs each."""
    result = campaign("outbox-beside", "0/48")
    assert result.violations == []
    assert result.trials > 10
    assert result.verdicts.keys() <= {"PASS", "job-conflict"}


@pytest.mark.timeout(120)
def test_the_outbox_beside_the_flow_fails_or_is_the_last_thing_that_happens(campaign: RunCampaign):
    """Some of the orders of flow and outbox; `make soak` runs six of each start."""
    result = campaign("outbox-faults", "9/84")
    assert result.violations == []
    assert result.trials > 15
    assert result.children > 5


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


@pytest.mark.timeout(60)
def test_the_matrix_sees_an_outbox_that_books_a_delivery_before_the_registry_answered(campaign: RunCampaign):
    """Negative control: undisturbed only the bytes of its receipt are others, and every unit is active in the end."""
    result = campaign("eager-outbox")
    assert any("one_active_pin" in each for each in result.violations), result.violations
    assert any("delivered_is_there" in each for each in result.violations), result.violations


@pytest.mark.timeout(60)
def test_the_matrix_sees_an_outbox_in_which_a_statement_waits_for_ever(campaign: RunCampaign):
    """Negative control."""
    result = campaign("deaf-outbox")
    waiting = [each for each in result.violations if "in the outbox for ever" in each]
    assert ["'pin'" in each for each in waiting] == [True, False], result.violations


@pytest.mark.timeout(120)
def test_a_station_dies_while_a_device_makes_its_key(campaign: RunCampaign):
    """Native firmware, RSA: the next station process waits for the key, and a power cut leaves none."""
    result = campaign("generating")
    assert result.violations == []
    assert {"waited for the key", "cut while it generated"} <= result.verdicts.keys(), result.verdicts


@pytest.mark.timeout(180)
def test_crashes_of_real_processes(campaign: RunCampaign):
    """A slice: a pair from inside, and two kills from outside; `make soak` runs all pairs."""
    result = campaign("real", "0/1", "--pairs", "1", "--kills", "signed,anchored", "--devices", "6")
    assert result.violations == []
    assert (result.pairs, result.trials, result.children) == (1, 4, 5)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(6))
def test_all_pairs_of_crashes_of_real_processes(campaign: RunCampaign, part: int):
    result = campaign("real", f"{part}/6", "--devices", "200")
    assert result.violations == []
    assert result.pairs > 30


@pytest.mark.soak
@pytest.mark.parametrize("part", range(PARTS))
def test_each_single_call(campaign: RunCampaign, part: int):
    result = campaign("single", f"{part}/{PARTS}")
    assert result.violations == []
    assert result.trials > 80


@pytest.mark.soak
@pytest.mark.parametrize("part", range(PARTS))
def test_each_single_pair_of_crashes(campaign: RunCampaign, part: int):
    result = campaign("pairs", f"{part}/{PARTS}", "--all")
    assert result.violations == []
    assert result.pairs > 600


@pytest.mark.soak
def test_a_crash_at_each_single_point_of_one_station_and_the_rest_at_another(campaign: RunCampaign):
    result = campaign("two-stations", "0/1", "--all")
    assert result.violations == []


@pytest.mark.soak
def test_a_crash_at_each_single_point_and_the_rest_at_another_where_keys_are_collected(campaign: RunCampaign):
    result = campaign("two-stations-collected", "0/1", "--all")
    assert result.violations == []


@pytest.mark.soak
@pytest.mark.parametrize("part", range(PARTS))
def test_every_order_of_outbox_and_flow(campaign: RunCampaign, part: int):
    result = campaign("outbox-beside", f"{part}/{PARTS}", "--all")
    assert result.violations == []
    assert result.trials > 150


@pytest.mark.soak
@pytest.mark.parametrize("part", range(PARTS))
def test_every_fault_of_the_outbox_beside_the_flow(campaign: RunCampaign, part: int):
    result = campaign("outbox-faults", f"{part}/{PARTS}")
    assert result.violations == []
    assert result.trials > 200


@pytest.mark.soak
def test_many_stations_die_while_devices_make_their_keys(campaign: RunCampaign):
    result = campaign("generating", "0/1", "--devices", "60", "--wanted", "20")
    assert result.violations == []
