"""A real registry process with its door open, one finished device, and people who sign in: for tools and commands."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pyotp

from registry.access.caller import Role
from registry.opening import open_database
from registry.people.accounts import CONSOLE
from registry.people.service import People
from registry.pins.proposals import Proposal, Proposals
from registry.pins.service import PinService
from registry.settings import Home
from tests import warm
from tests.registry.make import Device
from tests.registry.running import REPOSITORY, Plant, plant_at


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with an authenticator and a real clock."""

    user_id: str
    password: str
    secret: str

    def code(self) -> str:
        return pyotp.TOTP(self.secret).at(int(time.time()))


@dataclass(frozen=True, slots=True)
class DoorPlant:
    """What runs, and who may come."""

    plant: Plant
    device: Device

    @property
    def certificate(self) -> Path:
        return self.plant.directory / "tls.crt"

    def person(self, role: Role = Role.ENGINEER) -> Person:
        database = open_database(Home.load(self.plant.directory))
        try:
            made = People.over(database, "test").accounts.add(role, CONSOLE)
        finally:
            database.close()
        secret = parse_qs(urlsplit(made.enrolment).query)["secret"][0]
        return Person(made.user_id, made.password, secret)

    def proposals(self) -> tuple[Proposal, ...]:
        database = open_database(Home.load(self.plant.directory))
        try:
            return Proposals(database).about(self.device.device_id)
        finally:
            database.close()

    def station(self, config: Path, *arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
        """`station device propose` with the device of this plant, told these lines."""
        argv = [
            sys.executable, "-m", "station", "device", "propose", str(self.device.device_id), *arguments,
            "--url", self.plant.url, "--tls-root", str(self.certificate), "--config", str(config),
        ]  # fmt: skip
        return warm.run(argv, cwd=REPOSITORY, input=said, timeout=15)


@contextmanager
def open_plant(place: Path) -> Iterator[DoorPlant]:
    """Running; its one device has an active pin."""
    with plant_at(place) as plant:
        settings = plant.directory / "registry.toml"
        settings.write_text(settings.read_text().replace("particle_door = false", "particle_door = true"))
        device, made = Device(), plant.made
        database = open_database(Home.load(plant.directory))
        try:
            pins = PinService(database, made.trusted, made.signer())
            pin = made.pin(device)
            held = pins.pin(device.device_id, pin, made.order_envelope)
            pins.complete(device.device_id, made.completion(device, pin, held.pin.receipt))
        finally:
            database.close()
        plant.start()
        yield DoorPlant(plant, device)
        assert plant.end() == 0
