"""Profiles: every fact has a source, nothing untried claims to be tried, recognition goes by what modules say."""

from __future__ import annotations

from dataclasses import fields

import pytest

from hsm.token import TokenError
from hsm.token.pkcs11.keys import require_attributes, spki_of
from hsm.token.profile import ED25519_BY_NAME, Mark, Profile, Seen, Tier
from hsm.token.profiles import PROFILES, choose
from hsm.token.profiles.generic import GENERIC
from hsm.token.profiles.smartcard_hsm import SMARTCARD_HSM
from hsm.token.profiles.yubihsm2 import YUBIHSM2

NOT_FACTS = {"name", "title", "user_pin_form", "sources", "cannot"}
BY_NAME = {each.name: each for each in PROFILES}


@pytest.mark.parametrize("profile", PROFILES, ids=BY_NAME)
def test_every_fact_has_a_source(profile: Profile) -> None:
    facts = {each.name for each in fields(profile)} - NOT_FACTS
    about = [name for source in profile.sources for name in source.about]
    assert set(about) == facts
    assert len(about) == len(set(about))
    assert all(source.where for source in profile.sources)
    assert profile.cannot


def test_only_softhsm_was_tried() -> None:
    assert [each.name for each in PROFILES if each.tried] == ["softhsm"]
    assert all(each.mark is Mark.DOCUMENTED for one in PROFILES for each in one.sources if one.name != "softhsm")


@pytest.mark.parametrize("profile", PROFILES, ids=BY_NAME)
def test_a_key_that_may_leave_is_refused_by_all(profile: Profile) -> None:
    assert profile.required.items() >= {"SENSITIVE": True, "EXTRACTABLE": False, "SIGN": True}.items()
    assert "LOCAL" in {**profile.required, **profile.where_readable}
    assert not set(profile.required) & set(profile.where_readable) or profile is GENERIC


@pytest.mark.parametrize("profile", PROFILES, ids=BY_NAME)
def test_a_tier_is_what_the_module_has(profile: Profile) -> None:
    assert (profile.tier is Tier.A) is bool(profile.usage_counter)
    assert (profile.tier is Tier.B) is bool(profile.command_log)


@pytest.mark.parametrize(
    ("seen", "name"),
    [
        (Seen(token_manufacturer="SoftHSM project", token_model="SoftHSM v2", library_description="Implementation of PKCS11"), "softhsm"),
        (Seen(token_manufacturer="SoftHSM project", token_model="SoftHSM v2", library_description="PKCS#11 Kit Proxy Module"), "softhsm"),
        (Seen(token_manufacturer="Yubico (www.yubico.com)", token_model="YubiHSM"), "yubihsm2"),
        (Seen(token_manufacturer="SafeNet", token_model="LunaSA 7.7.0"), "luna"),
        (Seen(token_manufacturer="www.CardContact.de", token_model="PKCS#15 emulated"), "smartcard-hsm"),
        (Seen(token_manufacturer="piv_II", token_model="PKCS#15 emulated"), "generic"),
        (Seen(token_manufacturer="Yubico (www.yubico.com)", token_model="YubiKey YK5"), "generic"),
        (Seen(), "generic"),
    ],
)  # fmt: skip
def test_recognised_by_what_token_and_library_say(seen: Seen, name: str) -> None:
    chosen = choose(seen)
    assert chosen.profile.name == name
    assert chosen.recognised is (name != "generic")
    assert ("not tried with this module" in str(chosen)) is (name != "softhsm")


def test_a_name_in_the_settings_wins_and_never_makes_a_module_tried() -> None:
    other = choose(Seen(token_manufacturer="toaster"), "softhsm")
    assert (other.profile.name, other.recognised) == ("softhsm", False)
    assert (
        str(other)
        == "softhsm (profile tried with another, not tried with this module; the token does not show that it is one)"
    )
    with pytest.raises(TokenError, match="not known"):
        choose(Seen(), "toaster")


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("yubihsm2", ["0005password", "00fFa-longer-one"], ["password", "0005short", "5password", ""]),
        ("cloudhsm", ["signer:Password1"], ["signer", ":Password1", "signer:", ""]),
        ("smartcard-hsm", ["648219"], ["12345", "1" * 16]),
        ("softhsm", ["1234", "a" * 32], ["123", ""]),
    ],
)
def test_the_form_of_a_user_pin(name: str, good: list[str], bad: list[str]) -> None:
    assert all(BY_NAME[name].takes_user_pin(each) for each in good)
    assert not any(BY_NAME[name].takes_user_pin(each) for each in bad)


def test_yubihsm_spells_ed25519_by_name() -> None:
    """As a DER PrintableString: what its published source compares with."""
    assert YUBIHSM2.ed25519_params == ED25519_BY_NAME == bytes.fromhex("130c656477617264733235353139")


class Shown(dict[object, object]):
    """A key as PKCS #11 shows it: attributes by their number, the rest not readable."""

    label = "pin"

    def __missing__(self, name: object) -> object:
        import pkcs11

        raise pkcs11.AttributeTypeInvalid


def shown(**attributes: object) -> Shown:
    from pkcs11 import Attribute

    return Shown({Attribute[name]: value for name, value in attributes.items()})


def test_what_a_module_does_not_tell_is_required_or_passed_over_by_profile() -> None:
    told = {"SENSITIVE": True, "EXTRACTABLE": False, "SIGN": True}
    require_attributes("pin", shown(**told), GENERIC)
    require_attributes("pin", shown(**told), SMARTCARD_HSM)
    with pytest.raises(TokenError, match="does not tell CKA_"):
        require_attributes("pin", shown(**told), YUBIHSM2)
    for secret in told:
        with pytest.raises(TokenError, match=f"CKA_{secret}"):
            require_attributes("pin", shown(**{name: value for name, value in told.items() if name != secret}), GENERIC)


def test_an_imported_key_on_a_yubihsm_is_told_by_local_alone() -> None:
    """Its module says ALWAYS_SENSITIVE of every key, by its published source."""
    as_shown = {**YUBIHSM2.required, "LOCAL": False}
    with pytest.raises(TokenError, match="CKA_LOCAL false"):
        require_attributes("pin", shown(**as_shown), YUBIHSM2)
    require_attributes("pin", shown(**YUBIHSM2.required), YUBIHSM2)


def test_a_curve_point_is_taken_raw_and_wrapped() -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from pkcs11 import KeyType

    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for form in (point, b"\x04\x41" + point):
        key = shown(EC_POINT=form)
        key.key_type = KeyType.EC
        assert spki_of(key) == der
    key = shown(EC_POINT=point[:-1])
    key.key_type = KeyType.EC
    with pytest.raises(TokenError, match="curve point"):
        spki_of(key)


def test_only_the_key_whose_handshake_needs_it_may_decrypt() -> None:
    decrypts = shown(**{**YUBIHSM2.required, "DECRYPT": True})
    require_attributes("cloud-tcp", decrypts, YUBIHSM2)
    with pytest.raises(TokenError, match="CKA_DECRYPT true"):
        require_attributes("pin", decrypts, YUBIHSM2)
