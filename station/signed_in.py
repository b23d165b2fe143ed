"""A person at the station who is signed in at the registry for one command.

Never keeps what was typed, but for the id, with what the registry has given this machine for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from station import config as settings
from station import known_here, wiring
from station.cloud import CloudRefusedError
from station.cloud.devices import Asks
from station.cloud.person import REFUSES_PERSON, Person
from station.leaves import LEAF_ERRORS, classify_for_command
from station.root import load_root
from station.usage import UsageError
from trust.codes import Code
from trust.printable import printable

_SHOWN = 200
_TYPED = REFUSES_PERSON | {Code.STATEMENT_INVALID, Code.PASSWORD_WEAK}


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """What was typed; in no text of ours."""

    user_id: str
    password: str = field(repr=False)
    code: str = field(repr=False)


@asynccontextmanager
async def signed_in(config_file: Path, who: SignIn) -> AsyncIterator[Asks]:
    """The registry, as this person, within the block.

    UsageError when the person is not known or may not; the faults of a registry that refuses or is away.
    """
    config, paths = settings.load(config_file)
    person = Person()
    cloud = wiring.open_registry(config, load_root(paths.root), person)
    try:
        known = known_here.shown(paths.database, who.user_id)
        async with person.signed_in(cloud, who.user_id, who.password, who.code, known):
            known_here.keep(paths.database, who.user_id, person.device)
            yield cloud
    except CloudRefusedError as error:
        if error.code in _TYPED:
            raise UsageError(f"{error.code.value}: {printable(str(error), _SHOWN)}") from error
        raise classify_for_command(error) from error
    except LEAF_ERRORS as error:
        raise classify_for_command(error) from error
    finally:
        await cloud.close()
