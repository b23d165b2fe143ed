"""SmartCard-HSM 4K and Nitrokey HSM 2 behind OpenSC. From OpenSC's source; nobody here had one."""

from __future__ import annotations

from typing import Final

from hsm.token.profile import BORN_INSIDE, NEVER_LEAVES, Mark, Profile, Seen, Source, Tier

_SOURCE: Final = "OpenSC at 14c80b0ab"

SMARTCARD_HSM: Final = Profile(
    name="smartcard-hsm",
    title="SmartCard-HSM, Nitrokey HSM 2 (OpenSC)",
    recognised=(
        Seen(token_manufacturer="www.CardContact.de"),
        Seen(token_manufacturer="CardContact", token_model="SmartCard-HSM"),
    ),
    ed25519_params=b"",
    leave_out=frozenset({"ID"}),
    required={**NEVER_LEAVES, "SIGN": True},
    where_readable={**BORN_INSIDE, "DECRYPT": False, "UNWRAP": False},
    public_beside=True,
    initialised_here=False,
    user_pin="6 to 15 characters, set by sc-hsm-tool",
    user_pin_form=r".{6,15}",
    token_label="the label given to sc-hsm-tool, then (UserPIN): station-signer (UserPIN)",
    tier=Tier.C,
    network_client=False,
    p256_rate="not known; a smart card makes a few a second to a few tens",
    sources=(
        Source(
            about=("recognised", "token_label", "ed25519_params"),
            where=f"{_SOURCE}: src/libopensc/pkcs15-sc-hsm.c, card-sc-hsm.c; NLnetLabs/cascade issue 244 shows one",
            mark=Mark.DOCUMENTED,
        ),
        Source(
            about=("required", "where_readable", "leave_out", "public_beside", "read_write"),
            where=f"{_SOURCE}: src/pkcs11/framework-pkcs15.c",
            mark=Mark.DOCUMENTED,
        ),
        Source(
            about=("initialised_here", "user_pin"),
            where="OpenSC wiki, SmartCard-HSM: Initialize the device; sc-hsm-tool(1)",
            mark=Mark.DOCUMENTED,
        ),
        Source(
            about=("tier", "usage_counter", "command_log", "network_client", "p256_rate"),
            where="not confirmed: the card has a use counter for each key, which OpenSC does not show",
            mark=Mark.DOCUMENTED,
        ),
    ),
    cannot=(
        "It has no Ed25519: the log key is P-256.",
        "Its keys may also derive (ECDH), as OpenSC reports usage of EC keys by type: that is not required false.",
        "Three wrong user PINs lock it (retry counter of sc-hsm-tool): the signer tries a PIN once.",
        "A device that was initialised with a device key encryption key share lets its keys be exported wrapped.",
        "All objects are on the device: it ignores the difference between token and session objects.",
    ),
)
