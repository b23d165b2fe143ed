"""The checker itself: each invariant finds the fault that is planted for it, and nothing in a plant that holds."""

import base64
import dataclasses
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import disk
from tests.faults.insertion import DEVICE, FINDINGS, SIGNED, Insertion
from tests.faults.invariants import CHECKS, Scene, violations
from tests.faults.planted import LateIntent
from tests.faults.rig import Rig


@pytest.fixture(scope="module")
def finished(worker_dir: Path) -> Iterator[Scene]:
    """A plant in which one unit has passed."""
    base = worker_dir / "invariants"
    base.mkdir()
    rig = Rig(base).make()
    place = rig.copy(rig.template)
    assert rig.here(place, Insertion()).verdict == "PASS"
    held = disk.device(place / f"{DEVICE}.flash").fingerprint
    assert held is not None
    yield Scene(
        place=place, root=rig.plant.root, work=rig.plant.work, stations=("st-01",), keys_seen=frozenset({held}),
        logs_before={"st-01": [disk.entries(place / "st-01.db")[:3]]},
    )  # fmt: skip
    shutil.rmtree(base)


@pytest.fixture
def scene(finished: Scene, tmp_path: Path) -> Scene:
    return dataclasses.replace(finished, place=Path(shutil.copytree(finished.place, tmp_path / "plant")))


def spoil(path: Path, *statements: str, values: tuple[object, ...] = ()) -> None:
    """Change what the triggers keep."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA ignore_check_constraints=ON")
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f'DROP TRIGGER "{name}"')
    for statement in statements:
        connection.execute(statement, values if "?" in statement else ())
    connection.commit()
    connection.close()


def respell(scene: Scene, kind: str, change: Callable[[dict], None]) -> None:
    """Change the body of a record's leaf."""
    ledger = scene.place / "st-01.db"
    ((index, entry),) = disk.query(
        ledger,
        'SELECT "index", entry FROM leaves JOIN records ON leaf_index = "index" WHERE kind = ?',
        kind,
    )
    envelope = json.loads(entry)
    body = json.loads(base64.b64decode(envelope["payload"]))
    change(body)
    envelope["payload"] = base64.b64encode(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).decode()
    spoil(ledger, f'UPDATE leaves SET entry = ? WHERE "index" = {index}', values=(json.dumps(envelope).encode(),))


def early_effect(scene: Scene) -> None:
    (scene.place / FINDINGS).write_text("sign-pin before intent was durable\n")


def other_key(scene: Scene) -> None:
    respell_flash(scene, lambda flash: flash["key"].update(job=base64.b64encode(bytes(16)).decode()))


def respell_flash(scene: Scene, change: Callable[[dict], None]) -> None:
    path = scene.place / f"{DEVICE}.flash"
    flash = json.loads(path.read_bytes())
    change(flash)
    path.write_text(json.dumps(flash))


def never_completed(scene: Scene) -> None:
    spoil(scene.place / "registry.db", "DELETE FROM completions")


def no_job(scene: Scene) -> None:
    spoil(scene.place / "st-01.db", "DELETE FROM jobs")


def other_intent(scene: Scene) -> None:
    respell(scene, "intent", lambda body: body.update(made_at="2026-01-01T00:00:00Z"))


def counted_twice(scene: Scene) -> None:
    spoil(scene.place / "st-01" / "counters.db", "UPDATE orders SET pins = 2")


def signed_without_count(scene: Scene) -> None:
    with (scene.place / "st-01" / SIGNED).open("a") as out:
        out.write("pin\n")


def unsigned_receipt(scene: Scene) -> None:
    respell(scene, "pin-receipt", lambda body: body.update(state="active"))


def records_out_of_order(scene: Scene) -> None:
    first, second = "kind = 'intent'", "kind = 'pin'"
    ledger = scene.place / "st-01.db"
    ((a,),) = disk.query(ledger, f"SELECT leaf_index FROM records WHERE {first}")
    ((b,),) = disk.query(ledger, f"SELECT leaf_index FROM records WHERE {second}")
    spoil(
        ledger,
        f"UPDATE records SET leaf_index = 999 WHERE {first}",
        f"UPDATE records SET leaf_index = {a} WHERE {second}",
        f"UPDATE records SET leaf_index = {b} WHERE {first}",
    )


def other_anchor(scene: Scene) -> None:
    respell_flash(scene, lambda flash: flash["anchor"].update(port=1))


def unlocked(scene: Scene) -> None:
    respell_flash(scene, lambda flash: flash.update(locked_for=None))


def still_waiting(scene: Scene) -> None:
    spoil(scene.place / "st-01.db", "DELETE FROM deliveries")


def receipt_from_nowhere(scene: Scene) -> None:
    spoil(scene.place / "registry.db", "DELETE FROM receipts")


def shorter_log(scene: Scene) -> None:
    spoil(scene.place / "st-01.db", 'DELETE FROM leaves WHERE "index" = 2')


def changed_leaf(scene: Scene) -> None:
    respell(scene, "completion", lambda body: body.update(port=1))


def key_in_ledger(scene: Scene) -> None:
    scalar = scene.device.scalar
    assert scalar is not None
    text = base64.b64encode(b"x" + scalar).decode()
    respell(scene, "intent", lambda body: body.update(product=text))


def key_in_registry(scene: Scene) -> None:
    scalar = scene.device.scalar
    assert scalar is not None
    spoil(scene.place / "registry.db", "UPDATE pins SET registered_at = ?", values=(scalar.hex(),))


PLANTED = [
    ("nothing_left_before_its_record", early_effect),
    ("one_device_one_key", other_key),
    ("one_active_pin", never_completed),
    ("one_job_for_life", no_job),
    ("same_job_same_bytes", other_intent),
    ("one_statement_and_one_count", counted_twice),
    ("one_statement_and_one_count", signed_without_count),
    ("completion_only_with_everything", unsigned_receipt),
    ("completion_only_with_everything", changed_leaf),
    ("steps_in_order", records_out_of_order),
    ("device_as_completed", other_anchor),
    ("device_as_completed", unlocked),
    ("outbox_tells_the_truth", still_waiting),
    ("delivered_is_there", receipt_from_nowhere),
    ("log_never_shrinks", shorter_log),
    ("log_hashes_to_its_frontier", changed_leaf),
    ("no_private_key_in_any_record", key_in_ledger),
    ("no_private_key_in_any_record", key_in_registry),
]


def test_a_plant_that_holds_has_no_violation(scene: Scene):
    assert violations(scene) == []


@pytest.mark.parametrize(("name", "plant"), PLANTED, ids=lambda each: each if isinstance(each, str) else each.__name__)
def test_a_planted_violation_is_found(scene: Scene, name: str, plant: Callable[[Scene], None]):
    plant(scene)
    (check,) = [each for each in CHECKS if each.__name__ == name]
    assert list(check(scene)) != []


def test_a_second_key_in_the_devices_life_is_found(scene: Scene):
    twice = dataclasses.replace(scene, keys_seen=scene.keys_seen | {"another"})
    assert any("one_device_one_key" in each for each in violations(twice))


def test_every_invariant_has_a_planted_violation():
    assert {name for name, _ in PLANTED} == {each.__name__ for each in CHECKS}


def test_what_must_be_durable_before_an_effect_is_looked_for_on_the_disk(tmp_path: Path):
    """A station that writes no intent ahead is seen at once, at the device and at the signer; without the watch it is not."""
    rig = Rig(tmp_path).make()
    for watched, wanted in ((True, ["an anchor was written", "sign-pin"]), (False, [])):
        place = rig.copy(rig.template)
        assert rig.here(place, Insertion(wrap_jobs=LateIntent, watched=watched)).verdict == "PASS"
        told = (place / FINDINGS).read_text().splitlines() if watched else []
        assert (place / FINDINGS).exists() == watched
        assert sorted({each.split(" before ")[0] for each in told}) == wanted, told
