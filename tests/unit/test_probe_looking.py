"""How often to look: finely at first, never without bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.probe import looking
from mailprobe.probe.backoff import Backoff
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
