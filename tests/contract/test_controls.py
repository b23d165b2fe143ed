"""Negative controls: a device with a planted fault must fail the contract's test for it."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fixtures.bench.boards import InProcessBoard
from fixtures.families.smp.emulated.faults import Faults, LockFault, Strike, Trouble, Verb
from tests.contract import test_contract as contract
from tests.contract.nests import Nest, bench_nest, memory_nest

pytestmark = pytest.mark.anyio

PLANTED = [
    (contract.test_a_lock_closes_writes_for_good, Faults(lock=LockFault.IGNORED)),
    (contract.test_a_lock_closes_writes_for_good, Faults(lock=LockFault.PRETENDED)),
    (contract.test_an_anchor_is_stored_as_it_was_written, Faults(anchor_corrupts=True)),
    (contract.test_a_power_cut_loses_what_was_not_in_flash_and_nothing_else, Faults(id_after_reboot=b"somebodyelse")),
    (contract.test_an_ec_key_is_made_and_proves_itself, Faults(generation_fails=True)),
    (contract.test_a_fresh_device_says_who_it_is_and_that_it_has_nothing, Faults(rng_stuck=True)),
    (
        contract.test_a_fresh_device_says_who_it_is_and_that_it_has_nothing,
        Faults(strikes=(Strike(Verb.PROVE, Trouble.REFUSED, code=4),)),
    ),
]


@contextlib.asynccontextmanager
async def faulty(kind: str, faults: Faults, directory: Path) -> AsyncIterator[Nest]:
    nest = memory_nest(directory, faults) if kind == "memory" else bench_nest(kind, InProcessBoard(faults), directory)
    async with nest as ready:
        yield ready


@pytest.mark.parametrize("kind", ["memory", "pty"])
@pytest.mark.parametrize(("contract_test", "faults"), PLANTED)
async def test_a_planted_fault_fails_the_contract(kind, contract_test, faults, short_dir) -> None:
    async with faulty(kind, faults, short_dir) as nest:
        device = await nest.slot.open()
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            await contract_test(nest, device)
        await device.close()
