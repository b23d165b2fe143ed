"""Proposing a device's key to a cloud that speaks as Particle's does, and reading back what came of it.

No step of the flow: such a cloud gives no receipt and knows no completion, so nothing here makes a unit pass, and what
is told says so. Keeps no token; ends the one that it was given by signing in.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from station import config as settings
from station.cloud.particle import (
    ParticleCloud,
    ParticleRefusedError,
    ParticleUnreachableError,
    Proposal,
    SecondFactorWanted,
    Token,
)
from station.faults import fault
from trust.printable import printable

ReadBack = Literal["same", "not-shown"]
WITHOUT: Final = (
    "no receipt, no completion: this cloud gives none; nothing here says that the device is pinned for good"
)
NOT_SHOWN: Final = "this cloud does not show keys: only the device's next handshake with it tells which one it took"


class OutcomeUnknownError(Exception):
    """Nobody knows whether the key was taken; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the cloud says: its word for the key's state, and whether it was read back."""

    url: str
    device_id: str
    fingerprint: str
    state: str
    read_back: ReadBack

    @property
    def said(self) -> dict[str, str | None]:
        """As one record: what there is not stands in it, too."""
        return {
            "url": self.url, "device_id": self.device_id, "fingerprint": self.fingerprint, "state": self.state,
            "read_back": self.read_back, "receipt": None, "completion": None, "without": WITHOUT,
        }  # fmt: skip


@asynccontextmanager
async def opened(config_file: Path, url: str, tls_root: str | None) -> AsyncIterator[ParticleCloud]:
    """Such a cloud, by the settings' proxy and in their time. The fault `setup` for an address or root that is none."""
    config, _ = settings.load(config_file)
    proxy, timeout_s = config.registry.proxy or None, config.registry.timeout_s
    try:
        cloud = ParticleCloud(url, tls_root=tls_root, proxy=proxy, timeout_s=timeout_s)
    except ValueError as error:
        raise fault("setup", f"cloud {printable(url)}: {error}; correct --url, or --tls-root") from error
    try:
        yield cloud
    finally:
        await cloud.close()


@asynccontextmanager
async def signed_in(
    cloud: ParticleCloud, user: str, password: str, code: Callable[[], Awaitable[str]]
) -> AsyncIterator[Token]:
    """A token for the block, ended behind it. `code` is asked for the one-time code where one is wanted."""
    found = await cloud.log_in(user, password)
    token = await cloud.second_factor(found, await code()) if isinstance(found, SecondFactorWanted) else found
    try:
        yield token
    finally:
        with suppress(ParticleUnreachableError, ParticleRefusedError):  # it ends by itself, and the key was sent
            await cloud.log_out(token)


async def propose(cloud: ParticleCloud, proposal: Proposal, token: Token) -> Outcome:
    """Send the key, then look. ParticleRefusedError; OutcomeUnknownError, also when what is shown is not this key."""
    try:
        state: str | None = await cloud.propose(proposal, token)
    except ParticleUnreachableError as error:
        state = await _looked(cloud, proposal, token, error)
        return _outcome(cloud, proposal, state, "same")
    try:
        held = await cloud.held(proposal.device, token)
    except (ParticleUnreachableError, ParticleRefusedError) as error:
        raise OutcomeUnknownError(f"the key was sent and taken, and cannot be read back ({error}): {_AGAIN}") from error
    if not held.shown:
        return _outcome(cloud, proposal, state or "taken", "not-shown")
    told = held.state_of(proposal.key)
    if told is None:
        raise OutcomeUnknownError(f"the cloud says that it took the key, and does not show it among its keys: {_AGAIN}")
    return _outcome(cloud, proposal, told, "same")


_AGAIN: Final = "send it again, the same key again changes nothing; if it stays so, ask who runs that cloud"


async def _looked(cloud: ParticleCloud, proposal: Proposal, token: Token, error: Exception) -> str:
    """The key's state, by reading; OutcomeUnknownError if it cannot be read."""
    text = f"nobody knows whether the key was taken ({error}): {_AGAIN}"
    try:
        told = (await cloud.held(proposal.device, token)).state_of(proposal.key)
    except (ParticleUnreachableError, ParticleRefusedError):
        told = None
    if told is None:
        raise OutcomeUnknownError(text) from error
    return told


def _outcome(cloud: ParticleCloud, proposal: Proposal, state: str, read_back: ReadBack) -> Outcome:
    return Outcome(
        url=cloud.url, device_id=str(proposal.device), fingerprint=proposal.key.fingerprint, state=state,
        read_back=read_back,
    )  # fmt: skip
