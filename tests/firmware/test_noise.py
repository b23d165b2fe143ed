"""The start-up health tests of SP 800-90B: planted bad noise is caught, at the documented cut-offs and not before."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.firmware.machine import Device
from tests.firmware.signatures import EC, RSA, new_job, nonce_point, proof_message, verify
from tests.firmware.wire import PROVISION, RefusedError

RNG_FAILED = 7


def counting() -> bytearray:
    """Noise that passes both tests: no repetition, and no value more than twice in 512."""
    return bytearray(range(256)) * 64


def with_run(length: int) -> bytes:
    noise = counting()
    noise[100 : 100 + length] = bytes([7]) * length
    return bytes(noise)


def with_share(count: int) -> bytes:
    """The first sample of the second window comes `count` times in that window, never twice in a row."""
    noise = counting()
    positions = list(range(512, 1024, 2))[:count]
    for i in range(512, 1024):
        noise[i] = 200 if i in positions else 1 + i % 100
    return bytes(noise)


@pytest.mark.parametrize("noise", ["stuck", "bias"])
@pytest.mark.parametrize("alg", [EC, RSA])
def test_bad_noise_is_caught_and_no_key_is_made(start: Callable[..., Device], noise: str, alg: int) -> None:
    client = start("--noise", noise).client
    assert client.identify()["rng"] == 1
    with pytest.raises(RefusedError) as refusal:
        client.generate(alg, new_job())
    assert (refusal.value.group, refusal.value.rc) == (PROVISION, RNG_FAILED)
    assert client.identify()["key"] == 0


@pytest.mark.parametrize(
    ("noise", "verdict"),
    [(with_run(8), 0), (with_run(9), 1), (with_share(70), 0), (with_share(71), 1), (bytes(counting()), 0)],
    ids=["run of 8", "run of 9", "70 of 512", "71 of 512", "even"],
)
def test_the_cut_offs_are_exact(start: Callable[..., Device], tmp_path: Path, noise: bytes, verdict: int) -> None:
    path = tmp_path / "noise.bin"
    path.write_bytes(noise)
    assert start("--noise", str(path)).client.identify()["rng"] == verdict


def test_a_failure_lasts_until_the_next_start_only(start: Callable[..., Device]) -> None:
    bad = start("--noise", "stuck")
    for _ in range(3):
        assert bad.client.identify()["rng"] == 1
    bad.power_off()
    good = start()
    assert good.client.identify()["rng"] == 0
    good.client.make_key(EC, new_job())


def test_with_dead_noise_signatures_stay_safe(start: Callable[..., Device]) -> None:
    good = start()
    spki = good.client.make_key(EC, new_job())
    good.power_off()
    client = start("--noise", "stuck").client
    points = set()
    for context in ("pin", "verify", "third"):
        signature = client.prove(bytes(32), context)
        verify(spki, signature, proof_message(context, bytes(32)))
        points.add(nonce_point(signature))
    assert len(points) == 3, "two messages under one nonce give the key away"
