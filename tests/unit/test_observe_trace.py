"""A route's last hours: where canaries are counted, what is kept of them, and what is given up."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.observing import ROUTE, Watch

from mailprobe.events import RoutesChanged
from mailprobe.model import Outcome
from mailprobe.observe.trace import NARROWEST, SLOTS, WIDEST, Part, Trace

SEVEN_HOURS = SLOTS * WIDEST


def counted(trace: Trace, now: float) -> tuple[int, int]:
    parts = trace.parts(now)
    return sum(part.judged for part in parts), sum(part.affected for part in parts)


def test_a_canary_counts_in_the_slot_in_which_it_was_opened() -> None:
    trace = Trace(1000.0)
    trace.add(1000.0 + 3.5 * NARROWEST, 1000.0 + 4.5 * NARROWEST, 2.0, False)
    trace.add(1000.0 + 3.6 * NARROWEST, 1000.0 + 4.5 * NARROWEST, None, True)
    parts = trace.parts(1000.0 + 5 * NARROWEST)
    assert len(parts) == 6
    assert (parts[3].judged, parts[3].affected) == (2, 1)
    assert parts[3].slowest == pytest.approx(2.0, rel=0.03)
    assert all(part == Part() for number, part in enumerate(parts) if number != 3)


def test_the_slowest_of_a_slot_is_kept() -> None:
    trace = Trace(0.0)
    for seconds in (0.3, 400.0, 2.0, 1e9, 0.0):
        trace.add(1.0, 2.0, seconds if seconds < 1e6 else None, False)
    assert trace.parts(3.0)[0].slowest == pytest.approx(400.0, rel=0.03)


@pytest.mark.parametrize("seconds", [0.0, 0.0005, 0.01, 0.4, 59.0, 3600.0, 25_000.0])
def test_delays_are_kept_to_within_three_percent(seconds: float) -> None:
    trace = Trace(0.0)
    trace.add(0.0, 0.0, seconds, False)
    assert trace.parts(0.0)[0].slowest == pytest.approx(max(seconds, 0.01), rel=0.031)


def test_slots_grow_as_the_agent_does_and_nothing_is_lost_by_it() -> None:
    trace = Trace(0.0)
    for minute in range(int(SEVEN_HOURS // 60)):
        trace.add(minute * 60.0, minute * 60.0 + 5.0, 1.0, minute % 10 == 0)
    at = SEVEN_HOURS - 60.0
    assert counted(trace, at) == (409, 41)
    assert trace.since(at) == 0.0


def test_what_is_older_than_seven_hours_is_given_up() -> None:
    trace = Trace(0.0)
    trace.add(10.0, 11.0, 1.0, True)
    trace.add(SEVEN_HOURS, SEVEN_HOURS, 1.0, False)
    assert counted(trace, SEVEN_HOURS) == (1, 0)
    assert trace.since(SEVEN_HOURS) == WIDEST
    assert counted(trace, 3 * SEVEN_HOURS) == (0, 0)
    trace.add(20.0, 3 * SEVEN_HOURS, 1.0, True)  # its verdict came too late
    assert counted(trace, 3 * SEVEN_HOURS) == (0, 0)


def test_a_canary_of_an_earlier_process_is_no_part_of_it() -> None:
    trace = Trace(1000.0)
    trace.add(900.0, 1010.0, None, True)
    assert counted(trace, 1010.0) == (0, 0)


def test_of_many_in_one_slot_the_proportion_is_kept() -> None:
    trace = Trace(0.0)
    for number in range(4000):
        trace.add(1.0, 2.0, None, number % 4 == 0)
    part = trace.parts(3.0)[0]
    assert part.affected / part.judged == pytest.approx(0.25, abs=0.05)


@given(st.lists(st.tuples(st.floats(0, 2 * SEVEN_HOURS), st.floats(0, 3600), st.booleans()), max_size=60))
def test_whatever_comes_counts_at_most_once(canaries: list[tuple[float, float, bool]]) -> None:
    trace, now = Trace(0.0), 0.0
    for opened, took, affected in canaries:
        now = max(now, opened + took)
        trace.add(opened, now, took, affected)
    judged, bad = counted(trace, now)
    young = [each for each in canaries if each[0] >= trace.since(now)]
    assert judged == len(young)
    assert bad == sum(affected for _, _, affected in young)


def test_it_is_small() -> None:
    trace = Trace(0.0)
    assert sys.getsizeof(trace) + sys.getsizeof(trace._cells) < 300


# ---- in the history


def test_the_history_draws_what_says_something_of_the_mail() -> None:
    watch = Watch()
    assert watch.history.trace("inbound") is None
    watch.delivered(delivery=2.0)
    watch.failed()
    watch.failed(Outcome.UNOBSERVED)
    trace = watch.history.trace("inbound")
    assert trace
    assert counted(trace, watch.clock.now()) == (2, 1)
    watch.publish(RoutesChanged(removed=("inbound",)))
    assert watch.history.trace("inbound") is None


async def test_all_routes_have_the_same_slots() -> None:
    watch = Watch(ROUTE, ("second", "outside", "contoso", "mx"))
    watch.delivered()
    await watch.clock.advance(100.0)
    watch.delivered(route="second")
    now = watch.clock.now()
    first, second = watch.history.trace("inbound"), watch.history.trace("second")
    assert first
    assert second
    assert first.since(now) == second.since(now)
    assert [bool(part.judged) for part in second.parts(now)].index(True) > 0
