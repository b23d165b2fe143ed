"""Who may use a signer's socket, for whoever may not: by the system's rights, and by the signer's own list.

Only reads what anybody may see. Never opens the socket.
"""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path


def who_may(path: Path) -> str:
    """That this user may not use the socket, and who may, as far as it can be seen from outside."""
    closed = _closed(path)
    may = ""
    if closed is not None:
        found = closed.stat()
        may = f": user {_user(found.st_uid)} and group {_group(found.st_gid)} may, by {closed}"
    own = os.geteuid()
    return (
        f"this user, {_user(own)} (id {own}), may not use its socket{may}. Its signer.toml must have the id in "
        "allowed_uids, too (the device service's id in device_service_uids, where it has that list)"
    )


def _closed(path: Path) -> Path | None:
    """The socket, or the directory on the way to it that lets nobody else in."""
    for each in (path, *path.parents):
        try:
            each.stat()
        except OSError:
            continue
        return each
    return None


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
