"""Two signers and four people with their keys, all made by `station-signer` in processes of their own; for tests."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests import warm
from tests.hsm.by_hand import sign_by_hand
from trust.keys import PublicKey

ORDER = """
order_id = "lamps"
product = "lamp"
product_id = 7
family = "smp"
key_type = "ec-p256"
origins = ["generated"]
quantity = 5
allowance = 1
service = "udp"
host = "udp.devices.example"
port = 5684
handshakes = ["udp"]
not_before = "{begins}"
not_after = "{ends}"
cloud_key = '''
{cloud}'''
authority_key = '''
{authority}'''
[[firmware]]
sha256 = "{firmware}"
[stations.{station}]
quantity = 5
allowance = 1
"""
ROLES = {"ada": "officer", "ben": "officer", "pia": "product-owner", "quinn": "quality"}


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class People:
    """A directory with `factory`, `cloud`, a key a person, and `root.json`."""

    place: Path

    def signer(self, *words: object) -> Done:
        """`station-signer` with these words, in the directory."""
        command = [sys.executable, "-m", "hsm", *map(str, words)]
        done = warm.run(command, cwd=self.place, timeout=30)
        return Done(done.returncode, done.stdout, done.stderr)

    def good(self, *words: object) -> str:
        """As `signer`, and it must end well; what it said on stdout."""
        done = self.signer(*words)
        assert done.code == 0, done.err
        return done.out

    def key(self, person: str) -> list[str]:
        return ["--key", f"{person}.key", "--secret", f"file:{self.place}/{person}.pp", "--yes"]

    def approve(self, what: str, file: str, *who: str, root: str = "root.json") -> None:
        """Each of them approves the document."""
        for person in who:
            self.good(what, "approve", file, *([] if what == "root" else ["--root", root]), *self.key(person))

    def order(self, out: str, *, station: str = "st-01", days: int = 9) -> Done:
        """An order for this station, over in so many days, written from TOML."""
        now = datetime.now(UTC)
        begins, ends = (f"{now + timedelta(days=each):%Y-%m-%dT%H:%M:%SZ}" for each in (-20, days))
        cloud, authority = (self._pem(purpose) for purpose in ("cloud-udp", "authority"))
        text = ORDER.format(
            begins=begins, ends=ends, station=station, cloud=cloud, authority=authority, firmware="ab" * 32
        )
        (self.place / f"{out}.toml").write_text(text)
        return self.signer("order", "new", "--from", f"{out}.toml", "--root", "root.json", "--out", out)

    def act(
        self, *what: str, by: tuple[str, ...] = ("ada", "ben"), out: str = "act.json", root: str = "root.json"
    ) -> None:
        """An act for the factory signer with these people's signatures, of officers and of others."""
        words = ["--root", root, "--signer", "st-01", "--reason", "suspected copy of it", "--out", out]
        self.good("act", "new", *words, *what)
        self.sign_regardless(out, *by)

    def sign_regardless(self, file: str, *who: str) -> None:
        """These people's signatures over the document in the file, whether they count or not."""
        keys = ((self.place / f"{person}.key", f"the passphrase of {person}") for person in who)
        sign_by_hand(self.place / file, *keys)

    def perform(self, file: str = "act.json", out: str = "end.json", root: str = "root.json") -> Done:
        """Have the factory signer do an act on a key."""
        return self.signer("act", "perform", file, "--dir", "factory", "--root", root, "--out", out)

    def make_root(self, out: str = "root.json", previous: str | None = None) -> str:
        """The next version, approved by both officers; its fingerprint."""
        since = [] if previous is None else ["--previous", previous]
        sha256 = self.good("root", "new", "--from", "root.toml", *since, "--out", out).strip()
        self.approve("root", out, "ada", "ben")
        return sha256

    def fingerprint(self, purpose: str, signer: str = "factory") -> str:
        """Of the signer's public key."""
        keys = json.loads((self.place / signer / "public.json").read_text())
        return hashlib.sha256(base64.b64decode(keys[purpose])).hexdigest()

    def _pem(self, purpose: str) -> str:
        """The cloud signer's public key."""
        keys = json.loads((self.place / "cloud" / "public.json").read_text())
        return PublicKey.from_der(base64.b64decode(keys[purpose])).to_pem()

    def serves(self, root: str) -> Done:
        """Start the factory signer with this root, and end it when it is ready."""
        command = [sys.executable, "-m", "hsm", "serve", "--dir", "factory", "--root", root]
        with warm.start(command, cwd=self.place, stderr=subprocess.PIPE) as process:
            assert process.stderr is not None
            said = ""
            for line in process.stderr:
                said += line
                if line.startswith("ready"):
                    process.terminate()
        return Done(process.returncode, "", said)


def at_work(place: Path, environment: str = "demo") -> People:
    """Everything new."""
    people = People(place)
    for role, name in (("factory", "st-01"), ("cloud", "reg-01")):
        people.good("init", "--dir", role, "--role", role, "--name", name, "--environment", environment)
    lines = [
        f'environment = "{environment}"', 'registry = "reg-01"', 'registry_url = "https://registry.example"',
        "soft_tokens = true", "[stations.st-01]", 'public = "factory/public.json"', "[registry_keys]",
        'public = "cloud/public.json"',
    ]  # fmt: skip
    for person, role in ROLES.items():
        secret = place / f"{person}.pp"
        secret.touch(0o600)
        secret.write_text(f"the passphrase of {person}")
        pem = people.good("approver", "new", "--out", f"{person}.key", "--secret", f"file:{secret}")
        (place / f"{person}.pem").write_text(pem)
        lines += [f"[approvers.{person}]", f'roles = ["{role}"]', f'keys = ["{person}.pem"]']
    (place / "root.toml").write_text("\n".join(lines) + "\n")
    return people
