"""All operations of the registry's HTTP API, a module a noun."""

from __future__ import annotations

from registry.routes import batch, health, leases, oauth, orders, pins, status
from registry.routes.route import Route

ROUTES: tuple[Route, ...] = (
    *pins.ROUTES, *batch.ROUTES, *leases.ROUTES, *orders.ROUTES, *status.ROUTES, *health.ROUTES,
    *oauth.ROUTES,
)  # fmt: skip
