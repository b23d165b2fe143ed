"""Have a signer that does not serve take up a root: checked, compared with its fingerprint, and then for good.

What a serving signer does with the root that it is given at its start is `hsm.service`'s. Never signs.
"""

from __future__ import annotations

import time
from pathlib import Path

from hsm import config
from hsm.check import require_environment
from hsm.config import SetupError
from hsm.counters import Counters
from hsm.counters.file import StoreError
from hsm.place import COUNTERS_FILE
from hsm.roots import public_keys, read_known_root, take_up
from trust.root import TrustedRoot


def import_root(directory: Path, file: Path, sha256: str) -> TrustedRoot:
    """The root that was taken up; SetupError says why it was not."""
    made = config.load(directory)
    trusted = read_known_root(file, sha256)
    require_environment(made, trusted)
    owner = made.owner(public_keys(directory))
    try:
        with config.alone(directory):
            counters = Counters.open(directory / COUNTERS_FILE, owner)
            try:
                take_up(counters, trusted, int(time.time()), first=True)
            finally:
                counters.close()
    except StoreError as error:
        raise SetupError(str(error)) from error
    return trusted
