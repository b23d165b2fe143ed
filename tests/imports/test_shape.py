"""The shape of the source: sizes, names, module docstrings, and who may print."""

import ast
from pathlib import Path

import pytest

from tests.imports.tree import Source, source, sources

MODULE_LINES = 300
FUNCTION_LINES = 50
VAGUE = {"utils", "util", "common", "helpers", "helper", "manager", "base", "misc"}
OUTPUT = "station.cli.output"  # the station's one writer to the terminal
SMALL_CLIS = ("hsm.cli", "registry.cli")  # a few lines each, through click.echo
ECHOES = {"click.echo", "click.secho", "sys.stdout.write", "sys.stderr.write"}


def may(module: Source, call: str) -> bool:
    """Whether this module may write to the terminal in this way."""
    if call == "print":
        return module.name == OUTPUT
    return (
        module.name == OUTPUT
        or module.name.startswith(SMALL_CLIS)
        or module.name.endswith((".__main__", "bench.program"))
    )


def too_long(module: Source) -> list[str]:
    """The module, if it has too many lines, and each of its functions that has."""
    lines = len(module.text.splitlines())
    found = [f"{module.path} has {lines} lines"] if lines > MODULE_LINES else []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            if size > FUNCTION_LINES:
                found.append(f"{module.path}:{node.lineno} {node.name} has {size} lines")
    return found


def prints(module: Source) -> list[str]:
    """Each place that writes to the terminal and may not."""
    return [
        f"{module.path}:{node.lineno} {call}"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and (call := ast.unparse(node.func)) in {"print", *ECHOES}
        and not may(module, call)
    ]


def vague(module: Source) -> list[str]:
    """The parts of the module's name that say nothing."""
    return [f"{module.path}: {part}" for part in module.name.split(".") if part in VAGUE]


def undocumented(module: Source) -> list[str]:
    """The module, if it does not say what it is for; an empty one needs not."""
    return [str(module.path)] if module.tree.body and not ast.get_docstring(module.tree) else []


@pytest.mark.parametrize("check", [too_long, vague, undocumented, prints])
def test_shape(check) -> None:
    assert [finding for module in sources() for finding in check(module)] == []


@pytest.mark.parametrize(
    ("check", "name", "text"),
    [
        (too_long, "trust/planted.py", "x = 1\n" * (MODULE_LINES + 1)),
        (too_long, "trust/planted.py", "class A:\n    async def f():\n" + "        x = 1\n" * FUNCTION_LINES),
        (vague, "station/utils/planted.py", ""),
        (undocumented, "station/planted.py", "x = 1"),
        (prints, "station/floor.py", "def f():\n    print('PASS')"),
        (prints, "station/floor.py", "import sys\nsys.stdout.write('PASS')"),
        (prints, "station/cli/run.py", "import click\nclick.echo('PASS')"),
        (prints, "hsm/cli/output.py", "print('PASS')"),
    ],
)
def test_planted_fault_is_found(check, name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert len(check(source(path, tmp_path))) == 1
