"""Writes tests/vectors/smp_provisioning.json from docs/wire.md: python tests/firmware/make_vectors.py

Shares no code with the driver, the firmware or the in-process device, for all three are judged by its output. The public
keys in it protect nothing: the curve's generator and its double (private keys 1 and 2), and a modulus made of hashes.
"""

import base64
import binascii
import hashlib
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

OUT = Path(__file__).parents[1] / "vectors" / "smp_provisioning.json"

DEVICE_ID = bytes.fromhex("a1a2a3a4a5a6a7a8a9aaabac")
PRODUCT = 0x1234
JOB = bytes(range(0x10, 0x20))
OTHER_JOB = bytes(range(0x20, 0x30))
CHALLENGE = bytes(range(0x40, 0x60))

INVALID, LOCKED, NO_KEY, OTHER_JOB_RC, NO_ANCHOR = 2, 4, 5, 6, 8
BAD_KEY, WRONG_JOB, OTHER_ALG = 9, 11, 12
NOT_LOCKED, NO_NONCE, NO_OTHER_KEY = 13, 14, 17
NEW_KEY, COMMIT, NEW_ANCHOR, UNLOCK = 1, 2, 5, 6
READ, WRITE = 0, 2
CLOSED = {"st": 0, "out": b"", "more": False, "why": 0}

# P-256: the generator and twice the generator (SEC 2, 2.4.2)
GX = bytes.fromhex("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296")
GY = bytes.fromhex("4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5")
G2X = bytes.fromhex("7cf27b188d034f7e8a52380304b51ac3c08969e277f21b35a60b48fc47669978")
G2Y = bytes.fromhex("07775510db8ed040293d9ac69f7430dbba7dade63ce982299e04b79d227873d1")
EC_HEAD = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
EC_384_HEAD = bytes.fromhex("3076301006072a8648ce3d020106052b8104002203620004")
EC_COMPRESSED_HEAD = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
RSA_ALGORITHM = bytes.fromhex("300d06092a864886f70d0101010500")


def ec_spki(x: bytes, y: bytes) -> bytes:
    return EC_HEAD + b"\x04" + x + y


def tlv(tag: int, value: bytes) -> bytes:
    size = len(value)
    if size < 128:
        return bytes([tag, size]) + value
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + value


def modulus(bits: int) -> bytes:
    """Odd, top bit set, otherwise hashes: nobody knows its factors, and it protects nothing."""
    stream = b"".join(hashlib.sha256(b"keystation vector modulus %d" % i).digest() for i in range(bits // 256))
    return bytes([stream[0] | 0x80]) + stream[1:-1] + bytes([stream[-1] | 1])


def rsa_pkcs1(bits: int) -> bytes:
    return tlv(0x30, tlv(0x02, b"\0" + modulus(bits)) + tlv(0x02, b"\x01\x00\x01"))


def rsa_spki(bits: int) -> bytes:
    return tlv(0x30, RSA_ALGORITHM + tlv(0x03, b"\0" + rsa_pkcs1(bits)))


CLOUD_EC, AUTH_EC, CLOUD_RSA = ec_spki(GX, GY), ec_spki(G2X, G2Y), rsa_spki(2048)
ANCHOR = {"cloud": CLOUD_EC, "auth": AUTH_EC, "svc": 1, "host": "cloud.example", "port": 5684}
AUTHORITY_PRIVATE = 2  # of AUTH_EC; it protects nothing, as its point is printed in every book
NONCE, ACT, ROOT = bytes(range(0x60, 0x80)), bytes(range(0x80, 0xA0)), bytes(range(0xA0, 0xC0))
AUTHORISATION_TYPE = b"application/vnd.keystation.rekey-authorisation.v1"
NOT_AFTER = 1_798_761_600  # 2027-01-01T00:00:00Z
ANCHOR_RSA = {"cloud": CLOUD_RSA, "auth": AUTH_EC, "svc": 0, "host": "h" * 63, "port": 5683}


def authorisation(step: int, subject: bytes = bytes(32), alg: int = 0) -> bytes:
    fields = DEVICE_ID + NONCE + hashlib.sha256(CLOUD_EC).digest() + subject + ACT + ROOT
    return b"DRKA\x01" + bytes([step, alg]) + fields + struct.pack(">Q64s", NOT_AFTER, b"demo")


def signed_by_authority(payload: bytes) -> dict[str, Any]:
    """With the nonce of RFC 6979, so that this file is the same each time."""
    message = b"DSSEv1 %d %s %d %s" % (len(AUTHORISATION_TYPE), AUTHORISATION_TYPE, len(payload), payload)
    key = ec.derive_private_key(AUTHORITY_PRIVATE, ec.SECP256R1())
    signature = key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    return {"au": payload.hex(), "message": message.hex(), "sig": signature.hex()}


def anchor_hash(anchor: dict[str, Any]) -> bytes:
    parts = (anchor["cloud"], anchor["auth"], anchor["host"].encode())
    payload = b"".join(struct.pack(">H", len(part)) + part for part in parts)
    return hashlib.sha256(payload + struct.pack(">BH", anchor["svc"], anchor["port"])).digest()


def smp(op: int, group: int, command: int, body: bytes, seq: int) -> bytes:
    return struct.pack(">BBHHBB", 8 | op, 0, len(body), group, seq, command) + body


def lines(frame: bytes, cut: int = 93) -> list[bytes]:
    whole = struct.pack(">H", len(frame) + 2) + frame + struct.pack(">H", binascii.crc_hqx(frame, 0))
    parts = [whole[i : i + cut] for i in range(0, len(whole), cut)]
    return [(b"\x04\x14" if i else b"\x06\x09") + base64.b64encode(part) for i, part in enumerate(parts)]


def carried(frame: bytes) -> dict[str, Any]:
    return {"frame": frame.hex(), "lines": [line.decode() for line in lines(frame)]}


def error(group: int, rc: int) -> dict[str, Any]:
    return {"err": {"group": group, "rc": rc}}


def general(rc: int) -> dict[str, Any]:
    return {"rc": rc}


def step(
    seq: int, name: str, op: int, group: int, command: int, request: Any, answer: dict[str, Any]
) -> dict[str, Any]:
    body = request if isinstance(request, bytes) else cbor2.dumps(request)
    found = {
        "name": name,
        "request": carried(smp(op, group, command, body, seq)),
        "answer": carried(smp(op + 1, group, command, cbor2.dumps(answer), seq)),
    }
    if answer == {"st": 1}:
        found["then"] = "poll status until st is 2"
    return found


def bad(**changes: Any) -> dict[str, Any]:
    return {**ANCHOR, **changes}


def story() -> list[dict[str, Any]]:
    """One fresh device's life: requests in this order, each with the only answer that is right."""
    invalid, no_key = error(65, INVALID), error(65, NO_KEY)
    bad_key, unsupported = error(65, BAD_KEY), general(8)
    generate, unlock = {"alg": 1, "job": JOB}, authorisation(UNLOCK)
    rows: list[tuple[str, int, int, int, Any, dict[str, Any]]] = [
        ("echo", WRITE, 0, 0, {"d": "hello"}, {"r": "hello"}),
        ("echo of nothing", WRITE, 0, 0, {"d": ""}, {"r": ""}),
        ("echo of 512 characters", WRITE, 0, 0, {"d": "e" * 512}, {"r": "e" * 512}),
        ("echo of 513 characters", WRITE, 0, 0, {"d": "e" * 513}, general(7)),
        ("echo without text", WRITE, 0, 0, {}, general(3)),
        ("echo as a read", READ, 0, 0, {"d": "hello"}, unsupported),
        ("parameters", READ, 0, 6, {}, {"buf_size": 1024, "buf_count": 1}),
        ("parameters with an unknown key", READ, 0, 6, {"x": 1}, general(3)),
        ("unknown command of the OS group", READ, 0, 99, {}, unsupported),
        ("unknown group", READ, 64, 0, {}, unsupported),
        ("unknown command of the provisioning group", READ, 65, 17, {}, unsupported),
        ("identify as a write", WRITE, 65, 0, {}, unsupported),
        *((f"reserved command {i}", WRITE, 65, i, {}, unsupported) for i in (9, 10, 13)),
        ("status of an idle device", READ, 65, 2, {}, {"st": 0, "pct": 0}),
        ("no public key yet", READ, 65, 3, {}, no_key),
        ("no proof without a key", WRITE, 65, 4, {"ch": CHALLENGE, "ctx": "pin"}, no_key),
        ("no anchor yet", READ, 65, 6, {}, error(65, NO_ANCHOR)),
        ("no lock without a key", WRITE, 65, 7, {"job": JOB}, no_key),
        ("no report without a key", WRITE, 65, 8, {"ch": CHALLENGE}, no_key),
        ("no key beside", READ, 65, 15, {}, {"st": 0, "spki": b"", "job": b""}),
        ("no proof with the key beside", WRITE, 65, 16, {"ch": CHALLENGE, "ctx": "rekey"}, error(65, NO_OTHER_KEY)),
        ("no nonce of an open device", WRITE, 65, 14, {}, error(65, NOT_LOCKED)),
        ("no re-key step on an open device", WRITE, 65, 12, stepping(unlock), error(65, NOT_LOCKED)),
        *((f"tunnel: {name}", WRITE, 65, 11, body, invalid) for name, body in malformed_tunnels().items()),
        ("tunnel as a read", READ, 65, 11, {"op": 2}, unsupported),
        ("no tunnel without a key", WRITE, 65, 11, {"op": 0}, no_key),
        ("a tunnel that is closed steps", WRITE, 65, 11, {"op": 1}, CLOSED),
        ("a closed tunnel loses what it is given", WRITE, 65, 11, {"op": 1, "in": bytes(640)}, CLOSED),
        ("a closed tunnel is closed", WRITE, 65, 11, {"op": 2}, CLOSED),
        ("identify with an unknown key", READ, 65, 0, {"x": 1}, invalid),
        ("generate: unknown algorithm", WRITE, 65, 1, {"alg": 3, "job": JOB}, invalid),
        ("generate: algorithm is no integer", WRITE, 65, 1, {"alg": "1", "job": JOB}, invalid),
        ("generate: negative algorithm", WRITE, 65, 1, {"alg": -1, "job": JOB}, invalid),
        ("generate: job of 15 bytes", WRITE, 65, 1, {"alg": 1, "job": JOB[:15]}, invalid),
        ("generate: job as text", WRITE, 65, 1, {"alg": 1, "job": "0123456789abcdef"}, invalid),
        ("generate: no job", WRITE, 65, 1, {"alg": 1}, invalid),
        ("generate: replace is no boolean", WRITE, 65, 1, {**generate, "replace": 1}, invalid),
        ("generate: unknown key", WRITE, 65, 1, {**generate, "force": True}, invalid),
        ("generate: a key twice", WRITE, 65, 1, b"\xa3" + cbor2.dumps(generate)[1:] + b"\x63alg\x01", invalid),
        ("generate: a byte after the map", WRITE, 65, 1, cbor2.dumps(generate) + b"\0", invalid),
        ("generate: indefinite map", WRITE, 65, 1, b"\xbf" + cbor2.dumps(generate)[1:] + b"\xff", invalid),
        ("generate: body cut short", WRITE, 65, 1, cbor2.dumps(generate)[:-1], invalid),
        ("generate: no body", WRITE, 65, 1, b"", invalid),
        ("prove: challenge of 31 bytes", WRITE, 65, 4, {"ch": CHALLENGE[:31], "ctx": "pin"}, invalid),
        ("prove: empty context", WRITE, 65, 4, {"ch": CHALLENGE, "ctx": ""}, invalid),
        ("prove: context of 33 characters", WRITE, 65, 4, {"ch": CHALLENGE, "ctx": "c" * 33}, invalid),
        ("anchor: service 2", WRITE, 65, 5, bad(svc=2), invalid),
        ("anchor: empty host", WRITE, 65, 5, bad(host=""), invalid),
        ("anchor: host with a space", WRITE, 65, 5, bad(host="a b"), invalid),
        ("anchor: host of 64 characters", WRITE, 65, 5, bad(host="h" * 64), invalid),
        ("anchor: port 0", WRITE, 65, 5, bad(port=0), invalid),
        ("anchor: port 65536", WRITE, 65, 5, bad(port=65536), invalid),
        ("anchor: cloud key is empty", WRITE, 65, 5, bad(cloud=b""), bad_key),
        ("anchor: point off the curve", WRITE, 65, 5, bad(cloud=ec_spki(GX, G2Y)), bad_key),
        ("anchor: authority key off the curve", WRITE, 65, 5, bad(auth=ec_spki(G2X, GY)), bad_key),
        ("anchor: compressed point", WRITE, 65, 5, bad(cloud=EC_COMPRESSED_HEAD + b"\x03" + GX), bad_key),
        ("anchor: P-384", WRITE, 65, 5, bad(cloud=EC_384_HEAD + modulus(768)), bad_key),
        ("anchor: byte after the key", WRITE, 65, 5, bad(cloud=CLOUD_EC + b"\0"), bad_key),
        ("anchor: key cut short", WRITE, 65, 5, bad(cloud=CLOUD_EC[:-1]), bad_key),
        ("anchor: RSA-1024", WRITE, 65, 5, bad(svc=0, cloud=rsa_spki(1024)), bad_key),
        ("anchor: RSA without its SubjectPublicKeyInfo", WRITE, 65, 5, bad(svc=0, cloud=rsa_pkcs1(2048)), bad_key),
        ("anchor: RSA key for the UDP service", WRITE, 65, 5, bad(cloud=CLOUD_RSA), bad_key),
        ("anchor: EC key for the TCP service", WRITE, 65, 5, bad(svc=0), bad_key),
        ("anchor: RSA authority key", WRITE, 65, 5, bad(auth=CLOUD_RSA), bad_key),
        ("still no anchor", READ, 65, 6, {}, error(65, NO_ANCHOR)),
        ("generate", WRITE, 65, 1, generate, {"st": 1}),
        ("status after generation", READ, 65, 2, {}, {"st": 2, "pct": 100}),
        ("generate again, same job", WRITE, 65, 1, generate, {"st": 2}),
        ("replace changes nothing for the same job", WRITE, 65, 1, {**generate, "replace": True}, {"st": 2}),
        ("generate: other algorithm", WRITE, 65, 1, {"alg": 2, "job": JOB}, error(65, OTHER_ALG)),
        ("generate: other job", WRITE, 65, 1, {"alg": 1, "job": OTHER_JOB}, error(65, OTHER_JOB_RC)),
        ("lock: wrong job", WRITE, 65, 7, {"job": OTHER_JOB}, error(65, WRONG_JOB)),
        ("lock: no anchor", WRITE, 65, 7, {"job": JOB}, error(65, NO_ANCHOR)),
        ("no tunnel without an anchor", WRITE, 65, 11, {"op": 0}, error(65, NO_ANCHOR)),
        ("write anchor, TCP", WRITE, 65, 5, ANCHOR_RSA, {}),
        ("read anchor, TCP", READ, 65, 6, {}, ANCHOR_RSA),
        ("no tunnel to the TCP service with an EC key", WRITE, 65, 11, {"op": 0}, error(65, OTHER_ALG)),
        ("write anchor, UDP", WRITE, 65, 5, ANCHOR, {}),
        ("read anchor, UDP", READ, 65, 6, {}, ANCHOR),
        ("lock", WRITE, 65, 7, {"job": JOB}, {}),
        ("lock again, same job", WRITE, 65, 7, {"job": JOB}, {}),
        ("lock again, other job", WRITE, 65, 7, {"job": OTHER_JOB}, error(65, WRONG_JOB)),
        ("locked: generate", WRITE, 65, 1, generate, error(65, LOCKED)),
        ("locked: even a bad generate", WRITE, 65, 1, {"alg": 3}, error(65, LOCKED)),
        ("locked: write anchor", WRITE, 65, 5, ANCHOR, error(65, LOCKED)),
        ("locked: reserved inject", WRITE, 65, 9, {}, error(65, LOCKED)),
        ("locked: tunnel", WRITE, 65, 11, {"op": 1, "in": b""}, CLOSED),
        ("locked: reserved network credentials", WRITE, 65, 13, {}, error(65, LOCKED)),
        ("locked: anchor still readable", READ, 65, 6, {}, ANCHOR),
        ("locked: status", READ, 65, 2, {}, {"st": 2, "pct": 100}),
        ("locked: no key beside", READ, 65, 15, {}, {"st": 0, "spki": b"", "job": b""}),
        ("locked: nonce with an unknown key", WRITE, 65, 14, {"x": 1}, invalid),
        ("locked: unlock without a nonce", WRITE, 65, 12, stepping(unlock), error(65, NO_NONCE)),
        (
            "locked: new key without a nonce",
            WRITE,
            65,
            12,
            stepping(authorisation(NEW_KEY, alg=1)),
            error(65, NO_NONCE),
        ),
        (
            "locked: new anchor without a nonce",
            WRITE,
            65,
            12,
            {**stepping(authorisation(NEW_ANCHOR, anchor_hash(ANCHOR))), **ANCHOR},
            error(65, NO_NONCE),
        ),
        *((f"locked: re-key step: {name}", WRITE, 65, 12, body, invalid) for name, body in malformed_steps().items()),
        ("reset", WRITE, 0, 5, {}, {}),
    ]
    return [step(i % 256, *row) for i, row in enumerate(rows, start=200)]


def stepping(payload: bytes) -> dict[str, Any]:
    return {"au": payload, "sig": bytes.fromhex(signed_by_authority(payload)["sig"])}


def malformed_tunnels() -> dict[str, dict[str, Any]]:
    return {
        "nothing": {},
        "unknown key": {"op": 1, "x": 1},
        "operation 3": {"op": 3},
        "operation as text": {"op": "1"},
        "input as text": {"op": 1, "in": "bytes"},
        "641 bytes": {"op": 1, "in": bytes(641)},
        "open with input": {"op": 0, "in": b"\x01"},
        "open with empty input": {"op": 0, "in": b""},
        "close with input": {"op": 2, "in": b"\x01"},
    }


def malformed_steps() -> dict[str, dict[str, Any]]:
    unlock, about = authorisation(UNLOCK), authorisation(NEW_ANCHOR, anchor_hash(ANCHOR))
    return {
        "nothing": {},
        "no signature": {"au": unlock},
        "unknown key": {**stepping(unlock), "x": 1},
        "250 bytes": stepping(unlock[:-1]),
        "252 bytes": stepping(unlock + b"\0"),
        "other magic": stepping(b"DREP" + unlock[4:]),
        "version 2": stepping(unlock[:4] + b"\2" + unlock[5:]),
        "step 0": stepping(authorisation(0)),
        "step 7": stepping(authorisation(7)),
        "unlock of an algorithm": stepping(authorisation(UNLOCK, alg=1)),
        "unlock about something": stepping(authorisation(UNLOCK, ACT)),
        "new key of no algorithm": stepping(authorisation(NEW_KEY)),
        "new key of algorithm 3": stepping(authorisation(NEW_KEY, alg=3)),
        "new key about something": stepping(authorisation(NEW_KEY, ACT, alg=1)),
        "commit about nothing": stepping(authorisation(COMMIT)),
        "unlock with an anchor": {**stepping(unlock), **ANCHOR},
        "new anchor without one": stepping(about),
        "new anchor without its port": {**stepping(about), **{k: v for k, v in ANCHOR.items() if k != "port"}},
        "new anchor to port 0": {**stepping(about), **bad(port=0)},
    }


def framing() -> dict[str, Any]:
    frame = smp(READ, 65, 0, b"\xa0", 7)
    long = smp(WRITE, 0, 0, cbor2.dumps({"d": "x" * 200}), 9)
    whole = lines(frame)[0] + b"\n"
    three = [line + b"\n" for line in lines(long, 80)]
    wrong_crc = base64.b64encode(base64.b64decode(whole[2:])[:-1] + b"\0")
    too_long = smp(WRITE, 0, 0, bytes(1017), 1)
    accepted = {
        "alone": (whole, [frame]),
        "after boot text": (b"boot v1\r\nready\n" + whole, [frame]),
        "after text without an end of line": (b"boot" + whole, [frame]),
        "after half a marker": (b"\x06" + whole, [frame]),
        "text between the lines of one message": (three[0] + b"log: tick\n" + three[1] + three[2], [long]),
        "lines of other lengths": (b"".join(line + b"\n" for line in lines(long, 30)), [long]),
        "a first line begins anew": (three[0] + whole, [frame]),
        "two messages at once": (whole + whole, [frame, frame]),
    }
    dropped = {
        "continuation without a first line": three[1] + three[2],
        "wrong CRC": whole[:2] + wrong_crc + b"\n",
        "not base64": whole[:10] + b"!" + whole[11:],
        "base64 cut short": whole[:-2] + b"\n",
        "middle line lost": three[0] + three[2],
        "length too small": b"\x06\x09" + base64.b64encode(b"\0\x01" + frame) + b"\n",
        "bytes after the CRC": b"\x06\x09" + base64.b64encode(base64.b64decode(whole[2:]) + b"\0") + b"\n",
        "line of 130 characters": b"\x06\x09" + b"A" * 128 + b"\n",
        "frame of 1025 bytes": b"".join(line + b"\n" for line in lines(too_long)),
        "SMP version 1": lines(bytes([0]) + frame[1:])[0] + b"\n",
        "an answer, not a request": lines(bytes([9]) + frame[1:])[0] + b"\n",
        "flags set": lines(frame[:1] + b"\1" + frame[2:])[0] + b"\n",
        "body length wrong": lines(frame + b"\0")[0] + b"\n",
        "header cut short": lines(frame[:7])[0] + b"\n",
    }
    return {
        "messages": [carried(frame), carried(long), carried(smp(WRITE, 0, 0, cbor2.dumps({"d": "y" * 512}), 0))],
        "accepted": [
            {"name": name, "stream": stream.hex(), "frames": [f.hex() for f in frames]}
            for name, (stream, frames) in accepted.items()
        ],
        "dropped": [{"name": name, "stream": stream.hex()} for name, stream in dropped.items()],
    }


def signed_messages() -> dict[str, Any]:
    proof = b"device-proof-v1\0" + b"\x0c" + DEVICE_ID + b"\x03" + b"pin" + CHALLENGE
    fingerprints = [hashlib.sha256(key).digest() for key in (rsa_spki(2048), CLOUD_EC, AUTH_EC)]
    image = hashlib.sha256(b"image").digest()
    head = b"DREP\x01" + DEVICE_ID + JOB
    state = image + bytes([1, 0, 0, 0, 1])
    host = b"cloud.example"
    report = head + b"".join(fingerprints) + struct.pack(">BHB", 1, 5684, len(host)) + host + state
    bare = head + fingerprints[0] + bytes(64) + bytes(4) + image + bytes([0, 0, 0, 0, 1])
    return {
        "proof": {
            "id": DEVICE_ID.hex(),
            "ctx": "pin",
            "ch": CHALLENGE.hex(),
            "message": proof.hex(),
            "sha256": hashlib.sha256(proof).hexdigest(),
        },
        "report": {
            "id": DEVICE_ID.hex(),
            "job": JOB.hex(),
            "device_spki": rsa_spki(2048).hex(),
            "cloud": CLOUD_EC.hex(),
            "auth": AUTH_EC.hex(),
            "svc": 1,
            "port": 5684,
            "host": "cloud.example",
            "img": image.hex(),
            "lock": 1,
            "dbg": 0,
            "rdp": 0,
            "ksc": 0,
            "emu": 1,
            "ch": CHALLENGE.hex(),
            "rep": report.hex(),
            "message": (b"device-report-v1\0" + CHALLENGE + report).hex(),
        },
        "report_without_anchor_open": {"rep": bare.hex()},
        "authorisations": authorisations(),
    }


def authorisations() -> dict[str, Any]:
    """By the authority key of the anchor above, for a device whose key in use is that anchor's cloud key."""
    return {
        "authority": AUTH_EC.hex(),
        "id": DEVICE_ID.hex(),
        "nonce": NONCE.hex(),
        "key": hashlib.sha256(CLOUD_EC).hexdigest(),
        "act": ACT.hex(),
        "root": ROOT.hex(),
        "not_after": NOT_AFTER,
        "environment": "demo",
        "anchor": anchor_hash(ANCHOR).hex(),
        "new_key": {"step": 1, "alg": 1, "about": "", **signed_by_authority(authorisation(NEW_KEY, alg=1))},
        "commit": {"step": 2, "alg": 0, "about": CHALLENGE.hex(), **signed_by_authority(authorisation(2, CHALLENGE))},
        "new_anchor": {
            "step": 5,
            "alg": 0,
            "about": anchor_hash(ANCHOR).hex(),
            **signed_by_authority(authorisation(NEW_ANCHOR, anchor_hash(ANCHOR))),
        },
        "unlock": {"step": 6, "alg": 0, "about": "", **signed_by_authority(authorisation(UNLOCK))},
    }


def identify() -> dict[str, Any]:
    """What a driver must read; its texts and image hash are an example's, so no device answers just these bytes."""
    fields = {
        "v": 1, "id": DEVICE_ID, "prod": PRODUCT, "hw": "example-board", "fw": "example 1.0", "img": CHALLENGE,
        "key": 1, "job": JOB, "anc": True, "rng": 0, "lock": 0, "dbg": 1, "rdp": 1, "ksc": 2, "emu": True,
    }  # fmt: skip
    fresh = {**fields, "key": 0, "job": b"", "anc": False, "dbg": 0, "rdp": 0, "ksc": 0}
    return {
        "request": carried(smp(READ, 65, 0, b"\xa0", 1)),
        "keyed": carried(smp(READ + 1, 65, 0, cbor2.dumps(fields), 1)),
        "fresh": carried(smp(READ + 1, 65, 0, cbor2.dumps(fresh), 1)),
    }


def record(kind: int, sequence: int, payload: bytes) -> bytes:
    head = b"PREC" + struct.pack(">BBHII", kind, 1, 0, sequence, len(payload)) + payload
    return head + struct.pack(">I", zlib.crc32(head))


def flash() -> dict[str, Any]:
    page = b"FACT\x01" + DEVICE_ID + struct.pack(">H", PRODUCT)
    return {
        "factory_page": {
            "id": DEVICE_ID.hex(),
            "prod": PRODUCT,
            "page": (page + struct.pack(">I", zlib.crc32(page))).hex(),
        },
        "lock_record": {"sequence": 1, "payload": JOB.hex(), "record": record(3, 1, JOB).hex()},
        "empty_record": {"kind": 2, "sequence": 0x01020304, "payload": "", "record": record(2, 0x01020304, b"").hex()},
    }


def checksums() -> dict[str, Any]:
    samples = [b"", b"\0", b"123456789", bytes(range(256))]
    return {
        "crc16_xmodem": [{"data": s.hex(), "crc": f"{binascii.crc_hqx(s, 0):04x}"} for s in samples],
        "crc32_ieee": [{"data": s.hex(), "crc": f"{zlib.crc32(s):08x}"} for s in samples],
    }


def vectors() -> dict[str, Any]:
    return {
        "about": "Byte-level examples of docs/wire.md, written by tests/firmware/make_vectors.py. Hex, but for lines, which "
        "are text without their final newline. The story runs on one fresh device with this factory page, in order.",
        "checksums": checksums(),
        "framing": framing(),
        "identify": identify(),
        "signed": signed_messages(),
        "flash": flash(),
        "story": story(),
    }


def text() -> str:
    return json.dumps(vectors(), indent=1, sort_keys=False) + "\n"


if __name__ == "__main__":
    OUT.write_text(text(), encoding="ascii")
