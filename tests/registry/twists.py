"""Assertions, forms, proofs and tokens, each twisted in one place: what a registry must refuse, and by which code.

A twist is given the station and gives what it sends instead; nothing else about the request is wrong. The lists say
what is tried; tests/registry/test_twisted_tokens.py sends it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlencode

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.registry.access import JWT_BEARER, StationClient, b64, jwk_of, jws, part, raw_signature
from tests.registry.make import ec_key, public

N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # the order of P-256
INVALID, TIME, UNKNOWN, MALFORMED = "assertion-invalid", "assertion-time", "client-unknown", "malformed"
DPOP, NONCE = "dpop-invalid", "dpop-nonce"
Twist = Callable[[StationClient], str]
Case = tuple[str, Twist, str]
RAW = Callable[[str], str]


# ---- a JWS, twisted as any JWS can be


class Made:
    """A JWS in its making: header, claims, and the key that signs."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, header: dict[str, Any], claims: dict[str, Any]) -> None:
        self.key, self.header, self.claims = key, header, claims

    def plain(self) -> str:
        return jws(self.key, part(self.header), part(self.claims))

    def of(self, header: str | bytes, claims: str | bytes | None = None, key: Any = None) -> str:
        """With parts as they are written here; bytes are encoded."""
        encoded = [b64(each) if isinstance(each, bytes) else each for each in (header, claims or part(self.claims))]
        return jws(key or self.key, *encoded)


def _header(**changes: Any) -> Callable[[Made], str]:
    return lambda made: made.of(part({**made.header, **changes}))


def _without(name: str) -> Callable[[Made], str]:
    return lambda made: made.of(part({key: each for key, each in made.header.items() if key != name}))


def _claims(**changes: Any) -> Callable[[Made], str]:
    return lambda made: made.of(part(made.header), part({**made.claims, **changes}))


def _without_claim(name: str) -> Callable[[Made], str]:
    kept = lambda made: {key: each for key, each in made.claims.items() if key != name}  # noqa: E731
    return lambda made: made.of(part(made.header), part(kept(made)))


def _signature(change: Callable[[bytes], bytes]) -> Callable[[Made], str]:
    def twist(made: Made) -> str:
        signed = f"{part(made.header)}.{part(made.claims)}"
        return f"{signed}.{b64(change(raw_signature(made.key, signed.encode())))}"

    return twist


def _scalars(r: int | None = None, s: int | None = None) -> Callable[[Made], str]:
    def change(raw: bytes) -> bytes:
        return (raw[:32] if r is None else r.to_bytes(32, "big")) + (raw[32:] if s is None else s.to_bytes(32, "big"))

    return _signature(change)


def _der(made: Made) -> str:
    signed = f"{part(made.header)}.{part(made.claims)}"
    return f"{signed}.{b64(made.key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))}"


def _hmac_with(encode: Callable[[ec.EllipticCurvePublicKey], bytes]) -> Callable[[Made], str]:
    """The public key as an HMAC secret (RFC 8725 §2.1)."""

    def twist(made: Made) -> str:
        signed = f"{part({**made.header, 'alg': 'HS256'})}.{part(made.claims)}"
        return f"{signed}.{b64(hmac.digest(encode(made.key.public_key()), signed.encode(), 'sha256'))}"

    return twist


def _unsigned(alg: str) -> Callable[[Made], str]:
    return lambda made: f"{part({**made.header, 'alg': alg})}.{part(made.claims)}."


def _raw(change: RAW) -> Callable[[Made], str]:
    return lambda made: change(made.plain())


def _part_of(number: int, change: RAW, *, resign: bool) -> Callable[[Made], str]:
    """One part spelt in another way; signed over what is sent, where that is asked."""

    def twist(made: Made) -> str:
        parts = made.plain().split(".")
        parts[number] = change(parts[number])
        return jws(made.key, parts[0], parts[1]) if resign and number < 2 else ".".join(parts)

    return twist


def _loose_bits(text: str) -> str:
    """The same bytes with bits set that no byte uses; a part without such bits gets a character more."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    if len(text) % 4 == 0:
        return text + "A"
    return text[:-1] + alphabet[alphabet.index(text[-1]) | 1]


def _twice(name: str, first: Any) -> RAW:
    def change(encoded: str) -> str:
        said = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        return b64(b'{"%s":%s,%s' % (name.encode(), json.dumps(first).encode(), said[1:]))

    return change


def _twice_escaped(name: str) -> RAW:
    def change(encoded: str) -> str:
        said = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        escaped = "".join(f"\\u{ord(each):04x}" for each in name)
        return b64(said[:-1] + f',"{escaped}":"{"x" * 32}"}}'.encode())

    return change


def _pem(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _spki(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _by_another(made: Made) -> str:
    return made.of(part(made.header), key=ec_key())


ALGS = ["none", "None", "NONE", "nOnE", "HS256", "HS384", "RS256", "PS256", "ES384", "ES512", "ES256K", "EdDSA", "es256",
        "ES256 ", "", "A256KW", "dir"]  # fmt: skip
MORE_MEMBERS: dict[str, Any] = {
    "jku": "https://evil.example/jwks.json", "x5u": "https://evil.example/x5u.pem", "x5c": ["MIIB"], "x5t": "AA",
    "x5t#S256": "AA", "crit": ["exp"], "crit-b64": ["b64"], "crit-empty": [], "b64": False, "zip": "DEF", "cty": "JWT",
    "enc": "A256GCM", "epk": {}, "url": "https://evil.example", "apu": "AA", "p2c": 1, "unknown": 1,
}  # fmt: skip


def any_jws(typ: str) -> Iterator[tuple[str, Callable[[Made], str]]]:
    """What can be done to every JWS alike."""
    for alg in ALGS:
        yield f"alg {alg!r}, signed all the same", _header(alg=alg)
    for alg in ("none", "NONE", "ES256"):
        yield f"alg {alg!r} without a signature", _unsigned(alg)
    for what, encode in (("DER", _spki), ("PEM", _pem), ("point", _point)):
        yield f"HS256 with the public key as secret, {what}", _hmac_with(encode)
    for value in (None, 7, ["ES256"], {"alg": "ES256"}, True):
        yield f"alg is {value!r}", _header(alg=value)
    for value in ("JWT", "jwt", "at+jwt", "JOSE", f"application/{typ}", typ.upper(), "", None, [typ], 1):
        yield f"typ is {value!r}", _header(typ=value)
    for name in ("alg", "typ"):
        yield f"no {name}", _without(name)
    for name, value in MORE_MEMBERS.items():
        yield f"{name} in the header", _header(**{name.partition("-")[0]: value})
    yield "signed by another key", _by_another
    yield "r = s = 0", _scalars(0, 0)
    yield "r = 0", _scalars(r=0)
    yield "s = 0", _scalars(s=0)
    yield "r = n", _scalars(r=N)
    yield "s = n", _scalars(s=N)
    yield "r = s = n", _scalars(N, N)
    yield "r = 1, s = 1", _scalars(1, 1)
    yield "all bits set", _scalars(2**256 - 1, 2**256 - 1)
    yield (
        "r + n",
        _signature(lambda raw: ((int.from_bytes(raw[:32], "big") + N) % 2**256).to_bytes(32, "big") + raw[32:]),
    )
    yield "r and s swapped", _signature(lambda raw: raw[32:] + raw[:32])
    yield "a bit of the signature", _signature(lambda raw: bytes([raw[0] ^ 1]) + raw[1:])
    yield "DER instead of raw", _der
    for size in (0, 1, 32, 63, 65, 96, 128):
        yield f"a signature of {size} bytes", _signature(lambda raw, size=size: (raw + raw)[:size])
    yield (
        "the payload of another",
        lambda made: ".".join(
            (made.plain().split(".")[0], part({**made.claims, "jti": "b" * 32}), made.plain().split(".")[2])
        ),
    )
    for number, what in enumerate(("header", "payload", "signature")):
        yield f"{what}: padding", _part_of(number, lambda each: each + "=", resign=True)
        yield f"{what}: loose bits", _part_of(number, _loose_bits, resign=True)
        yield f"{what}: a character that is not base64url", _part_of(number, lambda each: "+" + each[1:], resign=True)
        yield f"{what}: a slash", _part_of(number, lambda each: "/" + each[1:], resign=True)
        yield f"{what}: a space", _part_of(number, lambda each: each[:4] + " " + each[4:], resign=True)
        yield f"{what}: a line break", _part_of(number, lambda each: each[:4] + "\n" + each[4:], resign=True)
        yield f"{what}: empty", _part_of(number, lambda each: "", resign=True)
        yield f"{what}: one character", _part_of(number, lambda each: "A", resign=True)
    yield "header: alg twice", _part_of(0, _twice("alg", "none"), resign=True)
    yield "header: alg twice, once escaped", _part_of(0, _twice_escaped("alg"), resign=True)
    yield "header: typ twice", _part_of(0, _twice("typ", "JWT"), resign=True)
    yield "payload: jti twice", _part_of(1, _twice("jti", "c" * 32), resign=True)
    yield "payload: iat twice", _part_of(1, _twice("iat", 0), resign=True)
    yield "payload: jti twice, once escaped", _part_of(1, _twice_escaped("jti"), resign=True)
    for what, data in {
        "an array": b"[]", "a string": b'"ES256"', "null": b"null", "nothing": b" ", "no JSON": b"{alg:ES256}",
        "not UTF-8": b'{"alg":"\xff"}', "UTF-16": '{"alg":"ES256"}'.encode("utf-16"), "NaN": b'{"alg":NaN}',
        "nested": b"[" * 2000, "two objects": b"{}{}", "a comment": b'{"alg":"ES256"/**/}',
    }.items():  # fmt: skip
        yield f"header is {what}", lambda made, data=data: made.of(data)
        yield f"payload is {what}", lambda made, data=data: made.of(part(made.header), data)
    yield "header with a byte order mark", lambda made: made.of(b"\xef\xbb\xbf" + json.dumps(made.header).encode())
    yield "two parts", _raw(lambda each: each.rpartition(".")[0])
    yield "four parts", _raw(lambda each: each + ".AAAA")
    yield "five parts, as a JWE", _raw(lambda each: each + ".AAAA.AAAA")
    yield (
        "JSON serialisation",
        lambda made: json.dumps(dict(zip(("protected", "payload", "signature"), made.plain().split("."), strict=True))),
    )
    yield "a dot more", _raw(lambda each: each + ".")
    yield "a dot in front", _raw(lambda each: "." + each)
    yield "no JWS", lambda made: "nonsense"
    yield "too long", _claims(jti="j" * 128, more="m" * 4096)
    for value in ("short", "", "j" * 129, "with spaces in it", "umlaut-ä-umlaut-ä", None, 1234567890123456, ["j" * 32], "j" * 32 + "\n",
                  "\ud800" + "j" * 32):  # fmt: skip
        yield f"jti is {value!r:.24}, {len(str(value))}", _claims(jti=value)
    yield "no jti", _without_claim("jti")
    for value in (None, "1764480000", 1.5, True, -1, 10**30, [0], 1e308):
        yield f"iat is {value!r}", _claims(iat=value)
    yield "no iat", _without_claim("iat")
    for name, value in {"admin": True, "nbf": 0, "scope": "pins:write", "cnf": {"jkt": "A"}, "": 1}.items():
        yield f"{name!r} among the claims", _claims(**{name: value})


# ---- client assertions


def _assertion(twist: Callable[[Made], str]) -> Twist:
    return lambda station: twist(Made(station.key, station.assertion_header(), station.assertion_claims()))


def _at(iat: int, exp: int) -> Twist:
    """Seconds from now."""
    return lambda station: station.assertion(iat=int(station.now()) + iat, exp=int(station.now()) + exp)


def _own_key(made: Made) -> str:
    """Signed by a key that it brings itself."""
    key = ec_key()
    return made.of(part({**made.header, "jwk": jwk_of(key)}), key=key)


def assertions(other: StationClient, own: Any) -> Iterator[Case]:
    """`other` is another station of the root; `own` this station's keys for other purposes."""
    for what, twist in any_jws("client-authentication+jwt"):
        yield what, _assertion(twist), INVALID
    yield "jwk in the header, and signed by it", _assertion(_own_key), INVALID
    yield "no kid", _assertion(_without("kid")), INVALID
    for kid in ("", "../../dev/null", "' OR '1'='1", "https://evil.example/key", 0, None, ["a"], {"kid": 1}, "0" * 64):
        yield f"kid is {kid!r:.40}", _assertion(_header(kid=kid)), INVALID
    yield "kid of another station's key", _assertion(_header(kid=public(other.key).fingerprint)), INVALID
    yield "kid in capitals", lambda s: s.assertion(s.assertion_header(kid=public(s.key).fingerprint.upper())), INVALID
    yield "kid twice", _assertion(_part_of(0, _twice("kid", "0" * 64), resign=True)), INVALID
    for purpose in ("pin", "completion", "account", "log"):
        yield (
            f"signed by the station's {purpose} key",
            _assertion(lambda made, purpose=purpose: made.of(part(made.header), key=getattr(own, purpose))),
            INVALID,
        )
    yield "signed by another station", _assertion(lambda made: made.of(part(made.header), key=other.key)), INVALID
    for what, aud in {
        "an array": lambda s: [s.issuer], "two": lambda s: [s.issuer, "https://evil.example"],
        "the token endpoint": lambda s: s.issuer + "/oauth/token", "with a slash": lambda s: s.issuer + "/",
        "in capitals": lambda s: s.issuer.upper(), "another registry": lambda _: "https://evil.example",
        "another port": lambda s: s.issuer + "0", "empty": lambda _: "", "null": lambda _: None, "a number": lambda _: 1,
        "an object": lambda s: {"aud": s.issuer}, "with a space": lambda s: s.issuer + " ", "an empty array": lambda _: [],
        "the registry's name": lambda _: "registry-01", "http": lambda s: s.issuer.replace("https", "http"),
    }.items():  # fmt: skip
        twist = lambda s, aud=aud: Made(s.key, s.assertion_header(), {**s.assertion_claims(), "aud": aud(s)}).plain()  # noqa: E731
        yield f"aud is {what}", twist, INVALID
    for name in ("aud", "iss", "sub", "exp"):
        yield f"no {name}", _assertion(_without_claim(name)), INVALID
        yield f"{name} twice", _assertion(_part_of(1, _twice(name, "x"), resign=True)), INVALID
    yield "issuer of another station", _assertion(_claims(iss=other.name)), INVALID
    yield "subject of another station", _assertion(_claims(sub=other.name)), INVALID
    yield "another station altogether", _assertion(_claims(iss=other.name, sub=other.name)), INVALID
    for name in ("station-99", "", "registry-01", "station-01\u0000", "STATION-01", "station-01 ", "*", "x" * 300):
        yield f"station {name!r:.20}", _assertion(_claims(iss=name, sub=name)), UNKNOWN
    for value in (None, 1, ["station-01"], {}):
        yield f"issuer is {value!r}", _assertion(_claims(iss=value, sub=value)), INVALID
    for value in (None, "9999999999", 1.5, True, -1, 10**30):
        yield f"exp is {value!r}", _assertion(_claims(exp=value)), INVALID
    yield "for 61 s", _at(0, 61), INVALID
    yield "for no time", _at(0, 0), INVALID
    yield "over before it began", _at(0, -1), INVALID
    yield "for ever", _at(0, 10**9), INVALID
    yield "begun in 31 s", _at(31, 60), TIME
    yield "over for 31 s", _at(-91, -31), TIME
    yield "of tomorrow", _at(86_400, 86_460), TIME
    yield "of 1970", lambda s: s.assertion(iat=0, exp=60), TIME


ASSERTIONS_TAKEN: list[tuple[str, Twist]] = [
    ("untwisted", lambda s: s.assertion()),
    ("begun in 30 s", _at(30, 60)),
    ("over for 30 s", _at(-90, -30)),
    ("for one second", _at(0, 1)),
    ("for 60 s", _at(0, 60)),
    ("jti of 16", lambda s: s.assertion(jti=b64(hashlib.sha256(s.assertion().encode()).digest()[:12]))),
    ("space in its JSON", lambda s: jws(s.key, b64(json.dumps(s.assertion_header(), indent=1).encode()), part(s.assertion_claims()))),
]  # fmt: skip


# ---- forms


def _form(**changes: str | None) -> Callable[[StationClient], bytes]:
    return lambda station: station.form(**changes)


def _more(text: str) -> Callable[[StationClient], bytes]:
    return lambda station: station.form() + text.encode()


FORMS: list[tuple[str, Callable[[StationClient], bytes], str]] = [
    ("no grant_type", _form(grant_type=None), MALFORMED),
    ("grant_type empty", _form(grant_type=""), MALFORMED),
    ("another grant_type", _form(grant_type="authorization_code"), MALFORMED),
    ("grant_type in capitals", _form(grant_type="CLIENT_CREDENTIALS"), MALFORMED),
    ("grant_type twice", _more("&grant_type=client_credentials"), MALFORMED),
    ("no assertion", _form(client_assertion=None), MALFORMED),
    ("assertion empty", _form(client_assertion=""), MALFORMED),
    ("assertion twice", _more("&client_assertion=x"), MALFORMED),
    ("no assertion type", _form(client_assertion_type=None), MALFORMED),
    ("a SAML assertion", _form(client_assertion_type=JWT_BEARER.replace("jwt", "saml2")), INVALID),
    ("the grant's type", _form(client_assertion_type="urn:ietf:params:oauth:grant-type:jwt-bearer"), INVALID),
    ("a secret instead", _form(client_assertion=None, client_assertion_type=None, client_secret="s"), MALFORMED),
    ("client_id of another", _form(client_id="station-02"), INVALID),
    ("client_id empty", _form(client_id=""), INVALID),
    ("an unknown scope", _form(scope="pins:write admin"), "scope-missing"),
    ("scope empty", _form(scope=""), "scope-missing"),
    ("scope with two spaces", _form(scope="pins:read  pins:write"), "scope-missing"),
    ("scope in capitals", _form(scope="PINS:READ"), "scope-missing"),
    ("JSON", lambda s: json.dumps({"grant_type": "client_credentials", "client_assertion": s.assertion()}).encode(), MALFORMED),
    ("not ASCII", _more("&x=ä"), MALFORMED),
    ("percent signs of no UTF-8", _more("&x=%ff"), MALFORMED),
    ("a field without a value", _more("&x"), MALFORMED),
    ("a hundred fields", _more("&x=1" * 100), MALFORMED),
    ("nothing", lambda _: b"", MALFORMED),
]  # fmt: skip


# ---- DPoP proofs


def dpops(method: str, path: str, token: str | None, other: StationClient) -> Iterator[Case]:
    """Proofs for one request, twisted. `token` goes with it."""

    def made(station: StationClient, **changes: Any) -> Made:
        return Made(station.dpop, station.proof_header(), station.proof_claims(method, path, token, **changes))

    def proof(twist: Callable[[Made], str]) -> Twist:
        return lambda station: twist(made(station))

    def key(**changes: Any) -> Twist:
        """Of the proof's own key; None takes a member away."""

        def twist(station: StationClient) -> str:
            jwk = {name: each for name, each in {**jwk_of(station.dpop), **changes}.items() if each is not None}
            return made(station).of(part({**station.proof_header(), "jwk": jwk}))

        return twist

    for what, twist in any_jws("dpop+jwt"):
        yield what, proof(twist), DPOP
    yield "kid in the header", proof(_header(kid="1")), DPOP
    yield "no jwk", proof(_without("jwk")), DPOP
    for value in (None, "", [], {}, 1, "https://evil.example/jwk"):
        yield f"jwk is {value!r}", proof(_header(jwk=value)), DPOP
    for name, value in {
        "d": b64(b"\1" * 32), "kid": "1", "use": "sig", "alg": "ES256", "key_ops": ["verify"], "x5c": ["MIIB"], "k": "AA",
    }.items():  # fmt: skip
        yield f"{name} in jwk", key(**{name: value}), DPOP
    for name in ("kty", "crv", "x", "y"):
        yield f"no {name} in jwk", key(**{name: None}), DPOP
    for name, value in {"kty": "RSA", "crv": "P-384", "x": b64(b"\1" * 32), "y": b64(b"\0" * 32)}.items():
        yield f"{name} of jwk is {value:.8}", key(**{name: value}), DPOP
    yield "kty oct", key(kty="oct"), DPOP
    yield "an Ed25519 key", key(kty="OKP", crv="Ed25519"), DPOP
    yield "secp256k1", key(crv="secp256k1"), DPOP
    yield "x of 31 bytes", key(x=b64(b"\1" * 31)), DPOP
    yield "x of 33 bytes", key(x=b64(b"\0" * 33)), DPOP
    yield "x and y zero", key(x=b64(bytes(32)), y=b64(bytes(32))), DPOP
    yield "x is p", key(x=b64((2**256 - 2**224 + 2**192 + 2**96 - 1).to_bytes(32, "big"))), DPOP
    yield "x with padding", lambda s: key(x=jwk_of(s.dpop)["x"] + "=")(s), DPOP
    yield "x with loose bits", lambda s: key(x=_loose_bits(jwk_of(s.dpop)["x"]))(s), DPOP
    yield "x is a number", key(x=1), DPOP
    yield "signed by the client key", proof(lambda m: m.of(part(m.header), key=other.key)), DPOP
    for value in ("HEAD", method.lower(), "", f" {method}", "*", None, [method]):
        yield f"htm is {value!r}", proof(_claims(htm=value)), DPOP
    yield "no htm", proof(_without_claim("htm")), DPOP
    for what, url in {
        "http": lambda s: (s.issuer + path).replace("https", "http"), "another host": lambda _: "https://evil.example" + path,
        "another path": lambda s: s.issuer + path + "x", "the issuer alone": lambda s: s.issuer, "the path alone": lambda _: path,
        "with a query": lambda s: s.issuer + path + "?a=b", "with a fragment": lambda s: s.issuer + path + "#a",
        "with a slash": lambda s: s.issuer + path + "/", "in capitals": lambda s: (s.issuer + path).upper(),
        "with a user": lambda s: (s.issuer + path).replace("https://", "https://u@"), "empty": lambda _: "",
        "another port": lambda s: s.issuer.rpartition(":")[0] + ":443" + path, "escaped": lambda s: s.issuer + quote(path, safe=""),
        "dots": lambda s: s.issuer + "/x/.." + path, "null": lambda _: None, "a list": lambda s: [s.issuer + path],
        "long": lambda s: s.issuer + path + "a" * 600,
    }.items():  # fmt: skip
        yield f"htu is {what}", lambda s, url=url: _claims(htu=url(s))(made(s)), DPOP
    yield "no htu", proof(_without_claim("htu")), DPOP
    yield "made 31 s ago", lambda s: made(s, iat=int(s.now()) - 31).plain(), DPOP
    yield "made in 31 s", lambda s: made(s, iat=int(s.now()) + 31).plain(), DPOP
    yield "made in 1970", lambda s: made(s, iat=0).plain(), DPOP
    yield "no nonce", proof(_without_claim("nonce")), NONCE
    for value in ("", "A" * 22, "A" * 500, "\u00e4", "' OR 1=1"):
        yield f"nonce is {value!r:.30}", proof(_claims(nonce=value)), NONCE
    for value in (None, 1, ["a"], "A" * 600):
        yield f"nonce is no nonce: {value!r:.30}", proof(_claims(nonce=value)), DPOP
    yield "no proof at all", lambda _: "", DPOP
    if token is None:
        yield "ath where no token is", proof(_claims(ath=b64(bytes(32)))), DPOP
        return
    yield "no ath", proof(_without_claim("ath")), DPOP
    digest = hashlib.sha256(token.encode())
    for what, ath in {
        "of another token": b64(hashlib.sha256(b"another").digest()), "empty": "", "in hex": digest.hexdigest(),
        "with padding": b64(digest.digest()) + "=", "cut short": b64(digest.digest())[:-1], "null": None, "the token": token,
        "of the token's bytes": b64(hashlib.sha256(base64.urlsafe_b64decode(token + "=")).digest()), "a list": [b64(digest.digest())],
        "an umlaut": "\u00e4" * 43,
    }.items():  # fmt: skip
        yield f"ath is {what}", proof(_claims(ath=ath)), DPOP
    yield "another key than the token's", lambda s: Made(other.dpop, other.proof_header(), made(s).claims).plain(), DPOP
    yield "for the token endpoint", lambda s: s.proof("POST", "/oauth/token"), DPOP


def encoded(assertion: str) -> bytes:
    """The form around an assertion, whatever characters that has."""
    fields = {"grant_type": "client_credentials", "client_assertion_type": JWT_BEARER, "client_assertion": assertion}
    return urlencode(fields, errors="surrogatepass").encode()
