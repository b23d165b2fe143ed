"""A line of what a cloud signer has receipted: what signer and registry compare. A value only; nobody signs it."""

from __future__ import annotations

import msgspec


class Receipted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """That a receipt was asked for and signed, or reserved: for which statement or act, of which device, and when."""

    statement_sha256: str
    subject: str
    device_id: str
    registered_at: str
