from __future__ import annotations

import pytest

from registry.database import Database
from tests.registry.people.crew import Crew


@pytest.fixture
def crew(database: Database) -> Crew:
    return Crew.make(database)
