"""An account key is replaced while a lease request is open: the request is signed anew, and its lease is granted."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from hsm.signatory import Signatory
from registry.leases.service import LeaseService
from registry.pins.errors import RefusedError
from tests.contract.stage import REGISTRY, STATION, Stage
from tests.hsm.local_signer import CloudVerbs, FactoryVerbs
from tests.hsm.software_token import SoftwareToken
from tests.trust.documents import ec_key
from tests.trust.people import file_of
from trust.root_file import parse


def test_a_request_that_was_open_when_the_key_was_replaced_gets_its_lease(tmp_path: Path) -> None:
    """The same request is asked until it is answered: under the old key it would be refused for ever."""
    stage = Stage(tmp_path)
    asked = stage.factory.lease_request()
    pem = ec_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / STATION / "account.pem").write_bytes(pem)
    token = SoftwareToken(tmp_path / STATION)
    keys = msgspec.structs.replace(stage.root.stations[STATION], account=token.public_key("account"))
    line = stage.third("ada", "ben", stations={**stage.root.stations, STATION: keys})
    trusted = parse(file_of(*stage.lines, line))
    old, cloud = stage.factory.signatory, stage.receipts.signatory
    factory = FactoryVerbs(
        Signatory.over(token, old.counters, role="factory", name=STATION, trusted=trusted, now=stage.clock)
    )
    receipts = CloudVerbs(
        Signatory.over(stage.cloud, cloud.counters, role="cloud", name=REGISTRY, trusted=trusted, now=stage.clock)
    )
    leases = LeaseService(stage.database, trusted, receipts)
    with pytest.raises(RefusedError, match="not signed by the account key"):
        leases.grant(asked)
    before = factory.status().resigned
    again = factory.lease_request()
    assert again.same_statement(asked)
    factory.import_lease(leases.grant(again))
    assert factory.status().resigned == before + 1, "each signature is counted before it is made"
    stage.close()
