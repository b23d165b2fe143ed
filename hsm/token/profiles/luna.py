"""Thales Luna 7 (Network, PCIe, USB) behind libCryptoki2. From the vendor's documentation; nobody here has had one."""

from __future__ import annotations

from typing import Final

from hsm.token.profile import BORN_INSIDE, ED25519_BY_OID, NEVER_LEAVES, SIGNS_ONLY, Mark, Profile, Seen, Source, Tier

_SDK: Final = "Thales, Luna HSM 7 product documentation, SDK Reference Guide"
_MAKERS: Final = ("SafeNet", "Thales", "Gemalto")

LUNA: Final = Profile(
    name="luna",
    title="Thales Luna 7",
    recognised=(
        *(Seen(token_manufacturer=maker, token_model="Luna") for maker in _MAKERS),
        *(Seen(library_manufacturer=maker, library_description="Chrystoki") for maker in _MAKERS),
    ),
    ed25519_params=ED25519_BY_OID,
    required={**NEVER_LEAVES, **SIGNS_ONLY, **BORN_INSIDE},
    where_readable={},
    public_beside=True,
    initialised_here=False,
    user_pin="the password of the partition's Crypto Officer, changed once since the role was made",
    user_pin_form=r".{7,255}",
    token_label="the partition's label",
    tier=Tier.A,
    usage_counter="CKA_USAGE_COUNT 0x80000101 and CKA_USAGE_LIMIT 0x80000200, vendor attributes of each key",
    network_client=True,
    p256_rate="not known; the models' data sheets name thousands a second",
    sources=(
        Source(
            about=("required", "where_readable", "leave_out", "public_beside"),
            where=f"{_SDK}, Key Attribute Defaults",
            mark=Mark.DOCUMENTED,
        ),
        Source(
            about=("ed25519_params",),
            where=f"{_SDK}, CKM_EDDSA: not FIPS approved; without parameters pure Ed25519",
            mark=Mark.DOCUMENTED,
        ),
        Source(
            about=("tier", "usage_counter", "command_log"),
            where=f"{_SDK}, Object Usage Count; numbers from published copies of cryptoki_v2.h",
            mark=Mark.DOCUMENTED,
        ),
        Source(
            about=("initialised_here", "user_pin", "token_label", "read_write", "network_client"),
            where="Thales, Luna HSM 7: Application Partitions, LunaCM partition init and role init",
            mark=Mark.DOCUMENTED,
        ),
        Source(
            about=("recognised", "p256_rate"),
            where="not confirmed: which names the token reports; set profile in signer.toml if it is not recognised",
            mark=Mark.DOCUMENTED,
        ),
    ),
    cannot=(
        "Its partition is made by its security officer with the vendor's tools; init takes it as it is.",
        "With FIPS mode on it makes no Ed25519 key: the log key is then P-256.",
        "In cloning mode a key can be copied to another Luna of the same domain: no attribute shows that.",
        "Reaching a key's CKA_USAGE_LIMIT stops it (CKR_KEY_NOT_ACTIVE); the signer does not set that limit yet.",
        "The Crypto User, who may only sign, logs in by a vendor's user type: the signer works as Crypto Officer.",
        "A lost network looks like a removed token: the line stops until it is back.",
    ),
)
