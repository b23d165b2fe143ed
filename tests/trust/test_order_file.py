"""A plain order file by a careless or hostile hand ends in one named error that says what to do, never in a traceback."""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trust.documents import ec_key, order_entries, order_file, pem
from trust.dsse import Envelope
from trust.order import Allotment, Firmware, OrderError, SecurityState, WorkOrder
from trust.order_check import check
from trust.order_file import from_toml
from trust.statement import read

RIGHT = order_entries()
TODO = (
    "take",
    "correct",
    "save",
    "give",
    "name each",
    "list each",
    "allot it",
    "say how",
    "shorten",
    "have it",
    "use generated",
    "write handshakes",
)


def load(text: str | bytes) -> Envelope:
    return from_toml(text, environment="demo", root_sha256="cd" * 32)


def refused(text: str | bytes) -> str:
    with pytest.raises(OrderError) as caught:
        load(text)
    return told(caught.value)


def told(error: OrderError) -> str:
    """What the error says: one printable line of bounded length with a remedy."""
    said = str(error)
    assert said.isprintable()
    assert len(said) < 600
    assert any(f"{separator} {word}" in said for separator in ";," for word in TODO), said
    return said


def changed(**entries: str) -> str:
    return order_file({**RIGHT, **entries})


RIGHT_BUT_FOR_NUMBERS = order_file(
    {name: RIGHT[name] for name in RIGHT if name not in {"quantity", "allowance", "stations"}}
)


def images(*hashes: str) -> str:
    return "[" + ", ".join(f'{{ sha256 = "{each}" }}' for each in hashes) + "]"


def allotted(*parts: tuple[int, int]) -> str:
    each = (f"st-0{n} = {{ quantity = {good}, allowance = {more} }}" for n, (good, more) in enumerate(parts, 1))
    return "{ " + ", ".join(each) + " }"


def test_the_right_file_is_taken() -> None:
    """Or the refusals below would prove nothing."""
    order = read(load(order_file(RIGHT)), WorkOrder)
    assert (order.environment, order.root_sha256, order.v, order.quantity) == ("demo", "cd" * 32, 1, 10)
    assert read(load(order_file(RIGHT).encode()), WorkOrder) == order


def test_tables_of_their_own_say_the_same_as_tables_in_a_line() -> None:
    """As people write them: after all plain entries."""
    plain = order_file({name: value for name, value in RIGHT.items() if name not in {"stations", "firmware"}})
    tables = f'[[firmware]]\nsha256 = "{"ab" * 32}"\n\n[stations.st-01]\nquantity = 10\nallowance = 1\n'
    assert load(plain + tables) == load(order_file(RIGHT))
    first = "[stations.st-01]\nquantity = 10\nallowance = 1\n"
    assert "cloud_key" in refused(first + RIGHT_BUT_FOR_NUMBERS), "what follows a table is an entry of that table"


def test_what_may_be_left_out_and_what_may_be_said() -> None:
    order = read(load(order_file(RIGHT)), WorkOrder)
    assert order.stations == {"st-01": Allotment(quantity=10, allowance=1)}
    assert order.firmware == (Firmware(sha256="ab" * 32),)
    assert (order.before_lock, order.after_lock) == (SecurityState(), SecurityState())
    assert (order.label, order.vetting, order.offline_allowance, order.devices) == ("none", "basic", 1000, ())
    said = read(
        load(
            changed(
                stations=allotted((4, 0), (6, 1)),
                firmware=f'[{{ sha256 = "{"ab" * 32}", version = "1.2.3", platform = "nrf52" }}]',
                before_lock="{ debug_closed = true }",
                after_lock="{ debug_closed = true, readout_protected = true }",
                label='"none"',
                vetting='"basic"',
                offline_allowance="0",
                devices=f'["{"0a" * 12}"]',
            )
        ),
        WorkOrder,
    )
    assert said.stations == {"st-01": Allotment(quantity=4), "st-02": Allotment(quantity=6, allowance=1)}
    assert said.firmware == (Firmware(sha256="ab" * 32, version="1.2.3", platform="nrf52"),)
    assert said.before_lock == SecurityState(debug_closed=True)
    assert said.after_lock == SecurityState(debug_closed=True, readout_protected=True)
    assert (said.offline_allowance, said.devices) == (0, ("0a" * 12,))


def test_only_demo_orders_ask_for_no_handshake() -> None:
    entries = {**RIGHT, "handshakes": "[]"}
    made = from_toml(order_file(entries), environment="demo", root_sha256="00" * 32)
    assert read(made, WorkOrder).handshakes == ()
    with pytest.raises(OrderError, match="handshakes is empty"):
        from_toml(order_file(entries), environment="plant-a", root_sha256="00" * 32)


def test_stations_may_be_allotted_less_than_there_is() -> None:
    """The rest is for stations of a later order, or for nobody."""
    assert load(changed(stations=allotted((1, 0))))
    assert load(changed(stations=allotted((10, 1), (0, 0))))


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("environment", '"plant-a"'),
        ("environment", '"demo"'),
        ("root_sha256", f'"{"00" * 32}"'),
        ("root_sha256", f'"{"cd" * 32}"'),
        ("type", '"pin"'),
        ("type", '"order"'),
        ("v", "2"),
        ("v", "1"),
    ],
)
def test_what_the_station_sets_is_refused_in_a_file(entry: str, value: str) -> None:
    said = refused(changed(**{entry: value}))
    assert f"order entry `{entry}`" in said
    assert "take the entry out of the file" in said


@pytest.mark.parametrize("name", ["colour", "Quantity", '"order id"', "payload_type", "PAYLOAD_TYPE", "cloud"])
def test_an_unknown_entry_is_named(name: str) -> None:
    said = refused(changed(**{name: "1"}))
    assert f"unknown field `{name.strip(chr(34))}`" in said


def test_an_entry_inside_a_table_is_not_overlooked() -> None:
    assert "unknown field `order`" in refused(order_file(RIGHT) + "[order]\nquantity = 5\n")


@pytest.mark.parametrize("entry", sorted(set(RIGHT) - {"unproven_origin", "handshake_waivers"}))
def test_a_missing_entry_is_named(entry: str) -> None:
    said = refused(order_file({name: value for name, value in RIGHT.items() if name != entry}))
    assert entry in said


VALUES = [
    *('""', '"\\u202e"', '"\\u0000"', '"\\u001b[2J"', '"a\\nb"', '"٣"', "true", "nan", "inf", "-inf", "-0.0", "1e400", "0.5"),
    *("-1", "9" * 19, "9" * 400, "9" * 4400, "0x" + "f" * 50_000, "1979-05-27", "1979-05-27T07:32:00Z", "07:32:00"),
    *("[]", '[""]', "[[]]", "[1]", "{}", '{ a = { b = "c" } }', "[nan]", '["\\u202e"]', "'''\n'''"),
]  # fmt: skip
NOT_WRONG = {("unproven_origin", "true"), ("handshakes", "[]"), ("handshake_waivers", "[]")}


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value[:20])
@pytest.mark.parametrize("entry", sorted(RIGHT))
def test_a_value_of_the_wrong_kind_is_named(entry: str, value: str) -> None:
    if (entry, value) in NOT_WRONG:
        load(changed(**{entry: value}))
        return
    said = refused(changed(**{entry: value}))
    assert entry in said or "not TOML" in said


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"quantity": "-1"}, "quantity"),
        ({"quantity": "0"}, "quantity is 0"),
        ({"quantity": "10000001"}, "quantity"),
        ({"allowance": "-1"}, "allowance"),
        ({"quantity": "9223372036854775807", "allowance": "9223372036854775807"}, "quantity|allowance"),
        ({"product_id": "65536"}, "product_id"),
        ({"port": "0"}, "port"),
        ({"firmware": images("ab" * 32, "cd" * 32, "ab" * 32)}, f"firmware names {'ab' * 32} twice"),
        ({"firmware": "[]"}, "firmware is empty"),
        ({"firmware": images("AB" * 32)}, "firmware"),
        ({"firmware": f'["{"ab" * 32}"]'}, "firmware"),
        ({"firmware": '[{ version = "1.0" }]'}, "sha256"),
        ({"firmware": f'[{{ sha256 = "{"ab" * 32}", versoin = "1.0" }}]'}, "versoin"),
        ({"stations": "{}"}, "stations is empty"),
        ({"stations": '["st-01"]'}, "stations"),
        ({"stations": "{ ST = { quantity = 1 } }"}, "stations"),
        ({"stations": "{ st-01 = {} }"}, "quantity"),
        ({"stations": "{ st-01 = { quantity = -1 } }"}, "quantity"),
        ({"stations": "{ st-01 = { quantity = 1, allowence = 1 } }"}, "allowence"),
        ({"stations": "{ st-01 = { quantity = 1 }, st-01 = { quantity = 1 } }"}, "not TOML"),
        ({"stations": allotted((11, 0))}, "allotted quantity 11, the order has 10"),
        ({"stations": allotted((5, 0), (6, 0))}, "allotted quantity 11, the order has 10"),
        ({"stations": allotted((1, 2))}, "allotted allowance 2, the order has 1"),
        ({"stations": allotted((1, 1), (1, 1))}, "allotted allowance 2, the order has 1"),
        ({"not_before": '"2027-01-01T00:00:00Z"'}, "not_after is not after not_before"),
        ({"not_before": RIGHT["not_after"]}, "not_after is not after not_before"),
        ({"not_before": '"2026-11-31T00:00:00Z"'}, "no time that exists"),
        ({"not_after": '"2026-12-31T24:00:00Z"'}, "no time that exists"),
        ({"not_after": '"0000-01-01T00:00:00Z"'}, "no time that exists"),
        ({"not_after": '"2026-12-31T00:00:00"'}, "not_after"),
        ({"not_after": '"2026-12-31T00:00:00+01:00"'}, "not_after"),
        ({"not_after": "2026-12-31T00:00:00Z"}, "not_after"),
        ({"devices": f'["{"0a" * 12}", "{"0b" * 12}", "{"0a" * 12}"]'}, f"devices names {'0a' * 12} twice"),
        ({"devices": f'["{"0A" * 12}"]'}, "devices"),
        ({"devices": "[" + ",".join(f'"{n:024x}"' for n in range(1300)) + "]"}, "more than 32000 bytes"),
        ({"before_lock": "{ debug = true }"}, "debug"),
        ({"after_lock": "{ debug_closed = 1 }"}, "after_lock"),
        ({"label": '"printed"'}, "label"),
        ({"vetting": '"none"'}, "vetting"),
        ({"offline_allowance": "-1"}, "offline_allowance"),
        ({"family": '"S M P"'}, "family"),
        ({"origins": '["generated", "generated"]'}, "origins names generated twice"),
        ({"origins": '["injected"]'}, "not built yet"),
        ({"firmware": images(*(f"{n:064x}" for n in range(400)))}, "more than 32000 bytes"),
        ({"cloud_key": '"no key"'}, "cloud_key"),
        ({"cloud_key": f'"""{pem(ec_key())}{pem(ec_key())}"""'}, "cloud_key: more than one PEM block"),
        ({"cloud_key": RIGHT["authority_key"]}, "must be different keys"),
        ({"authority_key": f'"""{pem(rsa.generate_private_key(65537, 2048))}"""'}, "must be ec-p256"),
        ({"authority_key": f'"""{pem(ec.generate_private_key(ec.SECP384R1()))}"""'}, "only P-256"),
        ({"service": '"tcp"'}, "rsa-2048"),
        ({"handshakes": '["tcp"]'}, "names tcp, and its devices know service udp alone"),
        ({"handshakes": '["udp", "udp"]'}, "handshakes names udp twice"),
        ({"handshakes": '["tcp", "udp"]'}, "names tcp and udp"),
        ({"key_type": '"rsa-2048"'}, "devices with rsa-2048 keys have no handshake over udp"),
        ({"handshakes": '["quic"]'}, "quic is none of tcp, udp|'quic' is none of tcp, udp"),
        ({"handshakes": "[]", "handshake_waivers": '["no-tunnel"]'}, "may stand for a handshake that is not asked for"),
        ({"handshake_waivers": '["service-away", "service-away"]'}, "handshake_waivers names service-away twice"),
        ({"handshake_waivers": '["not-built"]'}, "is none of service-away, no-tunnel"),
        ({"handshake_waiver": '"not-built"'}, "unknown field `handshake_waiver`"),
    ],
)
def test_what_makes_no_sense_is_named(entries: Mapping[str, str], words: str) -> None:
    said = refused(changed(**entries))
    assert any(word in said for word in words.split("|")), said


HOSTILE: list[tuple[str, str | bytes, str]] = [
    ("ten megabytes", "# " + "x" * 10_000_000, "at most 65536"),
    ("ten megabytes of bytes", b"\xff" * 10_000_000, "at most 65536"),
    ("empty", "", "cloud_key"),
    ("not UTF-8", b"order_id = '\xff\xfe'", "UTF-8"),
    ("UTF-16", order_file(RIGHT).encode("utf-16"), "UTF-8"),
    ("a NUL byte", order_file(RIGHT).replace("lamp-1", "lamp\0"), "not TOML"),
    ("an escape sequence", "\x1b[2J" + order_file(RIGHT), "not TOML"),
    ("a bidi override as a key", '"\\u202efoo" = 1\n' + order_file(RIGHT), "unknown field `·foo`"),
    ("an entry twice", order_file(RIGHT) + "quantity = 11\n", "not TOML"),
    ("lists in lists", "a = " + "[" * 30_000 + "]" * 30_000, "nested too deeply"),
    ("lists without end", "a = " + "[" * 65_000, "nested too deeply"),
    ("tables in tables", "a = " + "{a=" * 15_000 + "1" + "}" * 15_000, "nested too deeply"),
    ("a key of many parts", "a." * 30_000 + "a = 1", "order has a line with more than 256 dots"),
    ("a key of many parts on one line of TOML and many of Unicode", '"\u2028".' * 7_000 + "a = 1", "order has a line with more than 256 dots"),
    ("a table of many parts", "[" + "a." * 30_000 + "a]", "order has a line with more than 256 dots"),
    ("keys of as many parts as are read", "\n".join(f"k{n}{'.a' * 250} = 1" for n in range(125)), "unknown field `k0`"),
    ("many tables", "".join(f"[a{n}]\n" for n in range(8_000)), "unknown field"),
    ("a private key", changed(cloud_key=f'"""{"-----BEGIN PRIVATE KEY-----"}\nAA==\n-----END PRIVATE KEY-----"""'), "cloud_key"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words"), [each[1:] for each in HOSTILE], ids=[each[0] for each in HOSTILE])
def test_a_hostile_file_is_refused_soon(text: str | bytes, words: str) -> None:
    began = time.process_time()
    assert words in refused(text)
    assert time.process_time() - began < 5


def test_an_order_that_came_in_an_envelope_is_judged_by_the_same_check() -> None:
    order = read(load(order_file(RIGHT)), WorkOrder)
    for wrong in (
        {"firmware": order.firmware * 2}, {"firmware": ()}, {"cloud_key": b"\x30\x00"}, {"quantity": 0},
        {"stations": {}}, {"stations": {"st-01": Allotment(quantity=11)}}, {"not_after": order.not_before},
    ):  # fmt: skip
        with pytest.raises(OrderError) as caught:
            check(msgspec.structs.replace(order, **wrong))
        told(caught.value)


def taken_or_refused(text: str | bytes) -> bool:
    try:
        made = load(text)
    except OrderError as error:
        told(error)
        return False
    order = read(made, WorkOrder)
    check(order)
    assert (order.environment, order.root_sha256) == ("demo", "cd" * 32)
    return True


def basic(text: str) -> str:
    """A TOML basic string."""
    return '"' + "".join(f"\\U{ord(each):08x}" for each in text) + '"'


TOML_STRING = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).map(basic)
TOML_VALUE = st.recursive(
    st.one_of(
        TOML_STRING, st.integers().map(str), st.floats().map(repr), st.booleans().map(lambda each: str(each).lower()),
        st.datetimes().map(lambda each: each.isoformat()), st.dates().map(str), st.times().map(str),
        st.sampled_from(sorted(RIGHT.values())),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda each: f"[{', '.join(each)}]"),
        st.dictionaries(TOML_STRING, inner, max_size=3).map(
            lambda each: "{" + ", ".join(f"{name} = {value}" for name, value in each.items()) + "}"
        ),
    ),
    max_leaves=8,
)  # fmt: skip
NAME = st.one_of(st.sampled_from([*RIGHT, "environment", "type", "v", "root_sha256"]), TOML_STRING)


@settings(max_examples=300, deadline=None)
@given(changes=st.dictionaries(NAME, TOML_VALUE, min_size=1, max_size=3))
def test_whatever_an_entry_holds(changes: Mapping[str, str]) -> None:
    taken = taken_or_refused(changed(**changes))
    assert not (taken and set(changes) - set(RIGHT) - {basic(name) for name in RIGHT})


@settings(max_examples=200, deadline=None)
@given(text=st.one_of(st.binary(max_size=200), st.text(max_size=200)))
def test_whatever_the_file_holds(text: str | bytes) -> None:
    assert not taken_or_refused(text)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_whatever_bytes_are_put_into_a_right_file(data: st.DataObject) -> None:
    whole = order_file(RIGHT).encode()
    at = data.draw(st.integers(0, len(whole)))
    taken_or_refused(whole[:at] + data.draw(st.binary(max_size=8)) + whole[at + data.draw(st.integers(0, 8)) :])
