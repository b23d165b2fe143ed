"""Begin a migration: `python -m migrations.new station|registry "what it does"` writes the next numbered file.

Alembic looks for its template beside each environment; ours is one for both, with the rules in it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import template_to_file

_HERE = Path(__file__).parent


def begin(database: str, what: str, versions: Path | None = None) -> Path:
    """The new file, `NNNN_what_it_does.py`, in the database's versions or the directory given."""
    config = Config()
    config.set_main_option("script_location", str(_HERE / database))
    head = ScriptDirectory.from_config(config).get_current_head()
    number = f"{int(head or 0) + 1:04d}"
    slug = re.sub(r"[^a-z0-9]+", "_", what.lower()).strip("_")
    path = (versions or _HERE / database / "versions") / f"{number}_{slug}.py"
    template_to_file(
        str(_HERE / "script.py.mako"),
        str(path),
        "utf-8",
        message=what,
        up_revision=number,
        down_revision=head,
        branch_labels=None,
        depends_on=None,
        upgrades="",
    )
    return path


if __name__ == "__main__":
    begin(sys.argv[1], sys.argv[2])
