"""One fresh device for each test, of each kind; every test of the contract runs against all of them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fixtures.device import Device
from tests.contract.nests import KINDS, Nest, open_nest

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The kind `emulated` needs QEMU."""
    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        if parameters.get("nest") == "emulated":
            item.add_marker(pytest.mark.qemu)
            item.add_marker(pytest.mark.xdist_group("qemu"))


@pytest.fixture(params=KINDS)
async def nest(request: pytest.FixtureRequest, short_dir: Path) -> AsyncIterator[Nest]:
    async with open_nest(request.param, short_dir) as ready:
        yield ready


@pytest.fixture
async def device(nest: Nest) -> AsyncIterator[Device]:
    opened = await nest.slot.open()
    yield opened
    await opened.close()
