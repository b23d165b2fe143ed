"""Only `station/provision.py` makes evidence: who else could make a `Signed` could pin what was never proven."""

import ast
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.imports.tree import TOP, Source, source, sources

HOME = "station.evidence"
MAKER = "station.provision"


def evidence_types() -> frozenset[str]:
    """The names of all classes of `station/evidence.py`."""
    tree = source(TOP / "station/evidence.py", TOP).tree
    return frozenset(node.name for node in tree.body if isinstance(node, ast.ClassDef))


def aliases(tree: ast.AST, types: Iterable[str]) -> frozenset[str]:
    """Every dotted expression by which this module can name an evidence type."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == HOME:
            found |= {each.asname or each.name for each in node.names if each.name in types}
            found |= {name for each in node.names if each.name == "*" for name in types}
        elif isinstance(node, ast.ImportFrom) and node.module == "station":
            found |= {
                f"{each.asname or each.name}.{name}" for each in node.names if each.name == "evidence" for name in types
            }
        elif isinstance(node, ast.Import):
            found |= {
                f"{each.asname or each.name}.{name}" for each in node.names if each.name == HOME for name in types
            }
    return frozenset(found)


def makings(module: Source, types: frozenset[str]) -> list[str]:
    """`path:line expression` for each place that makes evidence, or hands an evidence class to something that could."""
    names = aliases(module.tree, types)
    home = {"cls", "Self", *types} if module.name == HOME else set()
    found = []
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        made = ast.unparse(node.func)
        given = [ast.unparse(each) for each in [*node.args, *(word.value for word in node.keywords)]]
        copied = made.split(".")[-1] in {"replace", "__replace__", "__new__", "partial"} and names & set(given)
        if made in names | home or made.removesuffix(".__new__") in names or copied:
            found.append(f"{module.path}:{node.lineno} {made}")
    return found


def test_only_provision_makes_evidence() -> None:
    types = evidence_types()
    found = {module.name: makings(module, types) for module in sources()}
    assert found.pop(MAKER), "the check sees nothing: provision.py itself makes evidence"
    assert [line for lines in found.values() for line in lines] == []


@pytest.mark.parametrize(
    "planted",
    [
        "from station.evidence import Signed\nSigned(pin=1)",
        "from station.evidence import Signed as Handy\nHandy(pin=1)",
        "from station import evidence\nevidence.Signed(pin=1)",
        "from station import evidence as e\ndef f():\n    return [e.Passed()]",
        "import station.evidence\nstation.evidence.Pinned()",
        "import station.evidence as seen\nseen.Pinned.__new__(seen.Pinned)",
        "from functools import partial\nfrom station.evidence import Locked\npartial(Locked, verified=1)()",
        "def late():\n    from station.evidence import Vetted\n    return Vetted()",
    ],
)
def test_planted_maker_is_found(planted: str, tmp_path: Path) -> None:
    path = tmp_path / "station" / "planted.py"
    path.parent.mkdir()
    path.write_text(planted)
    assert len(makings(source(path, tmp_path), evidence_types())) == 1


def test_naming_evidence_is_no_making(tmp_path: Path) -> None:
    path = tmp_path / "planted.py"
    path.write_text(
        "from station.evidence import Passed\ndef show(x: Passed) -> str:\n    return isinstance(x, Passed) and str(x)"
    )
    assert makings(source(path, tmp_path), evidence_types()) == []
