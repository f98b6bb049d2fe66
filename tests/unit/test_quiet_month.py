"""A month in which nothing is wrong: deferrals, greylisting, jitter, hiccups, and not one incident."""

from __future__ import annotations

from collections import Counter

from support.simulations import Month

from mailprobe.model import RouteState


def test_a_quiet_month_has_no_incident() -> None:
    month = Month(seed=1)
    told = month.run()
    assert month.verdicts >= 30 * 1440 * 20 - 20
    assert month.deferrals > 0.005 * month.verdicts, "the month was not as quiet as that"
    assert told.opened == []
    assert month.states.incidents == ()
    entered = Counter(change.state for change in told.changes)
    assert entered[RouteState.FAILING] == 0
    assert entered[RouteState.UNKNOWN] == 0
    # partial trouble that really was there for a few minutes, on routes where one attempt in 200 fails
    assert entered[RouteState.DEGRADED] < 400
    assert all(month.states.of(f"route{number}", 30 * 86400.0) is not RouteState.UNKNOWN for number in range(20))
