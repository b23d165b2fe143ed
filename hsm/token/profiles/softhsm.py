"""SoftHSM 2: the token of demo and development, tried with 2.6.1. Protects nothing from who can read its files."""

from __future__ import annotations

from typing import Final

from hsm.token.profile import BORN_INSIDE, ED25519_BY_OID, NEVER_LEAVES, SIGNS_ONLY, Mark, Profile, Seen, Source, Tier

_TRIED: Final = (
    "tests/hsm/test_module_contract.py, SoftHSM 2.6.1 of Debian 12, directly and through p11-kit-proxy 0.24.1"
)

SOFTHSM: Final = Profile(
    name="softhsm",
    title="SoftHSM 2",
    recognised=(Seen(token_manufacturer="SoftHSM project", token_model="SoftHSM v2"),),
    ed25519_params=ED25519_BY_OID,
    required={**NEVER_LEAVES, **SIGNS_ONLY, **BORN_INSIDE},
    where_readable={},
    public_beside=True,
    initialised_here=True,
    user_pin="4 to 255 characters; init makes one of 32 hexadecimal digits",
    user_pin_form=r".{4,255}",
    token_label="up to 32 characters, given by init: the signer's name",
    tier=Tier.C,
    network_client=False,
    p256_rate="11,000 to 20,000 a second on this project's machine",
    sources=(
        Source(
            about=(
                "recognised",
                "ed25519_params",
                "leave_out",
                "required",
                "where_readable",
                "public_beside",
                "token_label",
            ),
            where=_TRIED,
            mark=Mark.TRIED,
        ),
        Source(
            about=("initialised_here", "read_write", "user_pin"), where="tests/hsm/test_initialise.py", mark=Mark.TRIED
        ),
        Source(about=("p256_rate",), where="measured on 2026-11-22, C and Python in one process", mark=Mark.TRIED),
        Source(
            about=("tier", "usage_counter", "command_log", "network_client"),
            where="SoftHSM 2.6.1 source: it has none of them",
            mark=Mark.DOCUMENTED,
        ),
    ),
    cannot=(
        "It protects no key from whoever can read its files: for demo and development only.",
        "It hashes nothing for ECDSA (CKM_ECDSA_SHA256 is refused); the signer hashes for itself and needs none.",
        "It never locks a user PIN, so it cannot show what a hardware token does after wrong ones.",
        "It neither counts signatures nor logs commands.",
    ),
)
