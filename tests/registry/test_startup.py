"""A registry that does not fit its root, signer, certificate or database does not start, and says what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hsm.signer import SignerError, SignerUnavailableError
from registry.settings import Home, RegistryConfig, SetupError
from registry.startup import load_root, open_registry
from registry.tls import make_certificate
from tests.registry.make import SoftwareReceiptSigner, ec_key, public
from tests.registry.running import Plant, make_plant
from trust.codes import Code
from trust.root import RegistryKeys, Root, TrustedRoot


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return make_plant(tmp_path)


def refusal(
    plant: Plant,
    *,
    trusted: TrustedRoot | None = None,
    signer: SoftwareReceiptSigner | None = None,
    config: dict[str, str] | None = None,
) -> str:
    home = Home.load(plant.directory)
    if config:
        home = replace(home, config=msgspec.structs.replace(home.config, **config))
    with pytest.raises(SetupError) as caught:
        open_registry(home, trusted or plant.made.trusted, signer or plant.made.signer())
    return str(caught.value)


def changed(plant: Plant, **changes: Any) -> TrustedRoot:
    root: Root = msgspec.structs.replace(plant.made.trusted.root, **changes)
    return TrustedRoot(root, plant.made.trusted.sha256)


def test_a_registry_that_fits_starts(plant: Plant) -> None:
    ready = open_registry(Home.load(plant.directory), load_root(plant.root_file), plant.made.signer())
    ready.database.close()
    assert (ready.status.registry, ready.status.environment) == ("registry-01", "demo")
    assert ready.status.root_sha256 == plant.made.trusted.sha256


def test_other_environment_or_registry(plant: Plant) -> None:
    assert "give the root of this environment with --root" in refusal(plant, config={"environment": "plant-1"})
    assert "serve the other directory" in refusal(plant, config={"name": "registry-02"})


@pytest.mark.parametrize(
    ("says", "text"),
    [
        ({"role": "factory"}, "role is 'factory'"),
        ({"environment": "plant-1"}, "environment is 'plant-1'"),
        ({"name": "registry-02"}, "name is 'registry-02'"),
        ({"root_sha256": "00" * 32}, "with the same root file"),
        ({"keys": {}}, "its receipt key is not the trust root's"),
    ],
)
def test_a_signer_that_is_not_ours(says: dict[str, Any], text: str, plant: Plant) -> None:
    signer = plant.made.signer()
    signer.says = says
    assert text in refusal(plant, signer=signer)


def test_another_receipt_key(plant: Plant) -> None:
    signer = SoftwareReceiptSigner(plant.made.trusted, ec_key())
    assert "have a root made with this one's" in refusal(plant, signer=signer)
    keys = RegistryKeys(receipt=public(ec_key()).spki)
    assert "receipt key is not the trust root's" in refusal(plant, trusted=changed(plant, registry_keys=keys))


@pytest.mark.parametrize(
    "fault", [SignerUnavailableError("no socket"), SignerError(Code.TOKEN_UNAVAILABLE, "no token")]
)
def test_no_signer(fault: Exception, plant: Plant) -> None:
    signer = plant.made.signer()
    signer.fault = fault
    told = refusal(plant, signer=signer)
    assert "station-signer serve --dir" in told
    assert f"correct signer_socket in {plant.directory / 'registry.toml'}" in told


def test_another_certificate(plant: Plant) -> None:
    (plant.directory / "tls.crt").write_bytes(make_certificate("localhost", "registry-01")[1])
    assert "every station would refuse this registry" in refusal(plant)
    (plant.directory / "tls.crt").write_text("nonsense")
    assert "cannot be read" in refusal(plant)
    (plant.directory / "tls.crt").unlink()
    assert "restore it" in refusal(plant)


def test_a_database_that_is_not_there_or_not_ours(plant: Plant) -> None:
    path = plant.directory / "registry.db"
    data = bytearray(path.read_bytes())
    data[4096:8192] = b"\xa5" * 4096
    path.write_bytes(data)
    assert "restore the last backup" in refusal(plant)
    path.write_bytes(b"not a database at all" * 1000)
    assert "restore the last backup" in refusal(plant)
    path.write_bytes(b"")
    assert "run station-registry migrate" in refusal(plant)
    path.unlink()
    assert f"station-registry migrate --dir {plant.directory}" in refusal(plant)
    assert not path.exists()


def test_configurations_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"make the registry first \(station-registry init --help"):
        Home.load(tmp_path)
    (tmp_path / "registry.toml").write_text('name = "registry-01"\nenvironment = "demo"\nreceipt_key = "mine"\n')
    with pytest.raises(SetupError, match="receipt_key"):
        Home.load(tmp_path)


def test_roots_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="give the root file with --root"):
        load_root(tmp_path / "nowhere")
    (tmp_path / "root").write_bytes(b"{}")
    with pytest.raises(SetupError, match="not a trust root"):
        load_root(tmp_path / "root")


def test_where_things_are(tmp_path: Path) -> None:
    home = Home(tmp_path, RegistryConfig(name="registry-01", environment="demo"))
    assert home.database_url == f"sqlite:///{tmp_path}/registry.db"
    elsewhere = replace(home, config=msgspec.structs.replace(home.config, database="postgresql+psycopg://db/registry"))
    assert elsewhere.database_url == "postgresql+psycopg://db/registry"
