"""A signer's process and people with keys of their own, made by `station-signer` as people type it. Holds no assertion."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from station.demo.processes import Process, script
from tests import warm
from tests.cli.commands import Done, typed
from tests.cli.plant import changed
from tests.hsm.by_hand import sign_by_hand
from tests.trust.documents import ec_key, spki
from trust.keys import PublicKey

ROLES = {"ada": ["officer"], "ben": ["officer"], "pia": ["product-owner"], "quinn": ["quality"], "rita": ["quality"]}
PASSPHRASE = "correct horse battery"
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(slots=True)
class Desk:
    """A station's desk: its settings, and everybody's files in one directory."""

    place: Path

    @property
    def config(self) -> Path:
        return self.place / "config.toml"

    @property
    def root(self) -> Path:
        return self.place / "s" / "root.json"

    def signer(self, *words: object) -> Done:
        """`station-signer`, typed."""
        done = warm.run([script("station-signer"), *map(str, words)])
        return Done(done.returncode, done.stdout, done.stderr)

    def station(self, *words: object) -> Done:
        return typed(*words, "--config", self.config)

    def approve(self, what: str, file: Path, person: str) -> Done:
        root = [] if what == "root" else ["--root", self.root]
        key = ["--key", self.place / f"{person}.key", "--secret", f"file:{self.place / 'passphrase'}", "--yes"]
        return self.signer(what, "approve", file, *root, *key)

    def order(self, order_id: str, *by: str, **changes: str | None) -> Path:
        """An order of five and one more, approved by these people; each change is an entry's TOML text."""
        source, file = self.place / f"{order_id}.toml", self.place / f"{order_id}.json"
        source.write_text(changed(self._order(), **{"order_id": f'"{order_id}"', **changes}))
        _must(self.signer("order", "new", "--from", source, "--root", self.root, "--out", file))
        self.sign_regardless(file, *by)
        return file

    def sign_regardless(self, file: Path, *by: str) -> None:
        """These people's signatures over the document in the file, whether they count or not."""
        sign_by_hand(file, *((self.place / f"{person}.key", PASSPHRASE) for person in by))

    def act(self, name: str, *by: str, words: tuple[object, ...]) -> Path:
        file = self.place / f"{name}.act"
        said = ["--signer", "st-01", "--reason", "for a test", "--out", file]
        _must(self.signer("act", "new", "--root", self.root, *said, *words))
        self.sign_regardless(file, *by)
        return file

    def counted(self, order_id: str) -> dict[str, object]:
        """What `station order show` says of an order; nothing if it is not known."""
        found = self.station("order", "show", "--jsonl")
        return next((each for each in found.objects if each["order_id"] == order_id), {})

    def leaves(self) -> list[str]:
        """Subjects of the ledger's leaves."""
        from tests.station import ledgerkit as kit

        rows = kit.rows(self.place / "s" / "station" / "ledger.db", 'SELECT subject FROM leaves ORDER BY "index"')
        return [subject for (subject,) in rows]

    def new_root(self, file: Path, *by: str, people: tuple[str, ...], previous: Path | None = None) -> str:
        """The next version, which names these people; its fingerprint."""
        source = self.place / "root.toml"
        text = ['environment = "demo"', 'registry = "reg-01"', 'registry_url = "https://localhost:9"',
                "[stations.st-01]", 'public = "s/signer-factory/public.json"', "[registry_keys]",
                'public = "public.json"']  # fmt: skip
        for person in people:
            text += [f"[approvers.{person}]", f"roles = {ROLES[person]}", f'keys = ["{person}.pem"]']
        source.write_text("\n".join(text) + "\n")
        before = [] if previous is None else ["--previous", previous]
        fingerprint = _must(self.signer("root", "new", "--from", source, "--out", file, *before)).out.strip()
        for person in by:
            _must(self.approve("root", file, person))
        return fingerprint

    def _order(self) -> str:
        now = datetime.now(UTC)
        window = [f"{now + timedelta(days=days):{_TIME}}" for days in (-1, 9)]
        keys = tomllib.loads((self.place / "keys.toml").read_text())
        return (
            'order_id = "x"\nproduct = "lamp"\nproduct_id = 7\nfamily = "smp"\nkey_type = "ec-p256"\n'
            'origins = ["generated"]\nquantity = 5\nallowance = 1\nservice = "udp"\nhost = "udp.devices.example"\n'
            f'port = 5684\nhandshakes = []\nnot_before = "{window[0]}"\nnot_after = "{window[1]}"\n'
            f'cloud_key = """\n{keys["cloud"]}"""\nauthority_key = """\n{keys["authority"]}"""\n'
            f'[[firmware]]\nsha256 = "{"ab" * 32}"\n[stations.st-01]\nquantity = 5\nallowance = 1\n'
        )


def _must(done: Done) -> Done:
    if done.code:
        raise RuntimeError(done.err)
    return done


def _cloud(place: Path) -> None:
    """Public keys of a cloud signer that these tests never start, and those that orders may name."""
    import base64

    import msgspec

    names = ("receipt", "revocation", "roster", "handshake", "cloud-udp", "authority")
    keys = {name: spki(ec_key()) for name in names}
    (place / "public.json").write_bytes(msgspec.json.encode({n: base64.b64encode(k).decode() for n, k in keys.items()}))
    pem = {name: PublicKey.from_der(keys[name]).to_pem() for name in ("cloud-udp", "authority")}
    text = f'cloud = """\n{pem["cloud-udp"]}"""\nauthority = """\n{pem["authority"]}"""\n'
    (place / "keys.toml").write_text(text)


@contextmanager
def open_desk(place: Path, example: str) -> Iterator[Desk]:
    """Keys of five people, a root that four of them stand in, and the station's signer at work."""
    desk = Desk(place)
    (place / "s" / "station").mkdir(parents=True)
    desk.config.write_text(example.replace("run/demo", "s"))
    (place / "passphrase").touch(mode=0o600)
    (place / "passphrase").write_text(PASSPHRASE)
    for person in ROLES:
        words = ["approver", "new", "--out", place / f"{person}.key", "--secret", f"file:{place / 'passphrase'}"]
        (place / f"{person}.pem").write_text(_must(desk.signer(*words)).out)
    directory = place / "s" / "signer-factory"
    _must(desk.signer("init", "--dir", directory, "--role", "factory", "--name", "st-01"))
    _cloud(place)
    desk.new_root(desk.root, "ada", "ben", people=("ada", "ben", "pia", "quinn"))
    with serving(desk):
        yield desk


@contextmanager
def serving(desk: Desk) -> Iterator[None]:
    """The signer at work."""
    log = desk.place / f"signer-{len(list(desk.place.glob('*.log')))}.log"
    directory = desk.place / "s" / "signer-factory"
    with Process([script("station-signer"), "serve", "--dir", str(directory), "--root", str(desk.root)], log) as child:
        child.wait_until(lambda: child.says("ready"), 30)
        yield
