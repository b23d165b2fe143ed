"""Faults of a PKCS#11 token, drawn at random and injected while a batch runs. Says which ones struck."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from tests.faults.token_plant import SignerProcess
from tests.hsm.shim.trials import RESULTS

_OPENING: Final = (
    "C_GetSlotList", "C_GetTokenInfo", "C_OpenSession", "C_Login", "C_FindObjectsInit", "C_FindObjects",
    "C_FindObjectsFinal", "C_GetAttributeValue",
)  # fmt: skip
_LOOK_S, _LOOKS = 0.002, 1500
_ROUND, _FIXED = 250, {10: "pin", 25: "killed", 40: "removed"}  # so that a short campaign has them, too
_PIN_RESULTS = ("PIN_INCORRECT", "PIN_LOCKED")


@dataclass(slots=True)
class Trouble:
    """Draws and injects; `wanted` is how many faults are still to strike."""

    signer: SignerProcess
    wanted: int
    seed: int
    struck: Counter[str] = field(default_factory=Counter)
    pins_refused: int = 0
    pin_is_out: bool = False  # set when that fault is wholly in place: cured before, it would come back uncured
    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)
    _dice: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    async def run(self) -> None:
        """Inject until enough have struck; after a PIN fault, which ends the batch, not before somebody has cured it."""
        self.may_go_on.set()
        kinds: dict[str, tuple[int, Callable[[], Awaitable[bool]]]] = {
            "sign": (300, lambda: self._strike("C_Sign", rv=self._rv(), when=self._when())),
            "init": (200, lambda: self._strike("C_SignInit", rv=self._rv(), when=self._when())),
            "dropped": (120, lambda: self._strike("C_Sign", drops=True, when=self._when(), rv=self._dice.choice(["", self._rv()]))),
            "opening": (260, self._while_opening),
            "slow": (80, lambda: self._strike("C_Sign", delay_ms=self._dice.randint(5, 60))),
            "very slow": (3, lambda: self._strike("C_Sign", delay_ms=2500)),
            "removed": (40, self._removed),
            "killed": (12, self._killed),
            "pin": (5, self._pin_refused),
        }  # fmt: skip
        names, weights = list(kinds), [weight for weight, _ in kinds.values()]
        while self.wanted > 0:
            await self.may_go_on.wait()
            (name,) = self._dice.choices(names, weights)
            name = _FIXED.get(self.struck.total() % _ROUND, name)
            if await kinds[name][1]():
                self.struck[name] += 1
                self.wanted -= 1
            await asyncio.sleep(self._dice.random() * 0.02)

    async def _strike(self, call: str, **fault: Any) -> bool:
        """Whether the fault has struck; one that met no call in time is taken back. Some calls before it go well."""
        shim = self.signer.shim
        before = shim.struck(call)
        shim.next(call, skip=self._dice.randint(0, 3) if call in {"C_Sign", "C_SignInit"} else 0, **fault)
        for _ in range(_LOOKS):
            await asyncio.sleep(_LOOK_S)
            if shim.struck(call) > before:
                return True
        shim.quiet()
        return False

    async def _while_opening(self) -> bool:
        self.signer.shim.next("C_SignInit", rv="SESSION_HANDLE_INVALID", drops=True)
        return await self._strike(self._dice.choice(_OPENING), rv=self._rv(), when=self._when())

    async def _removed(self) -> bool:
        struck = await self._strike("C_Sign", rv=self._rv(), when=self._when(), removes=True)
        await asyncio.sleep(self._dice.uniform(0.02, 0.4))
        self.signer.shim.put_back()
        return struck

    async def _killed(self) -> bool:
        self.signer.shim.delay("C_Sign", self._dice.randint(0, 20))
        await asyncio.sleep(self._dice.random() * 0.1)
        await self.signer.kill()
        self.signer.shim.quiet()
        assert await self.signer.start(), "\n".join(self.signer.said())[-2000:]
        return True

    async def _pin_refused(self) -> bool:
        """The session is lost, and the PIN with it: nearly locked, or refused. The batch cannot go on."""
        shim, struck = self.signer.shim, False
        self.may_go_on.clear()
        if self._dice.random() < 0.3:
            shim.show("USER_PIN_FINAL_TRY")
            await self._strike("C_SignInit", rv="SESSION_HANDLE_INVALID", drops=True)
            shim.show("USER_PIN_FINAL_TRY")  # met no call: the flag stays all the same, for the next start to see
            struck = True
        else:
            shim.next("C_SignInit", rv="SESSION_HANDLE_INVALID", drops=True)
            struck = await self._strike("C_Login", rv=self._dice.choice(_PIN_RESULTS), when=self._when())
            self.pins_refused += struck
        self.pin_is_out = struck
        if not struck:
            self.may_go_on.set()
        return struck

    def _rv(self) -> str:
        return self._dice.choice(RESULTS)

    def _when(self) -> str:
        return self._dice.choice(["before", "after"])
