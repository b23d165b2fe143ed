"""Plumbing that all tests share: short scratch directories, a token directory of each worker's own, the QEMU queue.

Must never hold a domain object: fixtures of a package live in that package's own `tests/<package>/conftest.py`.
"""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

pytest_plugins = ("tests.registry.postgres",)
_AT_THE_START = signal.getsignal(signal.SIGINT)
BOARD_TOOLS = ("qemu-system-arm", "arm-none-eabi-gcc")

# Two shared cores: a slow example is the machine's fault, and pytest-timeout already bounds each test.
settings.register_profile("keystation", deadline=None, database=None)
settings.load_profile("keystation")


@pytest.fixture(autouse=True)
def own_interrupt() -> Iterator[None]:
    """Ctrl-C is handled in each test as at the start: a program that was run inside this process leaves it to nobody."""
    signal.signal(signal.SIGINT, _AT_THE_START)
    yield
    signal.signal(signal.SIGINT, _AT_THE_START)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests marked `qemu` on one worker, one after the other; skip them, saying why, where there is no QEMU."""
    absent = [tool for tool in BOARD_TOOLS if shutil.which(tool) is None]
    for item in items:
        if item.get_closest_marker("qemu") is None:
            continue
        item.add_marker(pytest.mark.xdist_group("qemu"))
        if absent:
            item.add_marker(pytest.mark.skip(f"not installed: {', '.join(absent)}; see setup/packages-board.txt"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests counted, `record_property("figures", text)`, whichever worker ran them."""
    reports = [
        each for found in terminalreporter.stats.values() for each in found if getattr(each, "when", "") == "call"
    ]
    figures = sorted(str(text) for each in reports for name, text in each.user_properties if name == "figures")
    if figures:
        terminalreporter.section("figures")
        terminalreporter.write("".join(f"{line}\n" for line in figures))


@pytest.fixture(scope="session")
def worker_dir() -> Iterator[Path]:
    """A directory of this worker's own with a short path: UNIX socket names end at 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="ks-") as name:
        yield Path(name)


@pytest.fixture
def short_dir(worker_dir: Path) -> Iterator[Path]:
    """A new directory for one test, with a path short enough for UNIX sockets; gone afterwards."""
    name = tempfile.mkdtemp(dir=worker_dir)
    yield Path(name)
    shutil.rmtree(name, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def token_directory(worker_dir: Path) -> Iterator[Path]:
    """SoftHSM's token directory of this worker; child processes inherit it, the account's own tokens are never seen."""
    tokens = worker_dir / "tokens"
    tokens.mkdir(mode=0o700)
    conf = worker_dir / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(conf)
    yield tokens
    if before is None:
        del os.environ["SOFTHSM2_CONF"]
    else:
        os.environ["SOFTHSM2_CONF"] = before
