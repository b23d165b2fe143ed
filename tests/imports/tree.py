"""The product's source files as the checks of this folder read them; must never import what it reads."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
PACKAGES = ("trust", "given", "ledger", "hsm", "fixtures", "station", "registry", "migrations")
NOT_OURS = Path("fixtures/firmware")  # C, and the fetched mbedTLS with its own scripts


@dataclass(frozen=True, slots=True)
class Source:
    """One module: its path relative to the tree, its text and its syntax tree."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def name(self) -> str:
        """The module's dotted name."""
        parts = self.path.with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def source(path: Path, top: Path) -> Source:
    """The file, parsed."""
    text = path.read_text(encoding="utf-8")
    return Source(path.relative_to(top), text, ast.parse(text, str(path)))


def paths(top: Path = TOP) -> Iterator[Path]:
    """Every Python file of the product below `top`, sorted."""
    for package in PACKAGES:
        yield from (
            path for path in sorted((top / package).rglob("*.py")) if not path.relative_to(top).is_relative_to(NOT_OURS)
        )


def sources(top: Path = TOP) -> Iterator[Source]:
    """Every module of the product below `top`, parsed, sorted by path."""
    return (source(path, top) for path in paths(top))
