"""Trials of what the product asks of any module: `python -m tests.hsm.module_trials NAME VIA DIRECTORY`, one JSON value each.

VIA is `softhsm` (the module itself) or `p11-kit-proxy` (SoftHSM behind p11-kit, and nothing else: its configuration is the
directory's own). A process of its own each, as a module is loaded once and stays. p11-kit takes no configuration of
root's from the environment, so a trial that root starts goes on as nobody.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pkcs11
import pkcs11._pkcs11  # else loaded at first use: see `load_all`
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass

from hsm.purposes import KEYS
from hsm.token import TokenError, blank
from hsm.token.functions import Functions
from hsm.token.pkcs11 import making
from hsm.token.pkcs11.making import make_keys, set_user_pin
from hsm.token.pkcs11.place import TokenPlace
from hsm.token.softhsm import find_module
from hsm.token.user_pin import UserPin
from tests.hsm.planted_keys import PLANTED, pair
from tests.hsm.trials import CountingToken, outcome
from trust.keys import PublicKey
from trust.signed_note import NoteKey

PROXY = Path("/usr/lib/x86_64-linux-gnu/p11-kit-proxy.so")
NOBODY = 65534
DIGEST = hashlib.sha256(b"message").digest()
USER_PIN = UserPin("user-pin-1")
MODULES = {"softhsm": lambda: find_module(None), "p11-kit-proxy": lambda: PROXY}


def prepare(directory: Path) -> None:
    """Configurations of SoftHSM and p11-kit in the directory, and this process pointed at them."""
    modules = directory / "config" / "pkcs11" / "modules"
    modules.mkdir(parents=True)
    (directory / "tokens").mkdir()
    conf = directory / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {directory / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n")
    (modules.parent / "pkcs11.conf").write_text("user-config: only\n")
    (modules / "softhsm.module").write_text(f"module: {find_module(None)}\n")
    os.environ |= {"SOFTHSM2_CONF": str(conf), "XDG_CONFIG_HOME": str(directory / "config")}
    if os.getuid() == 0:
        load_all()
        for path in (directory, *directory.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def load_all() -> None:
    """Have everything imported that is imported at first use: nobody may have no way into the virtual environment."""
    key = ec.generate_private_key(ec.SECP256R1())
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert PublicKey.from_der(spki).verifies(key.sign(DIGEST, ec.ECDSA(hashes.SHA256())), DIGEST)


def new_token(
    module: Path, directory: Path, label: str, *, keys: bool = True, user_pin: UserPin = USER_PIN
) -> TokenPlace:
    """A token of this label, as the ceremony makes it, with the factory's keys or with none."""
    place = TokenPlace(module=module, label=label, lock=directory / "lock")
    so_pin = UserPin("so-pin-1")
    blank.initialise(module, label, so_pin)
    set_user_pin(place, so_pin, user_pin)
    if keys:
        make_keys(place, USER_PIN, KEYS["factory"])
    return place


def opened(place: TokenPlace, pin: UserPin = USER_PIN) -> CountingToken:
    return CountingToken(place, pin)


def bare(place: TokenPlace) -> pkcs11.Session:
    """A session past the product, to plant what it must refuse."""
    return pkcs11.lib(str(place.module)).get_token(token_label=place.label).open(rw=True, user_pin=USER_PIN.reveal())


def said(work: Callable[[], object]) -> str:
    try:
        work()
    except TokenError as error:
        return str(error)
    return ""


def module_is_what_it_says(module: Path, directory: Path) -> Any:
    new_token(module, directory, "one", keys=False)
    library = pkcs11.lib(str(module))
    makers = {each.get_token().manufacturer_id.strip() for each in library.get_slots(token_present=True)}
    return {"library": library.library_description.strip(), "tokens": sorted(makers)}


def keys_sign(module: Path, directory: Path) -> Any:
    place = new_token(module, directory, "one")
    token = opened(place)
    found = {
        "labels": sorted(token.labels()),
        "distinct": len({token.public_key(label) for label in token.labels()}),
        "profile": token.profile,
        "p256": all(
            PublicKey.from_der(token.public_key(label)).verifies(token.sign_ecdsa(label, DIGEST), b"message")
            for label in ("pin", "completion", "client")
        ),
        "ed25519": NoteKey("log", token.public_key("log")).verifies(token.sign_ed25519("log", b"note\n"), "note\n"),
        "another's": PublicKey.from_der(token.public_key("pin")).verifies(
            token.sign_ecdsa("client", DIGEST), b"message"
        ),
        "short digest": outcome(lambda: token.sign_ecdsa("pin", DIGEST[:31])),
        "no such key": outcome(lambda: token.sign_ecdsa("receipt", DIGEST)),
    }
    token.close()
    return found


def attributes(module: Path, directory: Path) -> Any:
    place = new_token(module, directory, "one")
    names = (
        "SENSITIVE",
        "EXTRACTABLE",
        "ALWAYS_SENSITIVE",
        "NEVER_EXTRACTABLE",
        "LOCAL",
        "SIGN",
        "DECRYPT",
        "UNWRAP",
        "DERIVE",
    )
    with bare(place) as session:
        keys = list(session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY}))
        return [{name: bool(key[Attribute[name]]) for name in names} for key in keys]


def close_all_sessions() -> None:
    """In SoftHSM itself: p11-kit-proxy gives each caller of C_GetFunctionList an instance, with sessions, of its own."""
    functions = Functions(find_module(None))
    count, slots = ctypes.c_ulong(16), (ctypes.c_ulong * 16)()
    assert functions.call("C_GetSlotList", ctypes.c_ubyte(1), slots, ctypes.byref(count)) == 0
    for slot in slots[: count.value]:
        assert functions.call("C_CloseAllSessions", ctypes.c_ulong(slot)) == 0


def cloud_keys(module: Path, directory: Path) -> Any:
    """The cloud role: which keys may decrypt, and that the one that may does (RSAES-PKCS1-v1_5, as its handshake will)."""
    place = new_token(module, directory, "one", keys=False)
    made, _ = make_keys(place, USER_PIN, KEYS["cloud"])
    token = opened(place)
    labels = sorted(token.labels())
    token.close()
    public = load_der_public_key(made["cloud-tcp"])
    assert isinstance(public, rsa.RSAPublicKey)
    hidden = public.encrypt(b"nonce", padding.PKCS1v15())
    with bare(place) as session:
        keys = {
            str(key[Attribute.LABEL]): key for key in session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY})
        }
        decrypt = [label for label, key in sorted(keys.items()) if key[Attribute.DECRYPT]]
        shown = keys["cloud-tcp"].decrypt(hidden, mechanism=Mechanism.RSA_PKCS)
    return {"labels": labels, "decrypt": decrypt, "shown": shown.decode()}


def handshake_keys(module: Path, directory: Path) -> Any:
    """Opening, wrongly and rightly, and signing without DigestInfo: a padding that is wrong is no trouble of the token's."""
    place = new_token(module, directory, "one", keys=False)
    made, _ = make_keys(place, USER_PIN, KEYS["cloud"])
    token = opened(place)
    public = load_der_public_key(made["cloud-tcp"])
    assert isinstance(public, rsa.RSAPublicKey)
    began = time.monotonic()
    wrong = [token.open_rsa("cloud-tcp", os.urandom(256)) for _ in range(50)]
    seconds = time.monotonic() - began
    right = token.open_rsa("cloud-tcp", public.encrypt(b"nonce", padding.PKCS1v15()))
    key = PublicKey.from_der(made["cloud-tcp"])
    found = {
        "wrong": sorted({"none" if each is None else "some" for each in wrong}),
        "quick": seconds < 2.0,
        "right": None if right is None else right.decode(),
        "mac": key.recovers(token.sign_rsa("cloud-tcp", bytes(20))) == bytes(20),
        "trouble": token.trouble,
        "too_long": outcome(lambda: token.sign_rsa("cloud-tcp", bytes(65))),
        "other_key": outcome(lambda: token.sign_rsa("cloud-udp", bytes(20))),
    }
    token.close()
    return found


def logs_in_again(module: Path, directory: Path) -> Any:
    """A new object after a close; and a session that was lost behind the product's back, several times."""
    place = new_token(module, directory, "one")
    first = opened(place)
    first.sign_ecdsa("pin", DIGEST)
    first.close()
    token = opened(place)
    key = PublicKey.from_der(token.public_key("pin"))
    good = 0
    for _ in range(5):
        close_all_sessions()
        good += key.verifies(token.sign_ecdsa("pin", DIGEST), b"message")
    token.close()
    return {"good": good}


def wrong_pin(module: Path, directory: Path) -> Any:
    token = opened(new_token(module, directory, "one"), UserPin("0000-wrong"))
    CountingToken.attempts = 0
    outcomes = {outcome(lambda: token.sign_ecdsa("pin", DIGEST)) for _ in range(5)}
    return {"outcomes": sorted(outcomes), "attempts": CountingToken.attempts}


def two_tokens(module: Path, directory: Path) -> Any:
    places = [new_token(module, directory, label) for label in ("one", "two")]
    tokens = [opened(each) for each in places]
    halves = [PublicKey.from_der(each.public_key("pin")) for each in tokens]
    return [[half.verifies(token.sign_ecdsa("pin", DIGEST), b"message") for half in halves] for token in tokens]


def same_label_twice(module: Path, directory: Path) -> Any:
    """What our ceremony refuses to make, but vendors' tools do not: told from "no such token"."""
    place = new_token(module, directory, "one")
    functions = Functions(module)
    started = functions.call("C_Initialize", None)
    slot = blank._blank_slot(functions, "another", "")
    assert functions.call("C_InitToken", ctypes.c_ulong(slot), b"so-pin-1", ctypes.c_ulong(8), b"one".ljust(32)) == 0
    if started == 0:
        functions.call("C_Finalize", None)
    return said(lambda: opened(place).labels())


def refused(module: Path, directory: Path) -> Any:
    """Each fault planted in a token of its own: what the first call says, and what making keys there says."""
    found = {}
    for label, plant in PLANTED.items():
        place = new_token(module, directory, label)
        with bare(place) as session:
            plant(session)
        found[label] = said(lambda place=place: opened(place).labels())
    return found


def keys_in_the_way(module: Path, directory: Path) -> Any:
    """A token with one of our labels: refused, and left as it is."""
    place = new_token(module, directory, "one", keys=False)
    with bare(place) as session:
        pair(session, "receipt", {})
    text = said(lambda: make_keys(place, USER_PIN, KEYS["factory"]))
    with bare(place) as session:
        left = sorted(
            str(key[Attribute.LABEL]) for key in session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY})
        )
    return {"text": text, "left": left}


def takes_back(module: Path, directory: Path) -> Any:
    """A ceremony whose third key fails leaves none behind."""
    place = new_token(module, directory, "one", keys=False)
    real, made = making._make_key, []

    def failing(session: Any, label: Any, kind: Any, **more: Any) -> Any:
        if len(made) == 2:
            raise pkcs11.DeviceMemory
        made.append(label)
        return real(session, label, kind, **more)

    making._make_key = failing
    text = said(lambda: make_keys(place, USER_PIN, KEYS["factory"]))
    making._make_key = real
    with bare(place) as session:
        left = len(list(session.get_objects()))
    return {"text": text, "left": left, "again": outcome(lambda: make_keys(place, USER_PIN, KEYS["factory"]))}


def public_half_lost(module: Path, directory: Path) -> Any:
    """Without its public key object an EC key has no public half here; an RSA key shows its own, where that is allowed."""
    place = new_token(module, directory, "one")
    with bare(place) as session:
        for key in list(session.get_objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.LABEL: "pin"})):
            key.destroy()
    generic = TokenPlace(module=place.module, label=place.label, lock=place.lock, profile="generic")
    texts = [said(lambda: opened(place).labels()), said(lambda: opened(generic).labels())]
    rsa = new_token(module, directory, "two", keys=False)
    with bare(rsa) as session:
        signing = MechanismFlag.SIGN | MechanismFlag.VERIFY
        public, _ = session.generate_keypair(KeyType.RSA, 2048, label="cloud-tcp", store=True, capabilities=signing)
        modulus = bytes(public[Attribute.MODULUS])
        public.destroy()
    shown = opened(TokenPlace(module=module, label="two", lock=place.lock, profile="generic")).public_key("cloud-tcp")
    return {"texts": texts, "rsa": modulus in shown}


def other_profiles(module: Path, directory: Path) -> Any:
    """The same token under another profile's name: said so, and a PIN of the wrong form is not even tried."""
    place = new_token(module, directory, "one")
    found = {}
    for name in ("generic", "yubihsm2", "cloudhsm", "nonsense"):
        token = opened(TokenPlace(module=module, label="one", lock=place.lock, profile=name))
        CountingToken.attempts = 0
        found[name] = said(lambda token=token: token.labels()) or token.profile
    return found


if __name__ == "__main__":
    name, via, where = sys.argv[1:]
    prepare(Path(where))
    print(json.dumps(globals()[name](MODULES[via](), Path(where))))
