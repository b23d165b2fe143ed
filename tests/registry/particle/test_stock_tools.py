"""particle-cli and particle-api-js themselves, unmodified, at a real registry process over HTTPS.

Test oracles: fetched by npm into a directory of the test's own, by the machine's own settings, and never kept here.
`PARTICLE_TOOLS=DIR` names a directory in which `npm install` was done before.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.registry.make import PrivateKey, ec_key, public, rsa_key
from tests.registry.particle.plant import DoorPlant, Person, open_plant

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]
PACKAGES = ("particle-cli@3.43.1", "particle-api-js@12.0.3")
SCRIPT = """
const Particle = require('particle-api-js');
const [baseUrl, username, password, otp, deviceId, key, algorithm] = JSON.parse(process.argv[2]);
const api = new Particle({ baseUrl });
const told = [];
const note = (step) => (answer) => { told.push([step, answer.statusCode, answer.body]); return answer.body; };
(async () => {
    let wanted;
    try { await api.login({ username, password }); } catch (error) { wanted = error.body; }
    told.push(['login', 403, { error: wanted.error }]);
    const { access_token: auth } = note('otp')(await api.sendOtp({ mfaToken: wanted.mfa_token, otp }));
    try {
        note('key')(await api.sendPublicKey({ deviceId, key, algorithm, auth }));
    } catch (error) {
        told.push(['key', error.statusCode, error.body]);
    }
    note('logout')(await api.deleteCurrentAccessToken({ auth }));
    try { await api.deleteCurrentAccessToken({ auth }); } catch (error) { told.push(['again', error.statusCode, {}]); }
    console.log(JSON.stringify(told));
})();
"""


@dataclass(frozen=True, slots=True)
class Tools:
    """Where the tools are, and the plant that they are tried at."""

    directory: Path
    door: DoorPlant
    home: Path

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        env = {
            "PATH": os.environ["PATH"], "HOME": str(self.home), "PARTICLE_DISABLE_UPDATE": "1",
            "NODE_EXTRA_CA_CERTS": str(self.door.certificate), "NODE_PATH": str(self.directory / "node_modules"),
        }  # fmt: skip
        return subprocess.run(
            argv, cwd=self.home, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("node", str(self.directory / "node_modules/particle-cli/src/index.js"), *arguments)

    def key_file(self, key: PrivateKey) -> Path:
        """As the tool's own users keep it: the private key; it sends the public half."""
        path = self.home / "device.pem"
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
        return path

    def log_in(self, who: Person) -> subprocess.CompletedProcess[str]:
        profile = self.home / ".particle/particle.config.json"
        profile.parent.mkdir(exist_ok=True)
        profile.write_text(json.dumps({"apiUrl": self.door.plant.url}))
        return self.cli("login", "--username", who.user_id, "--password", who.password, "--otp", who.code())


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node.js and npm are not installed: Particle's own tools cannot be tried")
    ready = os.environ.get("PARTICLE_TOOLS")
    if ready:
        return Path(ready)
    made = tmp_path_factory.mktemp("particle-tools")
    (made / "package.json").write_text('{"private":true}')
    argv = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", *PACKAGES]
    done = subprocess.run(argv, cwd=made, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        pytest.skip(f"npm has no {' and '.join(PACKAGES)} for this machine: {done.stderr[-200:]}")
    return made


@pytest.fixture
def tools(directory: Path, tmp_path: Path) -> Iterator[Tools]:
    home = tmp_path / "home"
    home.mkdir()
    with open_plant(tmp_path) as door:
        yield Tools(directory, door, home)


def test_the_cli_logs_in_sends_a_key_and_logs_out(tools: Tools) -> None:
    new, device = ec_key(), str(tools.door.device.device_id)
    assert tools.log_in(tools.door.person()).returncode == 0
    sent = tools.cli("keys", "send", device, str(tools.key_file(new)), "--product_id", "12")
    assert sent.returncode == 0, sent
    assert "succeeded" in sent.stdout
    (proposal,) = tools.door.proposals()
    assert (proposal.key, proposal.source, "product 12" in proposal.reason) == (public(new), "particle", True)
    assert tools.cli("logout").returncode == 0
    again = tools.cli("keys", "send", device, str(tools.key_file(ec_key())))
    assert again.returncode != 0
    assert len(tools.door.proposals()) == 1


def test_the_cli_is_told_of_every_refusal(tools: Tools) -> None:
    """That version says `succeeded` to whatever is no JSON with an `error`."""
    device = str(tools.door.device.device_id)
    wrong = tools.log_in(Person("ab" * 16, "wrong", "JBSWY3DPEHPK3PXP" * 2))
    assert wrong.returncode != 0
    assert tools.log_in(tools.door.person()).returncode == 0
    for wanted, target, key in (
        ("Permission Denied", "0" * 23 + "1", ec_key()), ("Permission Denied", "my-photon", ec_key()),
        ("algorithm_mismatch", device, rsa_key()),
    ):  # fmt: skip
        sent = tools.cli("keys", "send", target, str(tools.key_file(key)))
        assert sent.returncode != 0, sent
        assert wanted in sent.stdout + sent.stderr
        assert "succeeded" not in sent.stdout
    assert tools.door.proposals() == ()


def test_the_javascript_client_does_the_same(tools: Tools) -> None:
    who, new = tools.door.person(), ec_key()
    script = tools.home / "client.js"
    script.write_text(SCRIPT)
    said = [
        tools.door.plant.url, who.user_id, who.password, who.code(), str(tools.door.device.device_id),
        public(new).to_pem(), "ecc",
    ]  # fmt: skip
    done = tools.run("node", str(script), json.dumps(said))
    assert done.returncode == 0, done
    told = {step: (status, body) for step, status, body in json.loads(done.stdout)}
    assert told["login"][1]["error"] == "mfa_required"
    assert told["otp"][1]["token_type"] == "bearer"
    assert (told["key"][0], told["key"][1]["state"]) == (202, "proposed")
    assert told["logout"] == (200, {"ok": True})
    assert told["again"][0] == 401
    assert [each.key for each in tools.door.proposals()] == [public(new)]
