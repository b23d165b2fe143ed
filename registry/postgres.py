"""PostgreSQL: how it is reached, and that each connection is to a server that keeps what it has committed.

Asked of every new connection and not only at start-up: a pool reconnects, after a failover to another server. Never
knows a table, and never changes a setting of the server.
"""

from __future__ import annotations

import ipaddress
import os
import select
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError

from registry import bounded
from registry.failures import DatabaseError, NotReplicatedError

DRIVER: Final = "postgresql+psycopg"
OLDEST: Final = 13
_POOL = 8
_WAIT_S = 5.0  # for a free connection: when the database hangs, who asks is told so and not kept
_ARGUMENTS: Final[Mapping[str, str | int]] = MappingProxyType(
    {
        "connect_timeout": 5,  # s, for each machine that the URL names
        "tcp_user_timeout": 10_000,  # ms: what was sent and not acknowledged for so long is lost
        # s: who waits for an answer has sent everything, and hears nothing of a machine that is gone unless it asks
        "keepalives": 1,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "client_encoding": "utf8",
        "application_name": "station-registry",
    }
)
_SESSION: Final = "SET lock_timeout = '5s'; SET idle_in_transaction_session_timeout = '20s'; "
_SERVING: Final = f"{_SESSION}SET statement_timeout = '7s'"
_PATIENT: Final = f"{_SESSION}SET statement_timeout = 0"
_ASK: Final = """
    SELECT current_setting('server_version_num')::int / 10000, current_setting('fsync'),
        current_setting('full_page_writes'), current_setting('data_checksums'), pg_is_in_recovery(),
        current_setting('default_transaction_read_only'), current_setting('synchronous_commit'),
        current_setting('server_encoding'), 'B' < 'a'
"""
_READ_ONLY = "25006"
_CANCELLED_WAIT = "canceling wait for synchronous replication"
_EARLY = (
    "acknowledges before it has stored (synchronous_commit = {}): set it to on or remote_apply, for the server, this "
    "database and this role"
)
_WARNED = "keystation_not_replicated"
_DATABASE = "createdb --owner OWNER --encoding UTF8 --locale C --template template0 NAME"


def make_engine(url: URL, *, patient: bool) -> Engine:
    """The engine; DatabaseError for a URL that no registry may use. Opens no connection yet.

    `patient`: a statement may take as long as it takes, as a migration's may with a million devices.
    """
    _require_safe(url)
    engine = create_engine(
        url,
        pool_size=_POOL,
        max_overflow=0,
        pool_timeout=_WAIT_S,
        hide_parameters=True,  # of a statement that failed: an error's text may be shown
        connect_args={**_ARGUMENTS},
    )
    if not patient:
        event.listen(engine, "do_connect", lambda _dialect, _entry, given, named: bounded.connect(*given, **named))
    event.listen(engine, "connect", partial(_begin_session, _PATIENT if patient else _SERVING))
    event.listen(engine, "checkout", _require_alive)
    event.listen(engine, "handle_error", _gone_if_read_only)
    return engine


def require_replicated(dbapi: Any) -> None:
    """NotReplicatedError if the commit that was just made was not waited for: somebody cancelled the waiting."""
    if getattr(dbapi, _WARNED, False):
        setattr(dbapi, _WARNED, False)
        raise NotReplicatedError("the database stopped waiting for its standby: was the wait cancelled by hand?")


def problem(answer: tuple[Any, ...]) -> str | None:
    """What is wrong with a server that answered so to the question put to each new connection; None if nothing is."""
    version, fsync, full_pages, checksums, standby, read_only, commit, encoding, bytewise = answer
    rules = (
        (version >= OLDEST, f"is version {version}: use PostgreSQL {OLDEST} or newer"),
        (fsync == "on", "runs with fsync off, and would lose what it acknowledged: set fsync = on and restart it"),
        (full_pages == "on", "runs with full_page_writes off: set full_page_writes = on and reload it"),
        (checksums == "on", "has no data checksums: stop it, run pg_checksums --enable, start it"),
        (not standby, "is a standby: name the primary, or all of them with target_session_attrs=read-write"),
        (read_only == "off", "is read-only for this role: set default_transaction_read_only = off"),
        (commit in {"on", "remote_apply"}, _EARLY.format(commit)),
        (encoding == "UTF8", f"keeps this database in {encoding}: make one with {_DATABASE}"),
        (bytewise, f"sorts this database's texts by a language's rules: make one with {_DATABASE}"),
    )
    return next((text for holds, text in rules if not holds), None)


def role_of(url: str) -> str:
    """The role that a URL names; DatabaseError if it names none."""
    role = make_url(url).username
    if not role:
        raise DatabaseError(f"database: the URL names no role: {DRIVER}://ROLE@HOST/NAME")
    return role


def _require_safe(url: URL) -> None:
    if url.drivername != DRIVER:
        raise DatabaseError(f"database: {url.drivername}:// is not known: give a file, or {DRIVER}://ROLE@HOST/NAME")
    if url.password is not None or "password" in url.query:
        raise DatabaseError(
            "database: a password stands in the URL: keep it in a file of mode 0600 and add passfile=/that/file, "
            "or let the server know the registry's user (peer) or certificate"
        )
    _require_passfile(url)
    if url.query.get("sslmode") != "verify-full" and not all(_is_here(each) for each in _hosts(url)):
        raise DatabaseError(
            "database: the way to another machine must be TLS with the server's name checked: "
            "add sslmode=verify-full and sslrootcert=/the/servers/ca.pem"
        )


def _require_passfile(url: URL) -> None:
    """The server's library passes over a file that is not there, and then says only that there is no password."""
    for each in _texts(url, "passfile"):
        if not os.path.exists(each):  # noqa: PTH110 - False, too, where one may not look
            raise DatabaseError(f"database: passfile={each}: no such file that this user may see: make it, mode 0600")


def _texts(url: URL, name: str) -> tuple[str, ...]:
    found = url.query.get(name, ())
    return (found,) if isinstance(found, str) else found


def _hosts(url: URL) -> list[str]:
    """The machines that the URL names; none for the usual socket of this one."""
    named = [url.host or "", *_texts(url, "host"), *_texts(url, "hostaddr")]
    return [name for each in named for name in each.split(",") if name]


def _is_here(host: str) -> bool:
    """Whether it is this machine: a socket's directory, or a loopback address."""
    if host.startswith("/") or host.partition(":")[0] == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition(":")[0] if host.count(":") == 1 else host).is_loopback
    except ValueError:
        return False


def _begin_session(limits: str, dbapi: Any, _entry: object) -> None:
    """Ask the server what it is, and bound how long anything of ours may take; DatabaseError closes the connection."""
    dbapi.autocommit = True
    wrong = problem(dbapi.execute(_ASK).fetchone())
    if wrong is not None:
        dbapi.close()
        raise DatabaseError(f"the database server {wrong}")
    dbapi.execute(limits)
    dbapi.autocommit = False
    dbapi.add_notice_handler(lambda notice: _note(dbapi, notice))


def _note(dbapi: Any, notice: Any) -> None:
    # The commit succeeds all the same, and a client that does not listen acknowledges what one failover would lose.
    if _CANCELLED_WAIT in (notice.message_primary or ""):
        setattr(dbapi, _WARNED, True)


def _require_alive(dbapi: Any, _entry: object, _proxy: object) -> None:
    """A server that went has something to say on an idle connection, or has closed it: take a new one instead.

    Costs no round trip. All connections of the pool go when one backend is killed: the server restarts the others.
    """
    waiting = select.poll()
    waiting.register(dbapi.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
    if waiting.poll(0):
        raise DisconnectionError("the server has closed this connection, or is about to")


def _gone_if_read_only(context: Any) -> None:
    """A primary that became a standby while we were connected: leave it, so that the next connection finds the new."""
    if isinstance(context.sqlalchemy_exception, DBAPIError):
        context.is_disconnect |= getattr(context.original_exception, "sqlstate", None) == _READ_ONLY
