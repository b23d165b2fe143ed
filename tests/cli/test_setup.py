"""What keeps a batch from starting: exit code 2, and a text that names the file, the entry, and what to do."""

import re
import resource
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from station.exits import Exit
from tests.cli.commands import Done, station, typed
from tests.cli.plant import Site, changed
from trust.dsse import Envelope
from trust.root import Root
from trust.root_file import wrap

pytestmark = pytest.mark.xdist_group("site")
DO = "Correct this, then start again."


def refused(done: Done, *told: str) -> None:
    """It did not start, said so on stderr alone, and said these things."""
    assert (done.code, done.out) == (Exit.USAGE, ""), done
    for each in told:
        assert each in done.err, done.err
    assert "Traceback" not in done.err


def mistyped(done: Done, *told: str) -> None:
    """As `refused`, and the sentence that names what was typed is all there is."""
    refused(done, "station: ", *told)
    assert DO not in done.err
    assert len(done.err.splitlines()) == 1, done.err


def pem(key) -> str:
    text = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return f'"""\n{text}"""'


def test_a_missing_settings_file(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    done = station("run", "--config", missing, "--order", "x")
    refused(done, str(missing), "No such file", "give --config FILE", DO)
    for words in (["check"], ["ledger", "verify"], ["ledger", "report"], ["device", "show", "12" * 12], ["demo"]):
        refused(typed(*words, "--config", missing), str(missing), DO)


@pytest.mark.parametrize(
    ("swap", "told"),
    [
        (("[signer]", "[signet]"), "unknown field `signet`"),
        (('name = "st-01"', 'name = "St 01"'), "$.station.name"),
        (('name = "st-01"', ""), "missing required field `name` - at `$.station`"),
        (("retries = 1 ", "retries = -1 "), "$.limits.retries"),
        (("timeout_s = 10.0", 'timeout_s = "soon"'), "$.registry.timeout_s"),
        (("max_attempts = 10 ", "max_attempts = 0 "), "$.limits.max_attempts"),
        (("[station]", "[station"), "malformed.toml"),
    ],
)
def test_settings_that_cannot_be_read(site: Site, swap: tuple[str, str], told: str) -> None:
    config = site.config_with("malformed", swap)
    refused(typed("run", "--config", config, "--order", "x"), str(config), DO)
    assert told.lower() in typed("check", "--config", config).err.lower()


def test_a_missing_order(site: Site) -> None:
    missing = site.directory / "none.toml"
    mistyped(typed("run", "--config", site.config, "--order", missing), f"station: order {missing}: No such file")


def test_a_missing_root(site: Site) -> None:
    config = site.config_with("no-root", ('root = "root.json"', 'root = "none.json"'))
    refused(
        typed("run", "--config", config, "--order", site.order("o")), str(site.state / "none.json"), "trust root", DO
    )


def test_a_missing_slots_file(site: Site) -> None:
    missing = site.directory / "none.toml"
    words = ["run", "--config", site.config, "--order", site.order("o")]
    mistyped(typed(*words, "--slots-file", missing), f"station: slots file {missing}: ", "No such file")
    config = site.config_with("slotless", ('slots = "slots.toml"', 'slots = "none.toml"'))
    words[2] = config
    refused(typed(*words), f"station: slots file {site.state / 'none.toml'}: ", DO)


@pytest.mark.parametrize("database", ["root.json/ledger.db", "root.json/station/ledger.db"])
def test_a_file_where_the_ledgers_directory_must_be(site: Site, database: str) -> None:
    config = site.config_with("in-the-way", ('"station/ledger.db"', f'"{database}"'))
    done = typed("run", "--config", config, "--order", site.order("o"))
    refused(done, str(site.state / "root.json"), "A file stands where a directory must be: move it", DO)
    for words in (["ledger", "verify"], ["ledger", "report"], ["device", "show", "12" * 12]):
        refused(typed(*words, "--config", config), str(site.state / database))


def test_a_state_directory_that_cannot_be(site: Site) -> None:
    config = site.config_with("stateless", ('state = "s"', 'state = "config.toml/s"'))
    refused(typed("demo", "--config", config), str(site.config), "A file stands where a directory must be: move it", DO)
    refused(typed("run", "--config", config, "--order", "x"), "Not a directory", DO)
    (site.directory / "circle").symlink_to("circle")
    config = site.config_with("circular", ('state = "s"', 'state = "circle"'))
    refused(typed("check", "--config", config), "circle", DO)


def test_a_ledger_that_cannot_be_begun(site: Site) -> None:
    """No room for its first pages: nothing was started, so it is set-up; a ledger that is there and fails is not."""
    config = site.config_with("full", ('"station/ledger.db"', '"full/ledger.db"'))
    begin = (
        "import sys; from pathlib import Path; from station import wiring; from station.faults import SetupError\n"
        "from station.plan import Plan\n"
        "try: wiring.open_store(Plan.load(Path(sys.argv[1]), Path(sys.argv[2])))\n"
        "except SetupError as error: print(error.detail)"
    )
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", begin, config, site.order("o")], capture_output=True, text=True, check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
        )  # fmt: skip
        assert done.stdout.startswith(f"{site.state / 'full/ledger.db'}: "), done


SLOTS = '[[slot]]\nname = "a"\nfamily = "smp"\nport = "/dev/ttyX"\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "slot"),
        (SLOTS.replace('"smp"', '"esp"'), "slot 'a'"),
        (SLOTS + SLOTS.replace("ttyX", "ttyY"), "name a given twice"),
        (SLOTS + SLOTS.replace('"a"', '"b"'), "port /dev/ttyX given twice"),
        (SLOTS + 'power = "relay:1"', "power 'relay:1'"),
        (SLOTS + 'speed = "fast"', "speed"),
        (SLOTS + "baud = 1", "baud"),
    ],
)
def test_a_slots_file_that_cannot_be_read(site: Site, text: str, told: str) -> None:
    path = site.directory / "slots.toml"
    path.write_text(text)
    words = ["run", "--config", site.config, "--order", site.order("o"), "--slots-file", path]
    refused(typed(*words), f"station: slots file {path}", told)


def test_an_unknown_slot(site: Site) -> None:
    words = ["--config", site.config, "--order", site.order("o"), "--slots", "ec-01,nest-9"]
    known = f"station: --slots: no slot nest-9; there are {', '.join(site.slots)}\n"
    mistyped(typed("run", *words), known)
    mistyped(typed("run", "--dry-run", *words), known)


ENTRIES = {
    "order_id": ['""', '"a b"', "7"],
    "product": ['""', "1"],
    "product_id": ["-1", "65536", '"1001"'],
    "key_type": ['"ec-p521"', '"rsa-1024"', "256"],
    "origins": ["[]", '["found"]', '"generated"'],
    "quantity": ["-1", '"ten"', "1.5"],
    "allowance": ["-1", "99999999"],
    "family": ['""', '"S M P"', "1"],
    "not_before": [
        '""',
        '"now"',
        '"2026-01-31"',
        "2026-01-31T00:00:00Z",
        '"2026-02-30T00:00:00Z"',
        '"2999-01-01T00:00:00Z"',
    ],
    "not_after": ['"2026-01-31T00:00:00"', '"2026-12-31T24:00:00Z"', '"2020-01-01T00:00:00Z"'],
    "stations": ['"st-01"', "[1]", '["st-01"]', "{}", "{ st-01 = 1 }", "{ st-01 = { quantity = 10_000 } }"],
    "service": ['"quic"'],
    "host": ['""', '"a host"', f'"{"h" * 64}"'],
    "port": ["0", "65536", '"5684"'],
    "firmware": ['["abc"]', '"all"', "[]", '[{ sha256 = "abc" }]', f'["{"ab" * 32}"]'],
    "handshakes": ['"udp"', "true", '["quic"]', '["tcp"]', '["udp", "tcp"]', '["udp", "udp"]'],
    "cloud_key": ['"none"', "5"],
    "authority_key": ['"-----BEGIN PUBLIC KEY-----"'],
}


def test_each_entry_of_an_order_is_in_the_table(site: Site) -> None:
    assert set(tomllib.loads(site.base_order)) == set(ENTRIES)


@pytest.mark.parametrize(
    ("entry", "value"), [(entry, value) for entry, values in ENTRIES.items() for value in [*values, None]]
)
def test_an_order_with_one_wrong_entry(site: Site, entry: str, value: str | None) -> None:
    """Each entry wrong in each of several ways, and missing (None)."""
    path = site.directory / "wrong.toml"
    path.write_text(changed(site.base_order, **{entry: value}))
    done = typed("run", "--config", site.config, "--order", path)
    refused(done, f"station: order {path}: ")
    assert re.search(rf"\b{entry}\b", done.err), done.err


def test_the_right_order_is_taken(site: Site) -> None:
    """Or the table above would prove nothing."""
    done = typed("run", "--dry-run", "--config", site.config, "--order", site.order("right"))
    assert (done.code, done.out) == (0, ""), done


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"quantity": "0"}, "quantity is 0"),
        ({"service": '"tcp"'}, "service tcp takes a cloud key of type rsa-2048"),
        ({"colour": '"red"'}, "colour"),
        ({"origins": '["injected"]'}, "origin 'injected' is not built yet"),
        ({"authority_key": "the cloud's"}, "authority key and cloud key must be different"),
        ({"cloud_key": pem(ed25519.Ed25519PrivateKey.generate())}, "cloud_key"),
        ({"authority_key": pem(ec.generate_private_key(ec.SECP384R1()))}, "authority_key"),
        ({"quantity": "= 3"}, "not TOML"),
    ],
)
def test_an_order_that_makes_no_sense(site: Site, changes: dict[str, str], told: str) -> None:
    if changes.get("authority_key") == "the cloud's":
        changes = {"authority_key": f'"""{tomllib.loads(site.base_order)["cloud_key"]}"""'}
    path = site.order("senseless", **changes)
    refused(typed("run", "--config", site.config, "--order", path), f"station: order {path}: ", told)


def test_a_root_for_another_environment(site: Site) -> None:
    config = site.config_with("elsewhere", ('environment = "demo"', 'environment = "plant-a"'))
    done = typed("run", "--config", config, "--order", site.order("o"))
    refused(done, "environment 'plant-a', the trust root 'demo'", DO)


def test_a_station_that_the_root_does_not_know(site: Site) -> None:
    config = site.config_with("stranger", ('name = "st-01"', 'name = "st-09"'))
    refused(typed("run", "--config", config, "--order", site.order("o")), "'st-09' is not in the trust root", DO)


@pytest.mark.parametrize("change", [{"registry_url": "http://localhost:1"}, {"tls_root": b"no certificate"}])
def test_a_root_whose_registry_cannot_be_trusted(site: Site, change: dict[str, object]) -> None:
    (site.state / "bad-root.json").write_bytes(other_root(site, **change))
    config = site.config_with("bad-root", ('root = "root.json"', 'root = "bad-root.json"'))
    refused(typed("run", "--dry-run", "--config", config, "--order", site.order("o")), "trust root", DO)


def other_root(site: Site, **changes: object) -> bytes:
    payload = Envelope.from_json((site.state / "root.json").read_bytes().strip()).payload
    return wrap(msgspec.structs.replace(msgspec.json.decode(payload, type=Root), **changes)).to_json()


def test_a_root_that_is_none(site: Site) -> None:
    (site.state / "torn.json").write_bytes((site.state / "root.json").read_bytes()[:-20])
    config = site.config_with("torn", ('root = "root.json"', 'root = "torn.json"'))
    refused(typed("run", "--config", config, "--order", site.order("o")), "torn.json", "not a trust root", DO)


def test_a_directory_for_junit_that_is_not_there(site: Site) -> None:
    done = typed("run", "--config", site.config, "--order", site.order("o"), "--junit", site.directory / "no/junit.xml")
    mistyped(done, "--junit", "make it first")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["fly"], "No such command 'fly'"),
        (["run"], "Missing option '--order'"),
        (["run", "--order", "x", "--count", "0"], "'--count'"),
        (["run", "--order", "x", "--fast"], "--fast"),
        (["device", "show", "12"], "DEVICE_ID"),
    ],
)
def test_wrong_words(words: list[str], told: str) -> None:
    mistyped(typed(*words), told)


def test_no_words_are_answered_with_help() -> None:
    refused(typed(), "Usage:", "Commands:")


def test_a_bug_is_a_line_stop_and_not_a_failed_unit(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("station.plan.Plan.load", lambda *_: 1 / 0)
    done = typed("run", "--config", site.config, "--order", "x")
    assert (done.code, done.out) == (Exit.LINE_STOPPED, "")
    assert "The station found an error in itself." in done.err
