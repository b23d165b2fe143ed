"""Every setting that the station's own account can reach, edited: no other cloud key comes into a device, no other receipt
is accepted. Either the edit is refused with a sentence, or the run is as it would have been.

The last test shows that the same is seen when a root that names another cloud key is approved by its officers and given to
signer and registry as well: then, and only then, the device gets that key.
"""

from __future__ import annotations

import base64
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from station.demo import processes
from station.exits import Exit
from tests.cli.commands import Done, station
from tests.cli.plant import running_site
from tests.cli.technician import Shift, rogue_proxy
from tests.registry.make import signed
from tests.trust.documents import ec_key, pem, spki
from tests.trust.people import Person, approved_by, approvers, file_of, people
from trust.dsse import Envelope
from trust.keys import PublicKey
from trust.order import WorkOrder
from trust.root_file import wrap
from trust.statement import Receipt, envelope, read

pytestmark = [pytest.mark.xdist_group("technician"), pytest.mark.timeout(90)]
DEVICES = 16
OWN_KEY = ec_key()
Edit = Callable[[Shift], Path | None]


@pytest.fixture(scope="module")
def shift() -> Iterator[Shift]:
    with tempfile.TemporaryDirectory(prefix="ks-") as name, running_site(Path(name), DEVICES) as site:
        yield Shift.begin(site)


def setting(old: str, new: str) -> Edit:
    return lambda shift: shift.setting(old, new)


def file(name: str, change: Callable[[bytes], bytes | None]) -> Edit:
    def edit(shift: Shift) -> None:
        shift.file(name, change)

    return edit


def variables(**values: str) -> Edit:
    return lambda shift: shift.environment.update(values)


def order(change: Callable[[Shift, Envelope], Envelope]) -> Edit:
    """The order's file, which lies where the station's user can write."""

    def edit(shift: Shift) -> Path:
        path = shift.site.directory / "edited-order.json"
        path.write_bytes(change(shift, Envelope.from_json(shift.order.read_bytes().strip())).to_json())
        return path

    return edit


def says(signed: bool = True, **changes: Any) -> Edit:
    """The order's body with other fields, its approvals kept or taken away."""

    def change(_: Shift, found: Envelope) -> Envelope:
        body = envelope(msgspec.structs.replace(read(found, WorkOrder), **changes))
        return msgspec.structs.replace(body, signatures=found.signatures if signed else ())

    return order(change)


def own_people(shift: Shift, found: Envelope) -> Envelope:
    who = people()
    body = msgspec.structs.replace(read(found, WorkOrder), cloud_key=spki(OWN_KEY))
    return approved_by(envelope(body), who["pia"], who["quinn"])


def own_root(shift: Shift) -> Path:
    """A root of the technician's own making, other officers, another cloud key, all else as it was; and an order."""
    who = people()
    keys = msgspec.structs.replace(shift.root.root.cloud_keys, device_service=(spki(OWN_KEY),))
    made = wrap(msgspec.structs.replace(shift.root.root, approvers=approvers(who.values()), cloud_keys=keys))
    shift.file("root.json", lambda _: file_of(approved_by(made, who["ada"], who["ben"])))
    return order_under(shift, made, who["pia"], who["quinn"])


def order_under(shift: Shift, root: Envelope, *by: Person) -> Path:
    path = shift.site.directory / "own-order.json"
    found = read(Envelope.from_json(shift.order.read_bytes().strip()), WorkOrder)
    body = msgspec.structs.replace(found, root_sha256=root.payload_sha256, cloud_key=spki(OWN_KEY), order_id="own")
    path.write_bytes(approved_by(envelope(body), *by).to_json())
    return path


def next_by_strangers(shift: Shift) -> None:
    """A second version after the right first one, by officers of nobody's choosing."""
    who = people()
    made = msgspec.structs.replace(
        shift.root.root, version=2, previous_sha256=shift.root.sha256, approvers=approvers(who.values())
    )
    line = approved_by(wrap(made), who["ada"], who["ben"])
    shift.file("root.json", lambda data: data.strip() + b"\n" + line.to_json() + b"\n")


def unsigned_root(shift: Shift) -> Path:
    """Environment `demo` takes a root without signatures: its signer has another."""
    keys = msgspec.structs.replace(shift.root.root.cloud_keys, device_service=(spki(OWN_KEY),))
    made = wrap(msgspec.structs.replace(shift.root.root, cloud_keys=keys))
    shift.file("root.json", lambda _: file_of(made))
    return order_under(shift, made)


def receipt_key(data: bytes) -> bytes:
    """The receipt key in the payload is the technician's; the approvals are those of before."""
    found = Envelope.from_json(data.strip())
    text = json.loads(found.payload)
    text["registry_keys"]["receipt"] = base64.b64encode(spki(OWN_KEY)).decode()
    payload = json.dumps(text, sort_keys=True, separators=(",", ":")).encode()
    return msgspec.structs.replace(found, payload=payload).to_json() + b"\n"


def proxied(shift: Shift) -> None:
    shift.setting('proxy = ""', f'proxy = "{shift.environment["ROGUE"]}"')


def none(_: bytes) -> None:
    """The file is gone."""


# What is edited, how, and the words of the refusal; None: the run is as it would have been.
SIGNER, SLOT = "signer-factory/run/signer.sock", 'name = "ec-'
EDITS: dict[str, tuple[Edit, str | None]] = {
    "station": (setting('name = "st-01"', 'name = "st-02"'), "station 'st-02' is not in the trust root"),
    "environment": (setting('environment = "demo"', 'environment = "plant-a"'), "settings say environment 'plant-a'"),
    "root: another file": (setting('root = "root.json"', 'root = "root.toml"'), "is TOML text; give a trust root"),
    "root: the technician's own": (own_root, "the signer serves st-01/demo under root"),
    "root: a version by strangers": (next_by_strangers, "is no approver's|approver's of this trust root|are wanted"),
    "root: unsigned": (unsigned_root, "the signer serves st-01/demo under root"),
    "root: another receipt key": (file("root.json", receipt_key), "not over this document"),
    "root: gone": (file("root.json", none), "No such file"),
    "root: cut short": (file("root.json", lambda data: data[: len(data) // 2]), "not a trust root"),
    "ledger: another place": (setting("station/ledger.db", "station/other.db"), "log|ledger"),
    "ledger: gone": (file("station/ledger.db", none), "log|ledger"),
    "ledger: no database": (file("station/ledger.db", lambda _: b"no database" * 100), "ledger.db"),
    "slots: another place": (setting('slots = "slots.toml"', 'slots = "none.toml"'), "No such file"),
    "slots: a port twice": (file("slots.toml", lambda data: re.sub(rb'port = "[^"]*"', b'port = "x"', data)), "given twice"),
    "slots: says no unit is emulated": (file("slots.toml", lambda data: data.replace(b"emulated = true", b"emulated = false")), None),
    "signer: another socket": (setting(SIGNER, "none.sock"), "signer"),
    "signer: the registry's": (setting(SIGNER, "signer-cloud/run/signer.sock"), "the signer serves registry-01/demo"),
    "limits": (setting("max_attempts = 10 ", "max_attempts = 1 "), None),
    "no patience": (setting("timeout_s = 10.0", "timeout_s = 9.0"), None),
    "disk reserve": (setting("disk_reserve_mb = 256", "disk_reserve_mb = 0"), None),
    "order: another cloud key": (says(cloud_key=spki(OWN_KEY)), "not over this document"),
    "order: another cloud key, approvals taken away": (says(False, cloud_key=spki(OWN_KEY)), "cloud key is none that"),
    "order: another authority key": (says(False, authority_key=spki(OWN_KEY)), "authority key is none that"),
    "order: another host": (says(host="own.example"), "not over this document"),
    "order: another host under a known id": (says(False, host="own.example"), "other bytes"),
    "order: approved by strangers": (order(own_people), "is no approver's"),
    "order: more units": (says(quantity=999_999), "allotted|not over this document"),
    "variables: proxies": (variables(HTTPS_PROXY="http://127.0.0.1:9", ALL_PROXY="http://127.0.0.1:9"), None),
    "variables: TLS roots": (variables(SSL_CERT_FILE="/dev/null", SSL_CERT_DIR="/", REQUESTS_CA_BUNDLE="/dev/null"), None),
    "variables: PKCS#11": (variables(SOFTHSM2_CONF="/dev/null", PKCS11_MODULE="/dev/null"), None),
}  # fmt: skip
AS_EVER = [name for name, (_, words) in EDITS.items() if words is None]


def as_ever(shift: Shift, slot: str) -> None:
    """The device has the root's cloud key, by its own report, and every receipt is the registry's."""
    (own,) = {PublicKey.from_der(key).fingerprint for key in shift.root.root.cloud_keys.device_service} & {
        shift.cloud_key(slot)
    }
    assert own == cloud_key_of(shift.order)
    assert shift.receipts(slot) == [None, None]


def cloud_key_of(path: Path) -> str:
    return read(Envelope.from_json(path.read_bytes().strip()), WorkOrder).cloud.fingerprint


def refused(done: Done, words: str) -> None:
    assert done.code not in {Exit.PASSED, Exit.INTERRUPTED}, done
    assert re.search(words, done.err + done.out), done
    assert "Traceback" not in done.err


def test_without_an_edit_the_device_gets_the_roots_cloud_key(shift: Shift) -> None:
    """Or nothing below would show anything."""
    slot = next(shift.slots)
    assert shift.cloud_key(slot) is None
    done = shift.run(slot)
    assert done.code == Exit.PASSED, done
    as_ever(shift, slot)


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_refused_or_changes_neither_key_nor_receipt(shift: Shift, name: str) -> None:
    edit, words = EDITS[name]
    slot = next(shift.slots) if words is None else shift.site.slots[-1]
    try:
        done = shift.run(slot, edit(shift))
    finally:
        shift.take_back()
    if words is None:
        assert done.code == Exit.PASSED, done
        as_ever(shift, slot)
    else:
        refused(done, words)
        assert (shift.cloud_key(slot), shift.receipts(slot)) == (None, [])


def test_a_proxy_that_answers_for_the_registry_is_no_registry(shift: Shift) -> None:
    """Its certificate is trusted by the account, its address stands in the settings: the root names another."""
    slot = next(shift.slots)
    with rogue_proxy(shift.site.directory) as (url, certificate):
        shift.environment.update(ROGUE=url, SSL_CERT_FILE=str(certificate))
        proxied(shift)
        try:
            done = shift.run(slot)
        finally:
            shift.take_back()
    assert done.code in {Exit.HELD, Exit.LINE_STOPPED, Exit.UNIT_FAILED}, done
    assert (shift.cloud_key(slot), shift.receipts(slot)) == (None, [])
    assert shift.run(slot).code == Exit.PASSED
    as_ever(shift, slot)


def test_a_receipt_that_was_put_into_the_ledger_is_not_believed(shift: Shift) -> None:
    """Made by the technician for a unit that has passed, in the place of the registry's: the next run compares them."""
    slot = shift.site.slots[0]
    right = shift.paper(slot, "pin-receipt")
    forged = signed(msgspec.structs.replace(read(right, Receipt), registered_at="2026-01-01T00:00:00Z"), OWN_KEY)
    shift.replace_leaf(right, forged)
    try:
        assert shift.receipts(slot)[0] is not None, "the edit did not arrive"
        refused(shift.run(slot), "registry|receipt")
        audited = station("ledger", "verify", "--config", shift.config)
        assert (audited.code, "receipt" in audited.out + audited.err) == (Exit.AUDIT_FAILED, True), audited
    finally:
        shift.replace_leaf(forged, right)
    as_ever(shift, slot)


def test_a_root_that_is_approved_and_planted_everywhere_does_change_the_key(shift: Shift) -> None:
    """The edit of an account that has the officers' keys, and those of signer and registry: this is what is not shown above."""
    site, people_ = shift.site, shift.site.parts.papers
    keys = json.loads((site.state / "signer-cloud" / "public.json").read_text())
    keys["cloud-udp"] = base64.b64encode(spki(OWN_KEY)).decode()
    (site.state / "other.json").write_text(json.dumps(keys))
    text = (site.state / "root.toml").read_text().replace("signer-cloud/public.json", "other.json")
    (site.state / "next.toml").write_text(text)
    draft, signer = site.state / "root.draft", processes.script("station-signer")
    log = site.state / "logs" / "next.log"
    words = ["--from", str(site.state / "next.toml"), "--previous", str(site.state / "root.json"), "--out", str(draft)]
    processes.run([signer, "root", "new", *words], log)
    for person in ("demo-owner", "demo-quality"):
        processes.run([signer, "root", "approve", str(draft), *people_._key(person)], log)
    draft.replace(site.state / "root.json")
    for part in ("registry", "signer-factory", "signer-cloud"):
        site.parts.stop(part)
    for part in ("signer-factory", "signer-cloud", "registry"):
        site.parts.start_again(part)
    source = re.sub(r'cloud_key = """.*?"""', f'cloud_key = """\n{pem(OWN_KEY)}"""', site.base_order, flags=re.DOTALL)
    changed = site.directory / "planted.toml"
    changed.write_text(source.replace('order_id = "demo-ec"', 'order_id = "planted"'))
    slot = next(shift.slots)
    done = shift.run(slot, changed)
    assert done.code == Exit.PASSED, done
    assert shift.cloud_key(slot) == PublicKey.from_der(spki(OWN_KEY)).fingerprint != cloud_key_of(shift.order)


def test_how_many_edits_there_are(record_property: Callable[[str, object], None]) -> None:
    told = f"{len(EDITS) + 2} edits by a technician: {len(AS_EVER)} change nothing, the others are refused"
    record_property("figures", f"{told}; other cloud keys in devices 0, other receipts accepted 0")
