"""Which process sees which samples: each once in an epoch, in an order that nothing but (seed, epoch) decides."""

from __future__ import annotations

from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manypose.errors import DataError
from manypose.training import loaders
from manypose.training.loaders import SampleStream

pytestmark = pytest.mark.train


def streams(count: int, *, processes: int, batch_size: int, first: int, batches: int, seed: int = 3) -> list[list[int]]:
    """The numbers that each process sees."""
    found = []
    for rank in range(processes):
        with mock.patch.object(loaders, "rank_of_all", return_value=(rank, processes)):
            found.append(list(SampleStream(count, seed=seed, batch_size=batch_size, first=first, batches=batches)))
    return found


def steps(of_processes: list[list[int]], *, batch_size: int, accumulate: int) -> list[set[int]]:
    """The numbers that make up each step of the optimiser, over all processes."""
    size = batch_size * accumulate
    length = len(of_processes[0])
    return [{n for numbers in of_processes for n in numbers[at : at + size]} for at in range(0, length, size)]


COUNTS = {
    "count": st.integers(1, 40),
    "processes": st.integers(1, 5),
    "batch_size": st.integers(1, 6),
    "accumulate": st.integers(1, 3),
    "first_step": st.integers(0, 30),
    "more": st.integers(1, 12),
}


@given(**COUNTS)
def test_all_processes_together_see_each_sample_of_an_epoch_once(
    count: int, processes: int, batch_size: int, accumulate: int, first_step: int, more: int
) -> None:
    step = processes * batch_size * accumulate
    seen = streams(
        count, processes=processes, batch_size=batch_size, first=first_step * step, batches=more * accumulate
    )
    assert [len(numbers) for numbers in seen] == [more * accumulate * batch_size] * processes
    numbers = sorted(n for of_one in seen for n in of_one)
    assert len(set(numbers)) == len(numbers)
    begin, end = first_step * step, (first_step + more) * step
    for epoch in range(-(-begin // count), end // count):  # those that lie within
        assert numbers[numbers.index(epoch * count) :][:count] == list(range(epoch * count, (epoch + 1) * count))
    assert all(begin // count <= n // count <= (end - 1) // count for n in numbers)


@given(**COUNTS)
def test_a_step_has_the_same_samples_however_it_is_divided(
    count: int, processes: int, batch_size: int, accumulate: int, first_step: int, more: int
) -> None:
    step = processes * batch_size * accumulate
    divided = streams(
        count, processes=processes, batch_size=batch_size, first=first_step * step, batches=more * accumulate
    )
    alone = streams(count, processes=1, batch_size=step, first=first_step * step, batches=more)
    assert steps(divided, batch_size=batch_size, accumulate=accumulate) == steps(alone, batch_size=step, accumulate=1)


@given(**COUNTS)
def test_what_goes_on_sees_what_was_left(
    count: int, processes: int, batch_size: int, accumulate: int, first_step: int, more: int
) -> None:
    step = processes * batch_size * accumulate
    given = {"processes": processes, "batch_size": batch_size}
    whole = streams(count, first=0, batches=(first_step + more) * accumulate, **given)
    rest = streams(count, first=first_step * step, batches=more * accumulate, **given)
    assert [numbers[first_step * batch_size * accumulate :] for numbers in whole] == rest


def test_each_epoch_has_an_order_of_its_own_and_so_has_each_seed() -> None:
    (numbers,) = streams(50, processes=1, batch_size=10, first=0, batches=10)
    first, second = ([n % 50 for n in part] for part in (numbers[:50], numbers[50:]))
    assert first != second
    assert sorted(first) == sorted(second) == list(range(50))
    assert streams(50, processes=1, batch_size=10, first=0, batches=10, seed=4) != [numbers]
    assert streams(50, processes=1, batch_size=10, first=0, batches=10) == [numbers]


def test_nothing_to_see_is_refused() -> None:
    with pytest.raises(DataError, match="no samples to train on"):
        SampleStream(0, seed=0, batch_size=1, first=0, batches=1)
