"""Who may do what: every operation of the OpenAPI document x everybody x own and other's object, and no cell untested."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from registry.access.caller import PUBLIC, Role, Scope, either
from registry.access.guard import Guard
from registry.routes import ROUTES
from registry.routes.particle import with_particle
from tests.registry.cast import Cast
from tests.registry.fuzzing import Registry, quick_place
from tests.registry.matrix import cells, opened, operations
from tests.registry.matrix_rows import DOOR_ROWS, ROWS

PIN = ("GET", "/v1/pins/{device_id}")


@pytest.fixture(scope="module")
def there() -> Iterator[tuple[Registry, Cast]]:
    with quick_place() as place, opened(place) as made:
        yield made


def test_every_operation_has_its_row(there: tuple[Registry, Cast]) -> None:
    """Whoever adds a route says here what own and other's objects are to it."""
    found = operations(there[0])
    assert found == set(ROWS)
    assert found == {(each.method, each.path) for each in ROUTES}


@pytest.mark.timeout(180)
def test_everybody_may_do_what_is_declared_and_nothing_else(there: tuple[Registry, Cast]) -> None:
    registry, cast = there
    found = cells(registry, cast, ROWS)
    assert len(found) == len(ROWS) * len(list(cast.all())) * 2
    assert [str(each) for each in found if not each.right] == []
    told = {each.found for each in found}
    assert told >= {"200", "403 not-authorised", "403 scope-missing", "403 device-of-others"}


def test_the_particle_door_has_its_cells_too() -> None:
    with quick_place() as place, opened(place, door=True) as (registry, cast):
        assert operations(registry) == {*ROWS, *DOOR_ROWS}
        found = cells(registry, cast, DOOR_ROWS, with_particle(ROUTES))
    assert [str(each) for each in found if not each.right] == []
    assert {each.found for each in found} >= {"200", "403 not-authorised", "403 scope-missing"}


def wrong(there: tuple[Registry, Cast], **changes: object) -> list[str]:
    registry, cast = there
    rows = {PIN: ROWS[PIN]}
    return [str(each) for each in cells(registry, cast, rows, **changes) if not each.right]


def test_control_a_route_that_lets_in_more_than_it_declares_is_found(
    there: tuple[Registry, Cast], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the declaration were stricter than what is served: each caller too many is named."""
    (route,) = (each for each in ROUTES if (each.method, each.path) == PIN)
    strict = [replace(route, access=either(Scope.LEASES_WRITE, Role.AUDITOR))]
    found = wrong(there, declared=strict)
    assert any("operator, fresh session" in each for each in found)
    assert any("station-01, pins:read" in each for each in found)
    assert any("nobody, own: 401" in each for each in wrong(there, declared=[replace(route, access=PUBLIC)]))


def test_control_a_guard_that_asks_nobody_is_found(
    there: tuple[Registry, Cast], monkeypatch: pytest.MonkeyPatch
) -> None:
    admit = Guard.admit
    monkeypatch.setattr(Guard, "admit", lambda self, _access, heading: admit(self, PUBLIC, heading))
    found = wrong(there)
    assert any("by nobody, own: 200" in each for each in found)


def test_control_a_route_that_looks_at_no_object_is_found(
    there: tuple[Registry, Cast], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.routes.pins.require_of_its_orders", lambda *_: None)
    found = wrong(there)
    assert found and all(", other: 200, not 403 device-of-others" in each for each in found)
