"""Any module that nobody has described: asks little when making keys and insists on what PKCS #11 itself promises.

A key whose attributes cannot be read is refused where its secrecy depends on them.
"""

from __future__ import annotations

from typing import Final

from hsm.token.profile import BORN_INSIDE, ED25519_BY_OID, NEVER_LEAVES, SIGNS_ONLY, Mark, Profile, Source, Tier

GENERIC: Final = Profile(
    name="generic",
    title="any other module",
    recognised=(),
    ed25519_params=ED25519_BY_OID,
    required={**NEVER_LEAVES, "SIGN": True},
    where_readable={**SIGNS_ONLY, **BORN_INSIDE},
    public_beside=False,
    initialised_here=True,
    user_pin="as the module's manual says",
    user_pin_form=r".+",
    token_label="up to 32 characters (CK_TOKEN_INFO)",
    tier=Tier.C,
    network_client=False,
    p256_rate="not known",
    sources=(
        Source(
            about=("required", "where_readable", "leave_out", "public_beside", "initialised_here", "token_label"),
            where="PKCS #11 v2.40 base specification, §4.9 (private keys), §5.5 (C_InitToken), §3.2 (CK_TOKEN_INFO)",
            mark=Mark.DOCUMENTED,
        ),
        Source(
            about=("recognised", "ed25519_params", "user_pin", "read_write", "p256_rate"),
            where="no manual: the mechanism list decides about Ed25519, and the first use about the rest",
            mark=Mark.DOCUMENTED,
        ),
        Source(
            about=("tier", "usage_counter", "command_log", "network_client"),
            where="not part of PKCS #11 v2.40",
            mark=Mark.DOCUMENTED,
        ),
    ),
    cannot=(
        "Nothing is known about this module: try init, check and a batch in environment demo before anything else.",
        "Uses of a key are counted by the signer alone.",
    ),
)
