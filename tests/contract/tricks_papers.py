"""Tricks with acts, revocations and minutes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec

from tests.contract import tricked as party
from tests.contract.stage import OTHER, REGISTRY, SITE, STATION, Stage, utc
from tests.contract.tricked import Party, Trick
from tests.contract.tricks_orders import mirrored
from tests.trust.documents import ec_key
from tests.trust.people import file_of, signature, with_signatures
from trust.dsse import Envelope
from trust.minutes import Minutes, Step
from trust.root import Thresholds
from trust.root_file import parse
from trust.statement import Statement, envelope

Play = Callable[[Stage], tuple[Any, Any]]
OFFICERS = ("ada", "ben")
DAY = 24 * 3600

# ---- acts


def raised(*by: str, **says: Any) -> Play:
    return lambda stage: (stage.raise_by_two(*(by or OFFICERS), **says), stage.raise_by_two(*OFFICERS))


def signed(sign: Callable[[Stage, Envelope], Envelope]) -> Play:
    def play(stage: Stage) -> tuple[Envelope, Envelope]:
        right = stage.raise_by_two(*OFFICERS)
        return sign(stage, right), right

    return play


def two_keys(stage: Stage, act: Envelope) -> Envelope:
    return with_signatures(act, stage.who["cleo"].signature(act), stage.second["cleo"].signature(act))


def unapproved(stage: Stage) -> tuple[Envelope, Envelope]:
    right = stage.raise_by_two(*OFFICERS)
    return msgspec.structs.replace(right, signatures=()), right


def timed(made_s: float, lasts_s: float, **says: Any) -> Play:
    """An act of another time than now."""

    def play(stage: Stage) -> tuple[Envelope, Envelope]:
        made = stage.clock() + made_s
        times = {"made_at": utc(made), "not_after": utc(made + lasts_s)}
        return stage.raise_by_two(*OFFICERS, **times, **says), stage.raise_by_two(*OFFICERS)

    return play


def clock_set_back(stage: Stage) -> tuple[Envelope, Envelope]:
    """Good for an hour; two hours later, as the signer has seen, its clock is set back."""
    act = stage.raise_by_two(*OFFICERS)
    stage.clock.ahead_s = 2 * 3600
    stage.factory.signatory.counters.see_time(int(stage.clock()))
    right = stage.raise_by_two(*OFFICERS)
    stage.clock.ahead_s = 0
    return act, right


def done_before(again: Callable[[Envelope], Envelope]) -> Play:
    def play(stage: Stage) -> tuple[Envelope, Envelope]:
        act = stage.raise_by_two(*OFFICERS)
        stage.factory.perform_act(act)
        return again(act), stage.raise_by_two(*OFFICERS)

    return play


def malleated(act: Envelope) -> Envelope:
    """The same act in other bytes: every signature as (r, n - s)."""
    return msgspec.structs.replace(act, signatures=tuple(mirrored(each) for each in act.signatures))


def other_stop(stage: Stage) -> tuple[Envelope, Envelope]:
    stage.factory.signatory.counters.documents.add_stop("a test", 1)
    lift = {"kind": "lift-stop", "order_id": "", "order_sha256": "", "units": 0}
    return stage.raise_by_two(*OFFICERS, **lift, stop=2), stage.raise_by_two(*OFFICERS, **lift, stop=1)


def key_act(*by: str, **says: Any) -> Play:
    def play(stage: Stage) -> tuple[Envelope, Envelope]:
        about = {"kind": "destroy-key", "purpose": "pin", "fingerprint": "ab" * 32}
        return stage.act(*by, **{**about, **says}), stage.act(*OFFICERS, **about)

    return play


def respelled(change: Callable[[bytes], bytes]) -> Play:
    def play(stage: Stage) -> tuple[Envelope, Envelope]:
        right = stage.raise_by_two()
        wrong = msgspec.structs.replace(right, payload=change(right.payload))
        return stage.signed_by(wrong, *OFFICERS), stage.signed_by(right, *OFFICERS)

    return play


def with_extra(payload: bytes) -> bytes:
    return json.dumps({**json.loads(payload), "zzz": 1}, sort_keys=True, separators=(",", ":")).encode()


# ---- revocations, minutes


def revoked(purpose: str = "revocation", **changes: Any) -> Play:
    def play(stage: Stage) -> tuple[Envelope, Envelope]:
        unit = stage.unit()
        return stage.revocation(unit, purpose, **changes), stage.revocation(unit)

    return play


def bare_revocation(stage: Stage) -> tuple[Envelope, Envelope]:
    right = stage.revocation(stage.unit())
    return msgspec.structs.replace(right, signatures=()), right


def noted(*by: str, **changes: Any) -> Play:
    """Minutes of a ceremony that ada and ben held, changed, approved by these people."""

    def play(stage: Stage) -> tuple[Envelope, Envelope]:
        right = minutes(stage)
        wrong = msgspec.structs.replace(right, **changes)
        return stage.signed_by(envelope(wrong), *by), stage.signed_by(envelope(right), *OFFICERS)

    return play


def registrys(name: str) -> Play:
    """Of the registry's signer, which a station keeps, too; and of another one's."""

    def play(stage: Stage) -> tuple[Envelope, Envelope]:
        made = [msgspec.structs.replace(minutes(stage), role="cloud", signer=each) for each in (name, REGISTRY)]
        wrong, right = (stage.signed_by(envelope(each), *OFFICERS) for each in made)
        return wrong, right

    return play


def three_wanted(stage: Stage) -> tuple[Envelope, Envelope]:
    """Three have approved, of whom two are named."""
    line = stage.third(*OFFICERS, thresholds=Thresholds(act=3))
    stage.trusted = parse(file_of(*stage.lines, line))
    wrong, right = (msgspec.structs.replace(minutes(stage), officers=each) for each in (OFFICERS, (*OFFICERS, "cleo")))
    return stage.signed_by(envelope(wrong), *OFFICERS, "cleo"), stage.signed_by(envelope(right), *OFFICERS, "cleo")


def before_rob(stage: Stage) -> tuple[Envelope, Envelope]:
    """rob was in quality under version 1; under it ada, ben and he approve."""
    then = msgspec.structs.replace(minutes(stage), root_sha256=stage.lines[0].payload_sha256)
    wrong = msgspec.structs.replace(then, officers=("ada", "rob"))
    return stage.signed_by(envelope(wrong), *OFFICERS, "rob"), stage.signed_by(envelope(then), *OFFICERS)


def minutes(stage: Stage) -> Minutes:
    now = utc(stage.clock())
    return Minutes(
        environment=SITE, root_sha256=stage.trusted.sha256, signer=STATION, role="factory", subject="ceremony",
        act_sha256="", officers=OFFICERS, software="keystation", token="t", module="m", keys=(),
        steps=(Step(what="root", found="as told"),), began_at=now, ended_at=now,
    )  # fmt: skip


def there(*officers: str) -> Play:
    return lambda _: (officers, OFFICERS)


def copied_from(other: Callable[[Stage], Statement]) -> Callable[[Stage, Envelope], Envelope]:
    """Approvals of another document."""
    return lambda stage, act: msgspec.structs.replace(
        act, signatures=stage.signed_by(envelope(other(stage)), *OFFICERS).signatures
    )


ACT, SIGNER, KEY = party.ON_ACT, party.SIGNER_ON_ACT, party.ON_KEY_ACT
GONE, GONE_SIGNER, MINUTES = party.ON_REVOCATION, party.SIGNER_ON_REVOCATION, party.ON_MINUTES
FEW, NOT_ROOTS = "are wanted", "not signed by"
ROWS: tuple[tuple[str, dict[str, Party], Play, str], ...] = (
    ("act: nobody has approved it", ACT, unapproved, FEW),
    ("act: one officer", ACT, raised("ada"), FEW),
    ("act: product owner and quality", ACT, raised("pia", "quinn"), FEW),
    ("act: an officer and a product owner", ACT, raised("ada", "pia"), FEW),
    ("act: an officer with two keys", ACT, signed(lambda s, act: two_keys(s, msgspec.structs.replace(act, signatures=()))), "cleo approved twice"),
    ("act: somebody who has left", ACT, raised("ada", "zoe"), "no approver's"),
    ("act: approvals of another act", ACT, signed(copied_from(minutes)), "not over this document"),
    ("act: a junk signature more", ACT, signed(lambda s, act: with_signatures(act, *act.signatures, signature(ec_key(), act))), "no approver's"),
    ("act: signatures out of order", ACT, signed(lambda _, act: msgspec.structs.replace(act, signatures=act.signatures[::-1])), "order of their key ids"),
    ("act: of environment demo", ACT, raised(environment="demo"), "environment 'demo'"),
    ("act: for another signer", ACT, raised(signer=OTHER), "for signer 'st-02'|of 'st-02'"),
    ("act: approved under an unknown root", ACT, raised(root_sha256="ab" * 32), "root"),
    ("act: approved under an older root", SIGNER, lambda s: (s.raise_by_two(*OFFICERS, root_sha256=s.lines[0].payload_sha256), s.raise_by_two(*OFFICERS)), "another version of the trust root"),
    ("act: its time is over", SIGNER, timed(-2 * 3600, 3600), "was good until"),
    ("act: its time has not come", SIGNER, timed(3600, 3600), "is good from"),
    ("act: good for more than a week", SIGNER, timed(0, 8 * DAY), "7 days at most"),
    ("act: ends before it begins", SIGNER, timed(0, -1), "7 days at most"),
    ("act: a time that does not exist", SIGNER, raised(made_at="2026-13-01T00:00:00Z"), "no time that exists"),
    ("act: over, and the signer's clock set back", SIGNER, clock_set_back, "was good until"),
    ("act: done before", SIGNER, done_before(lambda act: act), "done before"),
    ("act: done before, signatures as (r, n - s)", SIGNER, done_before(malleated), "done before"),
    ("act: another order's hash", SIGNER, raised(order_sha256="ab" * 32), "other bytes"),
    ("act: an order that is not known", SIGNER, raised(order_id="order-9"), "not known to this signer"),
    ("act: a stop of another number", SIGNER, other_stop, "stop 2 is not in force"),
    ("act: a field of another kind", SIGNER, raised(purpose="pin"), "purpose is not its own"),
    ("act: a field of its kind missing", SIGNER, raised(units=0), "units is missing"),
    ("act: negative units", SIGNER, raised(units=-5), "Expected `int` >= 0"),
    ("act: more units than one act may raise", SIGNER, raised(units=1_000_001), "Expected `int` <= 1000000"),
    ("act: another spelling", SIGNER, respelled(lambda payload: payload.replace(b'":', b'": ', 1)), "canonical form"),
    ("act: a field that no act has", SIGNER, respelled(with_extra), "unknown field `zzz`"),
    ("key act: product owner and quality", KEY, key_act("pia", "quinn"), FEW),
    ("key act: one officer", KEY, key_act("ada"), FEW),
    ("key act: for another signer", KEY, key_act(*OFFICERS, signer=OTHER), "for signer 'st-02'|of 'st-02'"),
    ("revocation: by the station", GONE, revoked("account"), NOT_ROOTS),
    ("revocation: signed with the receipt key", GONE, revoked("receipt"), NOT_ROOTS),
    ("revocation: signed by nobody", GONE, bare_revocation, NOT_ROOTS),
    ("revocation: of another registry", GONE_SIGNER, revoked(registry="reg-02"), "another environment, registry"),
    ("revocation: of environment demo", GONE, revoked(environment="demo"), "environment"),
    ("revocation: of an order and a device that are not known", GONE_SIGNER, revoked(order_id="order-9", device_id="ab" * 12), "not known here"),
    ("minutes: an officer who did not sign", MINUTES, noted("ada", "cleo"), "ben, who has not approved|each officer whom they name"),
    ("minutes: one officer", MINUTES, noted("ada"), "are wanted|each officer whom they name"),
    ("minutes: product owner and quality", MINUTES, noted("pia", "quinn"), "are wanted|each officer whom they name"),
    ("minutes: one officer named twice", MINUTES, noted("ada", "ben", officers=("ada", "cleo")), "cleo, who has not approved|each officer whom they name"),
    ("minutes: an officer and a product owner", MINUTES, noted("ada", "pia", officers=("ada", "pia")), "are wanted|each officer whom they name"),
    ("minutes: an officer and a product owner were there, two officers approved", MINUTES, noted("ada", "ben", "pia", officers=("ada", "pia")), "pia, who is no officer|each officer whom they name"),
    ("minutes: product owner and quality were there, two officers approved", MINUTES, noted("ada", "ben", "pia", "quinn", officers=("pia", "quinn")), "pia, who is no officer|each officer whom they name"),
    ("minutes: an officer twice on the list, two approved", MINUTES, noted(*OFFICERS, officers=("ada", "ada")), "name 1 officer:|fewer than 2"),
    ("minutes: two were there, and an act takes three", MINUTES, three_wanted, "2 officers: 3 different ones|fewer than 3"),
    ("minutes: an officer of today, of a version when he was none", MINUTES, before_rob, "rob, who is no officer|each officer whom they name"),
    ("minutes: of a signer that the root does not name", MINUTES, noted(*OFFICERS, signer="st-99"), "'st-99'"),
    ("minutes: of another station's signer", MINUTES, noted(*OFFICERS, signer=OTHER), "of the signer of 'st-02'|factory signer 'st-02'"),
    ("minutes: of the registry, as a factory's", MINUTES, noted(*OFFICERS, signer=REGISTRY), "factory signer 'reg-01'"),
    ("minutes: of this station, as the registry's", MINUTES, noted(*OFFICERS, role="cloud"), "cloud signer 'st-01'"),
    ("minutes: of another registry", MINUTES, registrys("reg-02"), "cloud signer 'reg-02'"),
    ("minutes: of environment demo", MINUTES, noted(*OFFICERS, environment="demo"), "environment"),
    ("ceremony: one officer", party.ON_CEREMONY, there("ada"), "2 different ones"),
    ("ceremony: one officer, named twice", party.ON_CEREMONY, there("ada", "ada"), "2 different ones"),
    ("ceremony: an officer and a product owner", party.ON_CEREMONY, there("ada", "pia"), "pia is no officer"),
    ("ceremony: a stranger", party.ON_CEREMONY, there("ada", "eve"), "eve is no officer"),
)  # fmt: skip
PAPERS = tuple(Trick(name=row[0], parties=row[1], play=row[2], because=row[3]) for row in ROWS)
