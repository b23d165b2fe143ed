"""The OpenAPI document is true with the Particle-compatible door open: requests made from it find no other answer."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.registry.fuzzing import Registry, campaign, opened, quick_place

PATHS = ("/v1/provisioning", "/v1/access_tokens", "/oauth/token")


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with quick_place() as place, opened(place, particle=True) as made:
        yield made


def require_true(registry: Registry, requests: int, seed: int = 0) -> None:
    for path in PATHS:
        found = campaign(registry, requests, seed=seed, only=path)
        assert found.problems == {}, json.dumps(found.problems, indent=1)
        assert found.requests > 0
        assert not [each for each in found.statuses if each[2] >= 500]


@pytest.mark.timeout(120)
def test_a_slice(registry: Registry) -> None:
    require_true(registry, 30)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_thousands_of_requests(registry: Registry) -> None:
    require_true(registry, 2_000, seed=1)
