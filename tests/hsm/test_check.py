"""What must hold before a signer starts: closed places, a token of its role, a root that names its very keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from hsm import config
from hsm.check import check_places, check_root, check_token
from hsm.config import SetupError, SignerConfig
from tests.hsm.local_signer import Parties
from tests.hsm.software_token import SoftwareToken
from trust.root import CloudKeys, TrustedRoot

SECRET = ("tokens", "so-pin", "user-pin", "counters.db")
MADE = SignerConfig(
    role="factory",
    name="st-01",
    environment="demo",
    token_label="st-01",
    module="/usr/lib/softhsm/libsofthsm2.so",
    softhsm_conf="softhsm2.conf",
)
CLOUD = msgspec.structs.replace(MADE, role="cloud", name="reg-01")


@pytest.fixture
def place(short_dir: Path) -> Path:
    """A directory as the ceremony leaves it, without a token in it."""
    directory = short_dir / "signer"
    directory.mkdir(mode=0o750)
    (directory / "run").mkdir(mode=0o750)
    (directory / "tokens").mkdir(mode=0o700)
    for name, mode in [
        ("signer.toml", 0o640),
        ("softhsm2.conf", 0o640),
        ("so-pin", 0o600),
        ("user-pin", 0o600),
        ("counters.db", 0o600),
    ]:
        (directory / name).touch()
        (directory / name).chmod(mode)
    return directory


def test_closed_places_are_fine(place: Path) -> None:
    check_places(place, MADE, secret=SECRET)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        (".", 0o755), (".", 0o770), ("run", 0o755), ("run", 0o770), ("user-pin", 0o640), ("so-pin", 0o604), ("tokens", 0o750),
        ("counters.db", 0o660), ("signer.toml", 0o660), ("softhsm2.conf", 0o644),
    ],
)  # fmt: skip
def test_an_open_place_is_refused_with_the_command_that_closes_it(place: Path, name: str, mode: int) -> None:
    closed = (place / name).stat().st_mode & 0o777
    (place / name).chmod(mode)
    with pytest.raises(SetupError, match=f"chmod 0{closed:o} {place / name}$"):
        check_places(place, MADE, secret=SECRET)


def test_a_link_in_place_of_a_secret_is_refused(place: Path) -> None:
    (place / "user-pin").rename(place / "elsewhere")
    (place / "user-pin").symlink_to(place / "elsewhere")
    with pytest.raises(SetupError, match="user-pin"):
        check_places(place, MADE, secret=SECRET)


def test_a_missing_socket_directory_is_said(place: Path) -> None:
    (place / "run").rmdir()
    with pytest.raises(SetupError, match="station-signer init"):
        check_places(place, MADE, secret=SECRET)


def test_a_token_of_its_role_gives_its_keys(parties: Parties) -> None:
    assert check_token(MADE, parties.factory_token) == parties.factory_token.keys()


def test_a_token_with_a_key_missing_or_of_the_other_role_is_refused(parties: Parties, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no key for"):
        check_token(MADE, parties.cloud_token)
    both = SoftwareToken.make(tmp_path / "factory", "factory")
    (tmp_path / "factory" / "receipt.pem").write_bytes((tmp_path / "factory" / "pin.pem").read_bytes())
    with pytest.raises(SetupError, match="other role"):
        check_token(MADE, both)


def test_a_soft_token_is_refused_outside_demo(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    token, site = parties.factory_token, msgspec.structs.replace(MADE, environment="site-a")
    of_site = _root(parties, environment="site-a")
    check_root(site, of_site, token, token.keys())
    monkeypatch.setattr(SoftwareToken, "model", "SoftHSM v2")
    check_root(MADE, parties.trusted, token, token.keys())
    with pytest.raises(SetupError, match="use a hardware token"):
        check_root(site, of_site, token, token.keys())
    check_root(site, _root(parties, environment="site-a", soft_tokens=True), token, token.keys())


def _root(parties: Parties, **changes: Any) -> TrustedRoot:
    return TrustedRoot(msgspec.structs.replace(parties.trusted.root, **changes), parties.trusted.sha256)


def test_a_root_that_names_these_keys_is_fine(parties: Parties) -> None:
    check_root(MADE, parties.trusted, parties.factory_token, parties.factory_token.keys())
    check_root(CLOUD, parties.trusted, parties.cloud_token, parties.cloud_token.keys())


@pytest.mark.parametrize("purpose", ["revocation", "lease", "roster", "handshake"])
def test_a_cloud_key_that_the_root_names_is_this_tokens(parties: Parties, purpose: str) -> None:
    """One that it leaves out is nobody's, and nothing of its kind is taken from anybody."""
    keys, before = parties.cloud_token.keys(), parties.trusted.root
    for named, fits in ((keys[purpose], True), (keys["receipt"], False)):
        root = (
            _root(parties, cloud_keys=CloudKeys(handshake=named))
            if purpose == "handshake"
            else _root(parties, registry_keys=msgspec.structs.replace(before.registry_keys, **{purpose: named}))
        )
        if fits:
            check_root(CLOUD, root, parties.cloud_token, keys)
            continue
        with pytest.raises(SetupError, match=f"for {purpose}:"):
            check_root(CLOUD, root, parties.cloud_token, keys)


def test_a_root_of_another_environment_station_registry_or_key_is_refused(parties: Parties) -> None:
    token, keys = parties.factory_token, parties.factory_token.keys()
    with pytest.raises(SetupError, match="environment 'site-a'"):
        check_root(MADE, _root(parties, environment="site-a"), token, keys)
    with pytest.raises(SetupError, match=r"public\.json"):
        check_root(MADE, _root(parties, stations={}), token, keys)
    assert set(keys) == {"pin", "completion", "log", "client", "account"}
    for purpose in keys:
        with pytest.raises(SetupError, match=f"for {purpose}:"):
            check_root(MADE, parties.trusted, token, {**keys, purpose: b"another"})
    cloud = msgspec.structs.replace(CLOUD, name="reg-02")
    with pytest.raises(SetupError, match="reg-02"):
        check_root(cloud, parties.trusted, parties.cloud_token, parties.cloud_token.keys())


def test_the_configuration_comes_back_as_it_was_written(tmp_path: Path) -> None:
    made = msgspec.structs.replace(MADE, allowed_uids=(1000, 1001), user_pin='cred:"pin"\\')
    (tmp_path / "signer.toml").write_text(config.dump(made))
    assert config.load(tmp_path) == made


@pytest.mark.parametrize("text", ["role = ", 'role = "both"', 'role = "factory"\nextra = 1', ""])
def test_a_malformed_configuration_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "signer.toml").write_text(text)
    with pytest.raises(SetupError, match=r"signer\.toml"):
        config.load(tmp_path)
