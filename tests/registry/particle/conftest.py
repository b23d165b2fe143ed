from __future__ import annotations

import pytest

from registry.database import Database
from tests.registry.particle.desk import Desk
from tests.registry.people.crew import Crew


@pytest.fixture
def crew(database: Database) -> Crew:
    return Crew.make(database)


@pytest.fixture
def desk(crew: Crew, database: Database) -> Desk:
    return Desk.make(crew, database)
