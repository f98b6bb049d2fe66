"""How often to look: finely at first, never without bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.backoff import Backoff
from mailprobe.probe import looking
from mailprobe.probe.sweeper import BATCH, BUSY_PATIENCE, PATIENCE, Sweeper


@pytest.mark.parametrize(("waited", "pause"), [(0, 0.005), (0.2, 0.005), (1, 0.02), (10, 0.2), (50, 1.0), (1e6, 1.0)])
def test_the_pause_is_a_small_share_of_what_was_waited(waited, pause):
    assert looking.pause_after(waited) == pytest.approx(pause)


@given(st.lists(st.floats(0, 3600), min_size=1))
def test_the_usual_delay_is_never_below_the_last_and_never_above_the_worst(transits):
    usual = looking.UsualTransit()
    for transit in transits:
        usual.took(transit)
        assert transit <= usual.seconds <= max(transits) + 1e-9
    assert looking.LEAST_WINDOW <= looking.active_window(usual.seconds) <= looking.MOST_WINDOW


def test_back_off_doubles_up_to_its_cap_and_begins_anew_after_success():
    backoff = Backoff(1.0, 60.0, seed=1)
    pauses = [backoff.pause() for _ in range(10)]
    assert all(2**n / 2 <= pause <= 2**n for n, pause in enumerate(pauses[:6]))
    assert all(30 <= pause <= 60 for pause in pauses[6:])
    assert len(set(pauses)) == 10
    backoff.reset()
    assert backoff.pause() <= 1.0


def test_the_sweeper_waits_for_company_but_not_long():
    sweeper = Sweeper()
    assert not sweeper.due(1e9)
    sweeper.add(("INBOX", 1, 7), now=10.0)
    assert not sweeper.due(10.5)
    assert sweeper.due(10.0 + PATIENCE)
    assert not sweeper.due(10.0 + PATIENCE, busy=True)
    assert sweeper.due(10.0 + BUSY_PATIENCE, busy=True)
    sweeper.removed(sweeper.batch(), 11.0)
    assert len(sweeper) == 0


def test_the_sweeper_works_in_batches_and_keeps_what_was_not_removed():
    sweeper = Sweeper()
    for uid in range(BATCH + 1):
        sweeper.add(("INBOX", 1, uid), now=10.0)
        sweeper.add(("INBOX", 1, uid), now=10.0)
    assert sweeper.due(10.0)
    assert len(sweeper.batch()) == BATCH
    sweeper.removed(sweeper.batch(), 11.0)
    assert sweeper.batch() == (("INBOX", 1, BATCH),)


@pytest.mark.parametrize(
    ("waited", "soonest", "pause"),
    [(0, 0.006, 0.005), (0, 0.02, 0.015), (0, 4, 0.25), (2.9, 4, 0.1), (3.1, 4, 0.062), (10, 4, 0.2), (50, 4, 1.0)],
)
def test_before_a_canary_can_be_there_it_is_looked_for_now_and_then(waited, soonest, pause):
    assert looking.pause_after(waited, soonest) == pytest.approx(pause)


@given(st.floats(0, 3600), st.floats(0, 3600))
def test_nothing_is_noticed_half_a_second_late_however_soon_others_came(waited, soonest):
    assert looking.pause_after(waited, soonest) <= max(looking.LONGEST_EARLY_PAUSE, looking.pause_after(waited)) < 1.01
    if waited <= 0.25 / looking.PAUSE_SHARE:
        assert looking.pause_after(waited, soonest) <= 0.25


def look_for(awaited, arrives, *, canary="1", route="r"):
    """The looks for one canary that leaves at 0, each taking no time, until the one that finds it."""
    awaited.departed(canary, route, 0.0)
    looks = [-1.0]
    while looks[-1] < arrives:
        looks.append(awaited.look_due(looks[-1], looks[-1], 30.0))
    awaited.seen(canary, looks[-1])
    return looks[1:]


def test_a_route_is_looked_for_when_its_canaries_usually_come():
    awaited = looking.Awaited()
    first, second = (look_for(awaited, 3.0) for _ in range(2))
    assert len(second) < len(first) / 4
    assert all(looks[-1] <= 3.0 * 1.03 for looks in (first, second))
    early = look_for(awaited, 0.02)
    assert early[-1] <= 0.02 + looking.LONGEST_EARLY_PAUSE
    assert look_for(awaited, 0.02)[-1] < 0.25, "what is usual sinks at once"
    assert look_for(awaited, 0.02, route="another")[-1] <= 0.026


def test_the_first_of_several_to_be_due_is_looked_for():
    awaited = looking.Awaited()
    look_for(awaited, 4.0)
    awaited.departed("slow", "r", 10.0)
    assert awaited.look_due(9.0, 9.0, 30.0) == pytest.approx(10.25)
    awaited.departed("fast", "another", 10.1)
    assert awaited.look_due(9.0, 9.0, 30.0) == pytest.approx(10.105)
    assert awaited.look_due(10.105, 10.107, 30.0) == pytest.approx(10.112), "a pause begins when a look has ended"
    awaited.seen("fast", 10.112)
    assert awaited.look_due(10.112, 10.112, 30.0) == pytest.approx(10.362)
    assert awaited.look_due(41.0, 41.0, 30.0) is None


def test_no_more_are_looked_for_actively_than_is_of_use():
    awaited = looking.Awaited()
    for number in range(10_000):
        awaited.departed(str(number), f"route-{number}", float(number))
    assert len(awaited._departed) == looking.MOST_AWAITED
    assert awaited.look_due(9_999.5, 9_999.5, 1e9) == pytest.approx(9_999.51)
