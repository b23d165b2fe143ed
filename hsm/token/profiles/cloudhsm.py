"""AWS CloudHSM behind the PKCS#11 library of Client SDK 5. From the vendor's user guide; nobody here has had one."""

from __future__ import annotations

from typing import Final

from hsm.token.profile import NEVER_LEAVES, SIGNS_ONLY, Mark, Profile, Seen, Source, Tier

_GUIDE: Final = "AWS CloudHSM User Guide, PKCS #11 library for Client SDK 5"

CLOUDHSM: Final = Profile(
    name="cloudhsm",
    title="AWS CloudHSM (Client SDK 5)",
    recognised=(
        Seen(library_manufacturer="Amazon", library_description="CloudHSM"),
        Seen(library_manufacturer="AWS"),
        Seen(token_manufacturer="Amazon"),
        Seen(token_manufacturer="AWS"),
    ),
    ed25519_params=b"",
    leave_out=frozenset({"ID"}),
    required={**NEVER_LEAVES, **SIGNS_ONLY, "LOCAL": True},
    where_readable={"ALWAYS_SENSITIVE": True, "NEVER_EXTRACTABLE": True},
    public_beside=True,
    read_write=True,
    initialised_here=False,
    user_pin="a crypto user's name, a colon, its password: signer:…",
    user_pin_form=r"[^:]{1,31}:.{7,32}",
    token_label="given by the client library: cavium with SDK 3, hsm1 with SDK 5 (see pkcs11-tool -L)",
    tier=Tier.C,
    network_client=True,
    p256_rate="about 500 (hsm1.medium) or 3,000 (hsm2m.medium) a second for a cluster of two, with many threads",
    sources=(
        Source(
            about=("ed25519_params", "public_beside"),
            where=f"{_GUIDE}, Supported mechanisms: CKM_ECDSA, no EdDSA",
            mark=Mark.DOCUMENTED,
        ),
        Source(
            about=("required", "where_readable", "leave_out"),
            where=f"{_GUIDE}, Supported key attributes",
            mark=Mark.DOCUMENTED,
        ),
        Source(
            about=("read_write",),
            where="AWS CloudHSM User Guide, Known issues for the PKCS #11 library: no read-only session in SDK 5",
            mark=Mark.DOCUMENTED,
        ),
        Source(about=("user_pin",), where=f"{_GUIDE}, Authenticate to the PKCS #11 library", mark=Mark.DOCUMENTED),
        Source(
            about=("initialised_here", "network_client", "tier", "usage_counter", "command_log"),
            where="AWS CloudHSM User Guide: Getting started, Managing users, Audit logs (in CloudWatch)",
            mark=Mark.DOCUMENTED,
        ),
        Source(about=("p256_rate",), where="AWS CloudHSM User Guide, Performance information", mark=Mark.DOCUMENTED),
        Source(
            about=("recognised", "token_label"),
            where="awsdocs/aws-cloudhsm-user-guide issue 7; names not confirmed: set profile if it is not recognised",
            mark=Mark.DOCUMENTED,
        ),
    ),
    cannot=(
        "It has no Ed25519: the log key is P-256 (signature type 0x02 of the signed note).",
        "It cannot be initialised through PKCS#11: cluster and crypto user are made with the vendor's tools.",
        "Signatures need the network and the cluster: latency is that of the way there.",
        "It counts no uses of a key. What its audit log in CloudWatch says of signatures was not confirmed.",
        "Keys shared with other crypto users show up beside the signer's own: give it a crypto user of its own.",
    ),
)
