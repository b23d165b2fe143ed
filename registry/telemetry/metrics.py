"""What the registry counts, for Prometheus. The one importer of `prometheus_client`.

Labels come from closed sets only: routes as they are declared, never a path as it came; methods, statuses and codes of
the API. No name of a device, station or person, and nothing that a client chose, ever becomes a label or a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from trust.codes import Code

CONTENT_TYPE = CONTENT_TYPE_LATEST
OTHER = "other"  # whatever is not declared
METHODS = ("GET", "PUT", "POST", "DELETE")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """One process's numbers. Safe to call from many threads."""

    def __init__(self, *, version: str, environment: str) -> None:
        self._all = CollectorRegistry()
        ProcessCollector(registry=self._all)
        told = ("route", "method")
        self._requests = Counter(
            "keystation_registry_requests", "Requests answered.", (*told, "status"), registry=self._all
        )
        self._seconds = Histogram(
            "keystation_registry_request_seconds", "From head to answer.", told, buckets=_SECONDS, registry=self._all
        )
        self._refusals = Counter("keystation_registry_refusals", "Refusals by code.", ("code",), registry=self._all)
        info = Info("keystation_registry", "What serves here.", registry=self._all)
        info.info({"version": version, "environment": environment})

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request to a declared route, or OTHER, was answered."""
        method = method if method in METHODS else OTHER
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route, method).observe(seconds)

    def refused(self, code: Code) -> None:
        """With this code."""
        self._refusals.labels(code.value).inc()

    def gauge(self, name: str, says: str, now: Callable[[], float]) -> None:
        """A number that is asked for whenever somebody looks."""
        Gauge(f"keystation_registry_{name}", says, registry=self._all).set_function(now)

    def names(self) -> Iterable[tuple[str, tuple[str, ...]]]:
        """Each sample's name and its label names: what a test holds against the rules above."""
        for family in self._all.collect():
            for sample in family.samples:
                yield sample.name, tuple(sample.labels)

    def text(self) -> bytes:
        """All of them as Prometheus reads them."""
        return generate_latest(self._all)
