"""The grid of a route: fixed, spread by name, without drift."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mailprobe.probe.grid import Grid, phase

INTERVALS = st.floats(0.1, 86400)


@given(st.text(max_size=20), st.text(max_size=20), INTERVALS)
def test_the_phase_lies_within_the_interval(agent, route, interval):
    assert 0 <= phase(agent, route, interval) < interval


def test_the_phase_is_the_same_in_every_process():
    assert round(phase("fra1", "inbound", 60), 6) == 26.962263


def test_phases_of_many_routes_are_spread():
    tenths = [int(phase("fra1", f"route-{n}", 10)) for n in range(1000)]
    assert min(tenths.count(tenth) for tenth in range(10)) > 60


@given(st.floats(0, 1e6), st.floats(1e9, 2e9), INTERVALS, st.floats(0, 0.999))
def test_the_first_slot_is_the_next_one_due(now, wall, interval, share):
    grid = Grid.beginning(now, wall, interval, share * interval)
    assert 0 <= grid.first - now < interval + 1e-6
    off = (wall + grid.first - now - share * interval) / interval
    assert abs(off - round(off)) * interval < 1e-4


def test_a_restarted_agent_goes_on_in_the_same_rhythm():
    before = Grid.beginning(50.0, 1_700_000_000.0, 60, 12.5)
    after = Grid.beginning(3.0, 1_700_000_100.0, 60, 12.5)
    wall_before = 1_700_000_000.0 + before.slot(10) - 50.0
    wall_after = 1_700_000_100.0 + after.slot(0) - 3.0
    assert (wall_after - wall_before) % 60 == 0


def test_slots_do_not_drift():
    grid = Grid(0.1, 0.1)
    assert grid.slot(10_000_000) == 0.1 + 10_000_000 * 0.1
    assert grid.number_at(grid.slot(10_000_000) + 0.05) == 10_000_000
    assert grid.number_at(0.0) == -1
