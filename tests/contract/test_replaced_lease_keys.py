"""A key of leases is replaced while one is asked for: request and lease are signed anew, and nobody is locked out."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from hsm.signatory import Signatory
from hsm.signer import SignerError
from registry.errors import RefusedError
from registry.leases.service import LeaseService
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


def test_a_lease_that_was_lost_when_the_lease_key_was_replaced_comes_under_the_new_one(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    asked = stage.factory.lease_request()
    lost = stage.leases.grant(asked)
    pem = ec_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "cloud" / "lease.pem").write_bytes(pem)
    token = SoftwareToken(tmp_path / "cloud")
    keys = msgspec.structs.replace(stage.root.registry_keys, lease=token.public_key("lease"))
    trusted = parse(file_of(*stage.lines, stage.third("ada", "ben", registry_keys=keys)))
    old, cloud = stage.factory.signatory, stage.receipts.signatory
    factory = FactoryVerbs(
        Signatory.over(old.token, old.counters, role="factory", name=STATION, trusted=trusted, now=stage.clock)
    )
    receipts = CloudVerbs(
        Signatory.over(token, cloud.counters, role="cloud", name=REGISTRY, trusted=trusted, now=stage.clock)
    )
    with pytest.raises(SignerError, match="not signed by key"):
        factory.import_lease(lost)
    again = LeaseService(stage.database, trusted, receipts).grant(factory.lease_request())
    assert again.same_statement(lost)
    factory.import_lease(again)
    stage.close()
