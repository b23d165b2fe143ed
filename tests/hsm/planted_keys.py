"""Keys that must not be on a signer's token, put there past the product, each with one thing wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pkcs11
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pkcs11 import Attribute, KeyType, MechanismFlag
from pkcs11.util.ec import decode_ec_private_key, encode_named_curve_parameters

NOT = ("EXTRACTABLE", "DECRYPT", "UNWRAP", "DERIVE")


def pair(session: pkcs11.Session, label: str, private: dict[Any, bool], capabilities: Any = MechanismFlag.SIGN) -> None:
    curve = {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
    parameters = session.create_domain_parameters(KeyType.EC, curve, local=True)
    parameters.generate_keypair(label=label, store=True, capabilities=capabilities, private_template=private)


def imported(session: pkcs11.Session) -> None:
    """A key whose secret was in this process, put in with every good attribute that can be asked for."""
    key = ec.generate_private_key(ec.SECP256R1())
    der = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    template = decode_ec_private_key(der)
    good = dict.fromkeys(("TOKEN", "PRIVATE", "SENSITIVE", "SIGN"), True) | dict.fromkeys(NOT, False)
    template |= {Attribute[name]: value for name, value in good.items()}
    session.create_object({**template, Attribute.LABEL: "extra"})


PLANTED: dict[str, Callable[[pkcs11.Session], None]] = {
    "extractable": lambda session: pair(session, "extra", {Attribute.EXTRACTABLE: True}),
    "imported": imported,
    "derives": lambda session: pair(session, "extra", {}, MechanismFlag.SIGN | MechanismFlag.DERIVE),
    "unwraps": lambda session: pair(session, "extra", {Attribute.UNWRAP: True}),
    "does not sign": lambda session: pair(session, "extra", {Attribute.SIGN: False}),
    "twice": lambda session: pair(session, "pin", {}),
    "nothing": lambda session: pair(session, "extra", {}),
}
