"""Tricks with the trust root's file: chains that do not hold, people who may not, and a root that is older."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from hsm.check import check_root
from hsm.config import SignerConfig
from tests.contract.stage import OTHER, SITE, STATION, Stage
from tests.contract.tricked import ON_ROOT, SEEN_ROOT, Party, Trick
from tests.contract.tricks_orders import mirrored
from tests.hsm.software_token import SoftwareToken
from tests.trust.documents import ec_key, spki
from tests.trust.people import approvers, file_of, next_root, signature, with_signatures
from trust.dsse import Envelope
from trust.root import CloudKeys, Root, StationKeys, Thresholds
from trust.root_file import parse, wrap

Line = Callable[[Stage], Envelope]


def followed_by(line: Line) -> Callable[[Stage], tuple[bytes, bytes]]:
    """The right file, with this third version; and with a right one."""
    return lambda stage: (file_of(*stage.lines, line(stage)), file_of(*stage.lines, stage.third("ada", "ben")))


def by(*names: str) -> Callable[[Stage], tuple[bytes, bytes]]:
    return followed_by(lambda stage: stage.third(*names))


def says(**changes: Any) -> Callable[[Stage], tuple[bytes, bytes]]:
    """A third version that says this, approved as it must be."""
    return followed_by(lambda stage: stage.third("ada", "ben", **changes))


def lines(pick: Callable[[list[Envelope]], list[Envelope]]) -> Callable[[Stage], tuple[bytes, bytes]]:
    """Some lines of a chain of three."""

    def play(stage: Stage) -> tuple[bytes, bytes]:
        chain = [*stage.lines, stage.third("ada", "ben")]
        return file_of(*pick(chain)), file_of(*chain)

    return play


def signed(sign: Callable[[Stage, Envelope], Envelope]) -> Callable[[Stage], tuple[bytes, bytes]]:
    return followed_by(lambda stage: sign(stage, stage.third("ada", "ben")))


def new_officers(*names: str) -> Callable[[Stage], tuple[bytes, bytes]]:
    """A third version whose officers are pat, quinn and pia, approved by these people."""

    def line(stage: Stage) -> Envelope:
        roles = {"pat": ("officer",), "pia": ("officer", "product-owner"), "quinn": ("officer", "quality")}
        people = [replace(stage.who[name], roles=each) for name, each in roles.items()]
        return stage.third(*names, approvers=approvers(people))

    return followed_by(line)


def older(stage: Stage) -> tuple[bytes, bytes]:
    """Version 1 alone, which was right once, where version 2 was taken up."""
    for party in SEEN_ROOT.values():
        party(stage, file_of(*stage.lines))
    return file_of(stage.lines[0]), file_of(*stage.lines, stage.third("ada", "ben"))


def another_chain(stage: Stage) -> tuple[bytes, bytes]:
    """Another version 2 of the same version 1, by its very officers, where the first one was taken up."""
    for party in SEEN_ROOT.values():
        party(stage, file_of(*stage.lines))
    first = parse(file_of(stage.lines[0])).root
    other = next_root(first, stage.lines[0], soft_tokens=True)
    return file_of(stage.lines[0], stage.signed_by(wrap(other), "ada", "ben")), file_of(*stage.lines)


def version(number: int) -> Line:
    def line(stage: Stage) -> Envelope:
        root = msgspec.structs.replace(next_root(stage.root, stage.lines[-1]), version=number)
        return stage.signed_by(wrap(root), "ada", "ben")

    return line


def respelled(change: Callable[[bytes], bytes]) -> Line:
    def line(stage: Stage) -> Envelope:
        made = wrap(next_root(stage.root, stage.lines[-1]))
        return stage.signed_by(msgspec.structs.replace(made, payload=change(made.payload)), "ada", "ben")

    return line


def with_extra(payload: bytes) -> bytes:
    return json.dumps({**json.loads(payload), "zzz": 1}, sort_keys=True, separators=(",", ":")).encode()


def shared_key(stage: Stage) -> Envelope:
    stations = dict(stage.root.stations)
    keys = msgspec.structs.asdict(stations[STATION])
    stations[STATION] = StationKeys(**{**keys, "completion": keys["pin"]})
    return stage.third("ada", "ben", stations=stations)


def approver_is_a_signer(stage: Stage) -> Envelope:
    """A person whose key is the station's pin key: the signer would be one of two people."""
    people = dict(stage.root.approvers)
    people["pia"] = msgspec.structs.replace(people["pia"], keys=(stage.root.stations[STATION].pin,))
    return stage.third("ada", "ben", approvers=people)


def shared_person(stage: Stage) -> Envelope:
    """Two names with one key are one person."""
    people = dict(stage.root.approvers)
    people["pat"] = msgspec.structs.replace(people["pat"], keys=people["pia"].keys)
    return stage.third("ada", "ben", approvers=people)


def without_officers(stage: Stage) -> Envelope:
    people = {name: each for name, each in stage.root.approvers.items() if name not in ("ben", "cleo", "rob")}
    return stage.third("ada", "ben", approvers=people)


def second_key(stage: Stage) -> Envelope:
    bare = stage.third()
    return with_signatures(bare, stage.who["cleo"].signature(bare), stage.second["cleo"].signature(bare))


def malleated(stage: Stage) -> Envelope:
    one = stage.third("ada").signatures[0]
    return with_signatures(stage.third(), one, mirrored(one))


def unsigned(stage: Stage) -> tuple[bytes, bytes]:
    alone = msgspec.structs.replace(stage.root, version=1, previous_sha256="")
    return file_of(wrap(alone)), file_of(*stage.lines)


def copied(stage: Stage) -> Envelope:
    """Approvals of another third version."""
    other = stage.third("ada", "ben", soft_tokens=True)
    return msgspec.structs.replace(stage.third(), signatures=other.signatures)


# ---- tokens and keys at a signer's start


def start(stage: Stage, root: Root) -> None:
    """What a signer of the site asks before it serves."""
    made = SignerConfig(
        role="factory", name=STATION, environment=SITE, token_label="t", module="m", user_pin="file:user-pin"
    )
    token: Any = SoftToken(stage.directory / STATION)
    check_root(made, msgspec.structs.replace(stage.trusted, root=root), token, token.keys())


class SoftToken(SoftwareToken):
    """As SoftHSM names itself."""

    @property
    def model(self) -> str:
        return "SoftHSM v2"


def soft(change: Callable[[Stage], dict[str, Any]]) -> Callable[[Stage], tuple[Root, Root]]:
    def play(stage: Stage) -> tuple[Root, Root]:
        right = msgspec.structs.replace(stage.root, soft_tokens=True)
        return msgspec.structs.replace(right, **change(stage)), right

    return play


START: dict[str, Party] = {"signer's start": start}
FOLLOW, FEW, NOBODYS = "does not follow", "are wanted", "no approver's"
ROWS: tuple[tuple[str, dict[str, Party], Callable[[Stage], tuple[Any, Any]], str], ...] = (
    ("an older version", SEEN_ROOT, older, "was taken up here already"),
    ("another version of the same number", SEEN_ROOT, another_chain, "is not the one"),
    ("two lines swapped", ON_ROOT, lines(lambda chain: [chain[0], chain[2], chain[1]]), FOLLOW),
    ("the newest first", ON_ROOT, lines(lambda chain: chain[::-1]), FOLLOW),
    ("the first line left out", ON_ROOT, lines(lambda chain: chain[1:]), FOLLOW),
    ("a line in the middle left out", ON_ROOT, lines(lambda chain: [chain[0], chain[2]]), FOLLOW),
    ("a line twice", ON_ROOT, lines(lambda chain: [*chain, chain[2]]), FOLLOW),
    ("a version skipped", ON_ROOT, followed_by(version(4)), FOLLOW),
    ("nobody has approved it", ON_ROOT, by(), FEW),
    ("one officer", ON_ROOT, by("ada"), FEW),
    ("two product owners", ON_ROOT, by("pia", "pat"), FEW),
    ("an officer and a product owner", ON_ROOT, by("ada", "pia"), FEW),
    ("an officer with two keys", ON_ROOT, followed_by(second_key), "cleo approved twice"),
    ("somebody who has left", ON_ROOT, by("ada", "zoe"), NOBODYS),
    ("(r, n - s) as the second approval", ON_ROOT, followed_by(malleated), "order of their key ids"),
    ("approvals of another version", ON_ROOT, followed_by(copied), "not over this document"),
    ("new officers have made themselves so", ON_ROOT, new_officers("pat", "quinn"), "officers of the version before"),
    ("officers that have never signed", ON_ROOT, new_officers("ada", "ben"), "its own officers"),
    ("signatures out of order", ON_ROOT, signed(lambda _, line: msgspec.structs.replace(line, signatures=line.signatures[::-1])), "order of their key ids"),
    ("a signature twice", ON_ROOT, signed(lambda _, line: msgspec.structs.replace(line, signatures=(line.signatures[0], *line.signatures))), "order of their key ids"),
    ("a junk signature of nobody more", ON_ROOT, signed(lambda _, line: with_signatures(line, *line.signatures, signature(ec_key(), line))), NOBODYS),
    ("unsigned at a site", ON_ROOT, unsigned, "in environment 'demo' only"),
    ("environment demo at a site", ON_ROOT, says(environment="demo"), FOLLOW),
    ("one key for two purposes", ON_ROOT, followed_by(shared_key), "stands in two places"),
    ("an approver who is the signer", ON_ROOT, followed_by(approver_is_a_signer), "stands in two places"),
    ("two names with one key", ON_ROOT, followed_by(shared_person), "stands in two places"),
    ("officers too few for the next one", ON_ROOT, followed_by(without_officers), "names too few people"),
    ("a threshold of one", ON_ROOT, says(thresholds=Thresholds(root=1)), "Expected `int` >= 2"),
    ("a threshold that nobody can reach", ON_ROOT, says(thresholds=Thresholds(act=9)), "names too few people"),
    ("a key that is none", ON_ROOT, says(cloud_keys=CloudKeys(authority=(b"key",))), "cannot be used"),
    ("another spelling", ON_ROOT, followed_by(respelled(lambda payload: payload.replace(b'":', b'": ', 1))), "canonical form"),
    ("a field more", ON_ROOT, followed_by(respelled(with_extra)), "unknown field `zzz`"),
    ("soft token at a site", START, soft(lambda _: {"soft_tokens": False}), "a soft token is not taken"),
    ("root of another environment at a signer", START, soft(lambda _: {"environment": "demo"}), "is of environment 'demo'"),
    ("root with another signer's keys", START, soft(lambda s: {"stations": {STATION: s.root.stations[OTHER]}}), "other keys than this token's"),
    ("root with somebody's own pin key", START, soft(lambda s: {"stations": {STATION: msgspec.structs.replace(s.root.stations[STATION], pin=spki(ec_key()))}}), "other keys than this token's for pin"),
)  # fmt: skip
ROOTS = tuple(Trick(name=f"root: {row[0]}", parties=row[1], play=row[2], because=row[3]) for row in ROWS)
