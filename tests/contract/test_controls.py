"""Negative controls: a device with a planted fault must fail the contract's test for it."""

import contextlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from fixtures.bench.boards import InProcessBoard
from fixtures.families.smp.emulated.faults import Faults, LockFault, Strike, Trouble, Unchecked, Verb
from tests.contract import test_contract as contract
from tests.contract import test_rekey_contract as rekey
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
    (rekey.test_a_nonce_is_used_up_by_a_word_that_was_refused, Faults(unchecked=frozenset({Unchecked.NONCE}))),
    (rekey.test_a_word_dies_with_the_power, Faults(unchecked=frozenset({Unchecked.NONCE}))),
    *(
        (partial(rekey.test_no_other_word_changes_anything, word=word), Faults(unchecked=frozenset({unchecked})))
        for unchecked, word in (
            (Unchecked.NONCE, rekey.replayed),
            (Unchecked.NONCE, rekey.for_another_nonce),
            (Unchecked.DEVICE, rekey.for_another_device),
            (Unchecked.KEY, rekey.for_another_key),
            (Unchecked.SIGNATURE, rekey.of_another_authority),
            (Unchecked.SIGNATURE, rekey.with_one_bit_flipped),
        )
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
