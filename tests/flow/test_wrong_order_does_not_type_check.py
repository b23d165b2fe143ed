"""States are values: a step that is given the evidence of the wrong step is refused by mypy, before anything runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
STEPS = [
    ("identify", "Inserted"), ("assign", "Identified"), ("key", "Assigned"), ("prove", "Keyed"), ("vet", "Proven"),
    ("intend", "Vetted"), ("sign", "Intended"), ("pin", "Signed"), ("take_over", "Proven"), ("anchor", "Pinned"),
    ("verify", "Anchored"), ("lock", "Verified"), ("complete", "Locked"),
]  # fmt: skip
EVIDENCE = sorted({kind for _, kind in STEPS} | {"Passed"})


def program() -> tuple[str, list[int], list[int]]:
    """Every step with every evidence; the lines that are right and the lines that are wrong."""
    lines = ["from station import evidence as e", "from station.provision import Provisioning", "", ""]
    lines.append(
        f"async def story(flow: Provisioning, {', '.join(f'{kind.lower()}: e.{kind}' for kind in EVIDENCE)}) -> None:"
    )
    right, wrong = [], []
    for step, wanted in STEPS:
        for kind in EVIDENCE:
            lines.append(f"    await flow.{step}({kind.lower()})")
            (right if kind == wanted else wrong).append(len(lines))
    return "\n".join(lines) + "\n", right, wrong


@pytest.mark.timeout(120)
def test_only_the_evidence_of_the_step_before_type_checks(tmp_path: Path):
    text, right, wrong = program()
    path = tmp_path / "story.py"
    path.write_text(text)
    argv = [sys.executable, "-m", "mypy", "--no-error-summary", "--config-file", "pyproject.toml", str(path)]
    said = subprocess.run(argv, cwd=TOP, capture_output=True, text=True, check=False).stdout
    refused = {int(found[1]) for found in re.finditer(r"story\.py:(\d+): error: Argument 1 .* \[arg-type\]", said)}
    assert refused == set(wrong), said
    assert not refused & set(right)
    assert len(wrong) == len(STEPS) * (len(EVIDENCE) - 1)
