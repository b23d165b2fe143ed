"""YubiHSM 2 behind yubihsm_pkcs11. From the vendor's guide and published source; nobody here has had one."""

from __future__ import annotations

from typing import Final

from hsm.token.profile import BORN_INSIDE, ED25519_BY_NAME, NEVER_LEAVES, SIGNS_ONLY, Mark, Profile, Seen, Source, Tier

_GUIDE: Final = "Yubico, YubiHSM 2 User Guide"
_SOURCE: Final = "Yubico/yubihsm-shell at 428bfdd (2.8.0)"

YUBIHSM2: Final = Profile(
    name="yubihsm2",
    title="YubiHSM 2",
    recognised=(
        Seen(token_manufacturer="Yubico", token_model="YubiHSM"),
        Seen(library_manufacturer="Yubico", library_description="YubiHSM PKCS#11 Library"),
    ),
    ed25519_params=ED25519_BY_NAME,
    leave_out=frozenset({"ID"}),
    required={**NEVER_LEAVES, **SIGNS_ONLY, **BORN_INSIDE},
    where_readable={},
    public_beside=True,
    initialised_here=False,
    user_pin="4 hexadecimal digits, the authentication key's id, then its password of 8 to 64 characters: 0005…",
    user_pin_form=r"[0-9a-fA-F]{4}.{8,64}",
    token_label="always YubiHSM: the module gives no other",
    tier=Tier.B,
    command_log="62 entries of 32 bytes, chained; with force-audit the device stops when it is full",
    network_client=False,
    p256_rate="about 8 a second",
    sources=(
        Source(
            about=(
                "recognised",
                "token_label",
                "leave_out",
                "required",
                "where_readable",
                "ed25519_params",
                "public_beside",
            ),
            where=f"{_SOURCE}: pkcs11/yubihsm_pkcs11.c (token info), util_pkcs11.c (templates, attributes)",
            mark=Mark.DOCUMENTED,
        ),
        Source(
            about=("user_pin", "initialised_here", "read_write"),
            where=f"{_GUIDE}, PKCS#11 with YubiHSM 2: Logging In (no security officer, no PIN management)",
            mark=Mark.DOCUMENTED,
        ),
        Source(
            about=("tier", "command_log", "usage_counter"),
            where=f"{_GUIDE}, Logging and Logs; GET LOG ENTRIES; SET LOG INDEX",
            mark=Mark.DOCUMENTED,
        ),
        Source(
            about=("p256_rate", "network_client"),
            where="planning figure of this project, not the vendor's; USB only (User Guide, Device Specifications)",
            mark=Mark.DOCUMENTED,
        ),
    ),
    cannot=(
        "It cannot be initialised through PKCS#11: authentication keys and domains are made with yubihsm-shell.",
        "It has one token label, so two devices behind one connector cannot be told apart: one connector a signer.",
        "It reports CKA_ALWAYS_SENSITIVE true for imported keys too: CKA_LOCAL is what tells them, and is required.",
        "A key that is exportable under wrap is refused, so keys cannot be backed up to a second device.",
        "Its command log is not reachable through PKCS#11: a drain needs a session of its own through the connector.",
    ),
)
