"""One plant for all tests of this directory: it takes seconds to start and hours to wear out."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from station.demo.processes import Process
from tests import warm
from tests.cli.commands import Done, station
from tests.cli.plant import Site, running_site


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whichever test comes first starts the plant, and that counts as its time."""
    for item in items:
        if item.path.parent == Path(__file__).parent and "site" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(60))


@pytest.fixture(scope="module", autouse=True)
def forked_programs() -> Iterator[None]:
    """Whatever is made here is made by programs that start at once; elsewhere programs start as they do."""
    with warm.programs():
        yield


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """A plant at work. Whoever stops a part of it starts it again; each test has slots of its own."""
    with tempfile.TemporaryDirectory(prefix="ks-") as name, running_site(Path(name)) as found:
        yield found


@pytest.fixture(scope="session")
def first_batch(site: Site) -> Done:
    """Two new devices, ec-01 and ec-02, provisioned by the real command with its output in pipes."""
    words = ["--slots", "ec-01,ec-02", "--junit", site.directory / "first.xml"]
    return station("run", "--config", site.config, "--order", site.order("main"), *words)


@pytest.fixture(scope="session")
def faulty_slots(site: Site) -> Iterator[Path]:
    """The slots file of a bench whose devices have faults (`tests.cli.faulty_bench`)."""
    directory = site.directory / "faulty"
    directory.mkdir()
    argv = [sys.executable, "-m", "tests.cli.faulty_bench", str(directory), "1001"]
    with Process(argv, directory / "bench.log") as bench:
        bench.wait_until((directory / "slots.toml").exists, 30)
        yield directory / "slots.toml"
