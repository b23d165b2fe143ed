"""The only builder of a signer's process: configuration, checks, token, counters, policy, socket, in that order.

Never decides about statements. Nothing is served before every check has passed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from hsm import check, config, hardening
from hsm.config import SetupError, SignerConfig
from hsm.counters import Counters
from hsm.counters.file import StoreError
from hsm.peers import Peers
from hsm.place import COUNTERS_FILE, TOKEN_LOCK, token_place
from hsm.roots import read_root, take_up
from hsm.server import SignerServer
from hsm.signatory import Signatory
from hsm.token import TokenError, pin_tries
from hsm.token.pkcs11.session import Pkcs11Token
from hsm.token.user_pin import UserPinError, read_user_pin
from hsm.worker import Worker
from trust.root import TrustedRoot

_LOG = logging.getLogger(__name__)
# the locks too: whoever may open one may hold it, and keep the signer from starting
_SECRET = ("tokens", "so-pin", "user-pin", COUNTERS_FILE, pin_tries.FILE, TOKEN_LOCK, config.LOCK)
_LET_GO_S = 2.0
_STUCK = 6


def serve(directory: Path, root_file: Path, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT. SetupError when a check fails; nothing has been signed then.

    `on_ready` hears who serves where.
    """
    protections = hardening.protect()  # first of all: nothing that is read later can leave by a side door
    made = config.load(directory)
    hardening.require(protections, environment=made.environment, may_swap=made.may_swap)
    check.check_places(directory, made, secret=_SECRET)
    check.check_root_place(made, root_file)
    trusted = read_root(root_file)
    with ExitStack() as open_things:
        open_things.enter_context(config.alone(directory))
        try:
            token = _token(directory, made, open_things)
            signatory = _signatory(directory, made, trusted, token, open_things, protections=protections)
        except (TokenError, StoreError, UserPinError) as error:
            raise SetupError(str(error)) from error
        path = config.socket_path(directory, made)
        worker = Worker(signatory.counters, token.thread)
        server = SignerServer(signatory, path, Peers.of(made, os.geteuid()), worker)
        who = f"{made.role} signer {made.name} ({made.environment}) at {path}"
        asyncio.run(_run(server, lambda: on_ready(who)))


async def _run(server: SignerServer, on_ready: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, server.stop)
    await server.serve(on_ready)


def _token(directory: Path, made: SignerConfig, open_things: ExitStack) -> Pkcs11Token:
    token = Pkcs11Token(
        token_place(directory, made), read_user_pin(made.user_pin, directory, environment=made.environment)
    )
    open_things.callback(_let_go, token)
    return token


def _let_go(token: Pkcs11Token) -> None:
    """The last thing that a serving process does. A module that does not come back would keep it from ending."""
    if not token.let_go(_LET_GO_S):
        _LOG.error("token %r does not come back: this process ends inside it", token.label)
        os._exit(_STUCK)


def _signatory(
    directory: Path,
    made: SignerConfig,
    trusted: TrustedRoot,
    token: Pkcs11Token,
    open_things: ExitStack,
    *,
    protections: Mapping[str, bool],
) -> Signatory:
    keys = check.check_token(made, token)
    check.check_root(made, trusted, token, keys)
    memory = Counters.open(directory / COUNTERS_FILE, made.owner(keys))
    open_things.callback(memory.close)
    take_up(memory, trusted, int(time.time()), first=made.environment == "demo")
    return Signatory.over(
        token, memory, role=made.role, name=made.name, trusted=trusted, now=time.time, protections=protections
    )
