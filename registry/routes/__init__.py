"""All operations of the registry's HTTP API, a module a noun."""

from __future__ import annotations

from registry.routes import (
    api_tokens,
    batch,
    devices,
    handshakes,
    health,
    leases,
    oauth,
    orders,
    pins,
    roster,
    sessions,
    status,
    users,
)
from registry.routes.route import Route

ROUTES: tuple[Route, ...] = (
    *pins.ROUTES, *batch.ROUTES, *devices.ROUTES, *handshakes.ROUTES, *leases.ROUTES, *orders.ROUTES,
    *status.ROUTES, *health.ROUTES, *oauth.ROUTES,
    *sessions.ROUTES, *api_tokens.ROUTES, *users.ROUTES, *roster.ROUTES,
)  # fmt: skip
