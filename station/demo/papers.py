"""The demo's papers: keys of two people, trust root and orders, made and approved by the programs of a plant.

What two people do there, each with their own key, the demo does for both: its keys lie beside it, and are good for
environment `demo` only.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from station.demo import processes
from trust.keys import PublicKey

_PEOPLE = {"demo-owner": ("product-owner", "officer"), "demo-quality": ("quality", "officer")}
_ORDER_LASTS = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderSpec:
    """What one of the demo's orders is for. `meets`: its units complete a live handshake."""

    order_id: str
    product: str
    product_id: int
    udp: bool
    quantity: int
    firmware_sha256: str
    meets: bool = True


class Papers:
    """Makes papers below a plant's directory; a program's output goes to `log`."""

    def __init__(self, state: Path, station: str, environment: str, log: Path) -> None:
        self._state = state
        self._people = state / "people"
        self._station = station
        self._environment = environment
        self._log = log

    def make_root(self, root: Path, *, registry: str, url: str) -> None:
        """Keys of both people, and the trust root that they approve."""
        self._people.mkdir(mode=0o700)
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._make_person, _PEOPLE))
        text = [
            f'environment = "{self._environment}"', f'registry = "{registry}"', f'registry_url = "{url}"',
            'tls_root = "registry/tls.crt"', f"[stations.{self._station}]", 'public = "signer-factory/public.json"',
            "[registry_keys]", 'public = "signer-cloud/public.json"',
        ]  # fmt: skip
        for person, roles in _PEOPLE.items():
            text += [f"[approvers.{person}]", f"roles = {list(roles)}", f'keys = ["people/{person}.pem"]']
        source = self._state / "root.toml"
        source.write_text("\n".join(text) + "\n")
        draft = self._state / "root.draft"
        self._run("root", "new", "--from", str(source), "--out", str(draft))
        for person in _PEOPLE:
            self._run("root", "approve", str(draft), *self._key(person))
        draft.replace(root)  # whoever finds a root finds it approved

    def make_orders(self, root: Path, specs: Mapping[Path, OrderSpec]) -> None:
        """The orders that are not there yet, approved; each file appears when it is."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda each: self._make_order(root, *each), specs.items()))

    def public(self, role: str) -> dict[str, bytes]:
        """A signer's public keys by purpose."""
        keys = msgspec.json.decode((self._state / f"signer-{role}" / "public.json").read_bytes(), type=dict[str, str])
        return {purpose: base64.b64decode(spki) for purpose, spki in keys.items()}

    def _make_person(self, person: str) -> None:
        secret = self._people / f"{person}.passphrase"
        secret.touch(mode=0o600)
        secret.write_text(secrets.token_urlsafe(18))
        key = self._people / f"{person}.key"
        pem = processes.answer(
            [processes.script("station-signer"), "approver", "new", "--out", str(key), "--secret", f"file:{secret}"]
        )
        (self._people / f"{person}.pem").write_text(pem)

    def _make_order(self, root: Path, path: Path, spec: OrderSpec) -> None:
        if path.exists():
            return
        path.parent.mkdir(exist_ok=True)
        source, draft = path.with_suffix(".toml"), path.with_suffix(".draft")
        source.write_text(self.order_text(spec))
        draft.unlink(missing_ok=True)
        self._run("order", "new", "--from", str(source), "--root", str(root), "--out", str(draft))
        for person in _PEOPLE:
            self._run("order", "approve", str(draft), "--root", str(root), *self._key(person))
        draft.replace(path)

    def order_text(self, spec: OrderSpec) -> str:
        """The order as a product owner writes it."""
        cloud, now = self.public("cloud"), datetime.now(UTC)
        key = PublicKey.from_der(cloud["cloud-udp" if spec.udp else "cloud-tcp"]).to_pem()
        authority = PublicKey.from_der(cloud["authority"]).to_pem()
        service, allowance = "udp" if spec.udp else "tcp", max(1, spec.quantity // 10)
        return (
            f'order_id = "{spec.order_id}"\n'
            f'product = "{spec.product}"\n'
            f"product_id = {spec.product_id}\n"
            f'family = "smp"\n'
            f'key_type = "{"ec-p256" if spec.udp else "rsa-2048"}"\n'
            f'origins = ["generated"]\n'
            f"quantity = {spec.quantity}\n"
            f"allowance = {allowance}\n"
            f'not_before = "{now:%Y-%m-%dT%H:%M:%SZ}"\n'
            f'not_after = "{now + _ORDER_LASTS:%Y-%m-%dT%H:%M:%SZ}"\n'
            f'service = "{service}"\n'
            f'host = "{service}.devices.example"\n'
            f"port = {5684 if spec.udp else 5683}\n"
            f"handshakes = {[service] if spec.meets else []}\n"
            f'cloud_key = """\n{key}"""\n'
            f'authority_key = """\n{authority}"""\n'
            f'\n[[firmware]]\nsha256 = "{spec.firmware_sha256}"\n'
            f"\n[stations.{self._station}]\nquantity = {spec.quantity}\nallowance = {allowance}\n"
        )

    def _key(self, person: str) -> list[str]:
        key, secret = self._people / f"{person}.key", self._people / f"{person}.passphrase"
        return ["--key", str(key), "--secret", f"file:{secret}", "--yes"]

    def _run(self, *argv: str) -> None:
        processes.run([processes.script("station-signer"), *argv], self._log)
