"""A map in threads is a map: in order, bounded, with its errors in place."""

import threading
import time

import pytest

from pipeline.engines.threads import in_threads


@pytest.mark.parametrize("num_threads", [1, 2, 5])
def test_results_come_in_order(num_threads):
    def slow_at_first(number):
        time.sleep(0.01 if number < 3 else 0)
        return number * number

    assert list(in_threads(slow_at_first, range(40), num_threads=num_threads)) == [n * n for n in range(40)]
    assert list(in_threads(slow_at_first, [], num_threads=num_threads)) == []


def test_work_is_done_elsewhere_and_side_by_side():
    together = threading.Barrier(2, timeout=10)
    owners = list(in_threads(lambda _: (together.wait(), threading.get_ident())[1], range(2), num_threads=2))
    assert threading.get_ident() not in owners
    assert len(set(owners)) == 2


def test_items_are_taken_only_so_far_ahead():
    taken = []
    items = (taken.append(number) or number for number in range(100))
    results = in_threads(lambda number: number, items, num_threads=2)
    next(results)
    assert len(taken) <= 8
    results.close()
    assert len(taken) <= 9


@pytest.mark.parametrize("num_threads", [1, 3])
def test_an_error_comes_in_the_place_of_its_result(num_threads):
    def invert(number):
        return 1 / number

    results = in_threads(invert, [4, 2, 0, 1], num_threads=num_threads)
    assert [next(results), next(results)] == [0.25, 0.5]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_an_error_of_the_iterator_is_passed_on():
    def items():
        yield 1
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        list(in_threads(lambda number: number, items(), num_threads=2))


def test_no_thread_is_left_behind():
    before = threading.active_count()
    results = in_threads(lambda number: number, range(100), num_threads=3)
    next(results)
    results.close()
    assert threading.active_count() == before
