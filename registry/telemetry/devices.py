"""What the device service counts, for Prometheus: handshakes by protocol, way in and how they ended, and what is open.

Labels come from closed sets of this program's own words. No device, station or address ever becomes one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Info, ProcessCollector, generate_latest


class DeviceMetrics:
    """One process's numbers. Safe to call from many threads."""

    def __init__(self, *, version: str, environment: str) -> None:
        self._all = CollectorRegistry()
        ProcessCollector(registry=self._all)
        self._handshakes = Counter(
            "keystation_devices_handshakes", "Handshakes, how they ended.", ("protocol", "way", "result"),
            registry=self._all,
        )  # fmt: skip
        self._limited = Counter(
            "keystation_devices_limited", "Turned away by a limit.", ("protocol", "limit"), registry=self._all
        )
        info = Info("keystation_devices", "What serves here.", registry=self._all)
        info.info({"version": version, "environment": environment})

    def handshake(self, protocol: str, way: str, result: str) -> None:
        """One more: `way` is relay or field."""
        self._handshakes.labels(protocol, way, result).inc()

    def limited(self, protocol: str, limit: str) -> None:
        """One more that a limit has turned away, before or during its handshake."""
        self._limited.labels(protocol, limit).inc()

    def gauge(self, name: str, says: str, now: Callable[[], float]) -> None:
        """A number that is asked for whenever somebody looks."""
        Gauge(f"keystation_devices_{name}", says, registry=self._all).set_function(now)

    def names(self) -> Iterable[tuple[str, tuple[str, ...]]]:
        """Each sample's name and its label names: what a test holds against the rules above."""
        for family in self._all.collect():
            for sample in family.samples:
                yield sample.name, tuple(sample.labels)

    def text(self) -> bytes:
        """All of them as Prometheus reads them."""
        return generate_latest(self._all)
