"""The unit under a real systemd, installed by the very commands of docs/deployment.md.

systemd is the first process of namespaces of its own, over a copy of this machine (systemd_box.sh). Where systemd is the
machine's first process already, nothing is tried: a second one beside it would share its control groups.
"""

from __future__ import annotations

import re
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.docs.pages import page, section
from tests.hsm import own_users
from tests.hsm.own_users import REPOSITORY

BOX = Path(__file__).with_name("systemd_box.sh")
HOME = Path("/usr") if sys.base_prefix == "/usr" else Path("/usr/lib/keystation/python")
PYTHON = HOME / "bin" / f"python3.{sys.version_info.minor}"
PROGRAM = f"""#!{PYTHON}
import sys
sys.path[:0] = ["/usr/lib/keystation/clone", "/usr/lib/keystation/venv/lib/python3.{sys.version_info.minor}/site-packages"]
from hsm.cli import main
main()
"""
ROOT = """
import sys
sys.path[:0] = ["/usr/lib/keystation/clone", "/usr/lib/keystation/venv/lib/python3.{minor}/site-packages"]
from pathlib import Path
from tests.hsm.test_service import public, write_root
keys = public(Path("/var/lib/keystation/factory"))
write_root(Path("root.json"), keys)
"""
PROBE = """
import errno, os, socket, sys
def outcome(work):
    try:
        work()
    except OSError as error:
        return errno.errorcode.get(error.errno, repr(error))
    return "done"
for name in ("token", "other"):
    print(name, outcome(lambda: os.open(f"/dev/{name}", os.O_RDWR)), file=sys.stderr)
for address in ("127.0.0.2", "127.0.0.1"):
    print(address, outcome(lambda: socket.create_connection((address, 9), timeout=1)), file=sys.stderr)
"""
LOOPBACK_UP = (
    "import fcntl, socket, struct; "
    "fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh14x', b'lo', 0x41))"  # SIOCSIFFLAGS: up, running
)


def typed() -> str:
    """The shell blocks of the section on the service, one after the other."""
    text = section(page("docs/deployment.md"), "## Installing the signer as a service")
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    user, directory, credential, unit = blocks
    by_hand = f"""
        sed -i "s/^allowed_uids.*/allowed_uids = [$(id -u station)]/; s/^user_pin.*/user_pin = 'cred:user-pin'/" \\
            /var/lib/keystation/factory/signer.toml
        cd /tmp; {PYTHON} /box/root.py; chmod 644 root.json
    """
    return f"{user}\n{directory}\n{by_hand}\n{credential}\n{unit}"


def steps(*, may_lock: bool) -> str:
    lock = "CapabilityBoundingSet=CAP_IPC_LOCK\nAmbientCapabilities=CAP_IPC_LOCK\n" if not may_lock else ""
    place = "--dir /var/lib/keystation/factory --root /etc/keystation/root.json"
    probe = f"[Service]\nType=oneshot\nRestart=no\nExecStart=\nExecStart={PYTHON} /box/probe.py\n"
    drop_in = "/etc/systemd/system/station-signer-$name.service.d"
    return f"""
        export PATH="$PATH:{HOME}/bin"
        install -m 755 /box/station-signer {HOME}/bin/station-signer
        {PYTHON} -c {shlex.quote(LOOPBACK_UP)}
        useradd --system --user-group --no-create-home station
        name= ; mkdir -p {drop_in}
        printf %s {shlex.quote(f"[Service]{chr(10)}{lock}StandardError=append:/box/signer{chr(10)}")} >{drop_in}/box.conf
        {typed()}
        await_starts() {{ for i in $(seq 100); do [ "$(grep -c ready /box/signer)" = $1 ] && break; sleep 0.1; done; }}
        await_starts 1
        runuser -u station -- station-signer status --dir /var/lib/keystation/factory
        pid=$(systemctl show -p MainPID --value station-signer-factory)
        grep -E 'Seccomp:|NoNewPrivs' /proc/$pid/status
        for secret in /run/credentials/station-signer-factory.service/user-pin /var/lib/keystation/factory/so-pin; do
            runuser -u station -- cat $secret || echo closed to the station
        done
        kill -SEGV $pid
        await_starts 2
        systemctl show -p NRestarts -p ActiveState station-signer-factory
        for name in usb network; do
            mkdir {drop_in}
            printf %s {shlex.quote(probe)}"StandardError=append:/box/$name\n" >{drop_in}/box.conf
        done
        station-signer unit {place} --profile usb --device /dev/token >/etc/systemd/system/station-signer-usb.service
        station-signer unit {place} --profile network --address 127.0.0.2 \\
            >/etc/systemd/system/station-signer-network.service
        systemctl daemon-reload
        systemctl start station-signer-usb station-signer-network
        systemctl stop station-signer-factory
        systemctl show -p Result station-signer-factory
        printf wrong | systemd-creds encrypt --name=user-pin - /etc/credstore.encrypted/station-signer-factory.user-pin
        systemctl start station-signer-factory
        for i in $(seq 100); do systemctl --quiet is-active station-signer-factory || break; sleep 0.1; done
        sleep 3
        systemctl show -p NRestarts -p ExecMainStatus -p ActiveState station-signer-factory
        echo all steps done
    """


def may_raise_limits() -> bool:
    _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return hard == resource.RLIM_INFINITY or bool(int(own_users.effective(), 16) & 1 << 24)


@pytest.fixture
def control_group() -> Iterator[Path]:
    """A control group for the box alone, gone afterwards."""
    own_users.require_users()
    for name, number in (("CAP_SYS_ADMIN", 21), ("CAP_IPC_LOCK", 14), ("CAP_MKNOD", 27)):
        own_users.require_capability(name, number)
    if Path("/run/systemd/system").exists():
        pytest.skip("systemd runs this machine: install the unit and look")
    if not Path("/lib/systemd/systemd").exists() or shutil.which("script") is None:
        pytest.skip("systemd is not installed: see setup/packages-base.txt")
    tops = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if line.split()[2] == "cgroup2"]
    if not tops:
        pytest.skip("no control groups of version 2 are mounted")
    group = Path(tempfile.mkdtemp(prefix="ks-", dir=tops[0]))
    yield group
    for _ in range(50):
        left = [group, *(each for each in group.rglob("*") if each.is_dir())]
        with suppress(OSError):  # what ran in it has not gone yet
            for each in reversed(left):
                each.rmdir()
        if not group.exists():
            break
        time.sleep(0.1)


@pytest.fixture
def box() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ks-box-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def run(box: Path, group: Path) -> str:
    unshared = [
        "unshare",
        "-m",
        "-p",
        "-f",
        "-C",
        "-u",
        "-i",
        "-n",
        "--kill-child",
        "sh",
        BOX,
        box,
        sys.base_prefix,
        sys.prefix,
        REPOSITORY,
    ]
    script = ["script", "--quiet", "--return", "--command", shlex.join(map(str, unshared)), str(box / "console")]
    join = f"echo $$ >{shlex.quote(str(group))}/cgroup.procs; exec timeout --kill-after=2 50 {shlex.join(script)}"
    subprocess.run(["sh", "-c", join], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=55, check=False)
    said = box / "said"
    return said.read_text() if said.exists() else (box / "console").read_text(errors="replace")[-4000:]


@pytest.mark.timeout(90)
def test_the_documented_unit_runs_under_systemd(box: Path, control_group: Path, record_property) -> None:
    (box / "station-signer").write_text(PROGRAM)
    (box / "root.py").write_text(ROOT.replace("{minor}", str(sys.version_info.minor)))
    (box / "probe.py").write_text(PROBE)
    (box / "steps").write_text(steps(may_lock=may_raise_limits()))
    said = run(box, control_group)
    signer = (box / "signer").read_text() if (box / "signer").exists() else ""
    probes = "".join((box / name).read_text() for name in ("usb", "network") if (box / name).exists())
    assert said.endswith("all steps done\n"), f"{said}\n{signer}\n{probes}"
    for line in (
        "SAFE", "role         factory", "NoNewPrivs:\t1", "Seccomp:\t2",
        *(f"protection   {name:<17} holds" for name in ("no-core-files", "not-dumpable", "memory-locked", "no-new-privileges")),
        "NRestarts=1\nActiveState=active", "Result=success",
    ):  # fmt: skip
        assert line in said, line
    assert said.count("closed to the station") == 2
    assert "NRestarts=0\nExecMainStatus=2\nActiveState=failed" in ordered(said), said  # a wrong PIN is tried once
    assert signer.count("ready: factory signer ") == 2
    assert (box / "usb").read_text() == "token ENXIO\nother EPERM\n127.0.0.2 EAFNOSUPPORT\n127.0.0.1 EAFNOSUPPORT\n"
    silence = (
        (box / "network").read_text().removeprefix("token ENOENT\nother ENOENT\n127.0.0.2 ECONNREFUSED\n127.0.0.1 ")
    )
    assert silence in {"TimeoutError('timed out')\n", "EPERM\n"}
    record_property("figures", "signer's unit: installed as documented and run by systemd")


def ordered(said: str) -> str:
    """The last properties shown, in the order asked for."""
    values = dict(line.split("=") for line in said.splitlines()[-4:-1])
    return "\n".join(f"{name}={values[name]}" for name in ("NRestarts", "ExecMainStatus", "ActiveState"))
