"""Only `station/wiring.py` builds: no other module of the station makes a real party, whatever it may import for its type."""

import ast
from pathlib import Path

import pytest

from tests.imports.tree import Source, source, sources

BUILDER = "station.wiring"
BUILT = frozenset(
    {"SerialSlot", "SignerClient", "HttpCloud", "JobStore", "Outbox", "Floor", "open_database", "NoIndicators"}
)


def builds(module: Source) -> list[str]:
    """Each place in a module of the station that makes a party, or hands its class to something that could."""
    if not module.name.startswith("station.") or module.name == BUILDER:
        return []
    defined = {node.name for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    wanted = BUILT - defined
    return [
        f"{module.path}:{node.lineno} {ast.unparse(node)}"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        for part in (node.func, *node.args, *(each.value for each in node.keywords))
        if ast.unparse(part).rpartition(".")[2] in wanted
    ]


def test_only_the_wiring_builds() -> None:
    assert [finding for module in sources() for finding in builds(module)] == []


def test_everything_that_is_looked_for_is_built_there() -> None:
    """Or a renamed class would slip through."""
    (wiring,) = [module for module in sources() if module.name == BUILDER]
    called = {ast.unparse(node.func) for node in ast.walk(wiring.tree) if isinstance(node, ast.Call)}
    assert called >= BUILT


@pytest.mark.parametrize(
    "planted",
    [
        "from hsm.client import SignerClient\nSignerClient(path)",
        "from fixtures import slots\nslots.SerialSlot(config)",
        "import functools\nfrom station.outbox import Outbox\nfunctools.partial(Outbox, cloud)",
        "slots = list(map(SerialSlot, configs))",
    ],
)
def test_planted_building_is_found(planted: str, tmp_path: Path) -> None:
    path = tmp_path / "station" / "planted.py"
    path.parent.mkdir()
    path.write_text(planted)
    assert len(builds(source(path, tmp_path))) == 1
