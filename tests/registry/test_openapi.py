"""The OpenAPI document is true: Schemathesis finds no 5xx and no answer that the document does not know."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.registry.fuzzing import Found, Registry, campaign, opened, quick_place


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with quick_place() as place, opened(place) as made:
        yield made


def require_true(found: Found) -> None:
    assert found.problems == {}, json.dumps(found.problems, indent=1)
    assert not [each for each in found.statuses if each[2] >= 500]


@pytest.mark.timeout(120)
def test_a_slice(registry: Registry) -> None:
    found = campaign(registry, 150)
    require_true(found)
    assert found.requests >= 150


@pytest.mark.soak
def test_twenty_thousand_requests(registry: Registry) -> None:
    found = campaign(registry, 20_000, seed=1)
    print(found.requests, sorted(found.statuses.items()))
    require_true(found)
    assert found.requests >= 20_000


def planted(app: ASGIApp, path: str, answer: Response) -> ASGIApp:
    async def whole(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(path):
            await answer(scope, receive, send)
        else:
            await app(scope, receive, send)

    return whole


JSON = "application/json"
PLANTS = {
    "a bug": (Response(b'{"error":{"code":"internal","message":"x","stored":null}}', 500, media_type=JSON), "500"),
    "an entry less": (Response(b'{"registry":"r"}', 200, media_type=JSON), "JsonSchemaError"),
    "an entry of another kind": (Response(b'{"status":7}', 200, media_type=JSON), "JsonSchemaError"),
    "another status": (Response(b"{}", 418, media_type=JSON), "UndefinedStatusCode"),
    "another content type": (Response(b"{}", 200, media_type="text/html"), "UndefinedContentType"),
    "no content type": (Response(b"{}", 200), "MissingContentType"),
    "429 without its header": (
        Response(b'{"error":{"code":"too-many-requests","message":"x","stored":null}}', 429, media_type=JSON),
        "MissingHeaders",
    ),
}  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("what", PLANTS)
def test_control_an_answer_that_is_not_true_is_found(what: str, registry: Registry) -> None:
    answer, kind = PLANTS[what]
    for path in ("/v1/status", "/livez"):
        found = campaign(Registry(planted(registry.app, path, answer), registry.made), 1, only=path)
        assert [each for each in found.problems if path in each and kind in each], found.problems
