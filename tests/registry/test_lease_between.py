"""A lease request that another process grants just then: the lease for both, and a conflict for nobody."""

from __future__ import annotations

import pytest

from registry.database import Database
from registry.leases import store
from tests.registry.asking import Asking


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_the_very_request_granted_between_two_looks(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL shows each statement what was committed before it; SQLite has one writer."""
    asking = Asking.make(database)
    request, leases = asking.sealed(asking.request()), asking.leases
    granted = []
    real = store.last

    def late(connection: object, station: str) -> object:
        if not granted:
            granted.append("meanwhile")
            granted.append(leases.grant(request).payload_sha256)
        return real(connection, station)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "last", late)
    assert leases.grant(request).payload_sha256 == granted[1]
