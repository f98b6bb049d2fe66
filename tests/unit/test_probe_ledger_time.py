"""When the ledger wants to be asked, and when it forgets."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.canaries import CANARY, GRACE, accept, attempt, kinds, seen, verdict_in

from mailprobe.errors import Reason, Stage
from mailprobe.events import CanaryForgotten, DuplicateSighted
from mailprobe.model import AttemptOutcome, Outcome, Scan
from mailprobe.probe.ledger import Ledger


@pytest.fixture
def ledger() -> Ledger:
    book = Ledger(GRACE)
    book.open(CANARY)
    return book


def test_next_due_leads_from_deadline_to_oblivion(ledger: Ledger) -> None:
    assert ledger.next_due() == 460.0
    accept(ledger)
    assert ledger.next_due() == 400.0, "a scan will be wanted"
    assert ledger.wanted_scans(400.0) == {"box"}
    assert ledger.next_due() == 460.0
    ledger.scanned(Scan("box", 400.0, 401.0))
    assert ledger.next_due() == 4000.0
    ledger.wanted_scans(4000.0)
    assert ledger.tick(4000.0) == ()
    assert ledger.next_due() == 4060.0
    ledger.sighted(seen(4001.0), 4001.0)
    assert kinds(ledger.tick(4060.0)) == [CanaryForgotten]
    assert ledger.next_due() is None


def test_a_delivered_canary_asks_for_nothing_until_it_is_forgotten(ledger: Ledger) -> None:
    accept(ledger)
    ledger.sighted(seen(), 104.0)
    assert ledger.next_due() == 1000.0
    assert ledger.tick(999.9) == ()
    assert kinds(ledger.sighted(seen(uid=8), 999.9)) == [DuplicateSighted]
    assert ledger.tick(1000.0) == (CanaryForgotten(CANARY, 1000.0),)
    assert ledger.canary("c") is None


def test_a_promise_shorter_than_the_time_for_duplicates_is_kept(ledger: Ledger) -> None:
    hasty = replace(CANARY, id="hasty", late_until=450.0)
    ledger.skip(hasty, 101.0, Reason.AGENT_LATE)
    ledger.tick(449.9)
    assert ledger.canary("hasty") == hasty
    ledger.tick(460.0)
    assert ledger.canary("hasty") is None


@pytest.mark.parametrize("dot", [None, 103.0])
def test_what_may_still_arrive_is_remembered_to_the_end(ledger: Ledger, dot: float | None) -> None:
    ledger.attempt_begun("c", 1, 101.0)
    if dot:
        ledger.dot_sent("c", 1, dot)
    ledger.attempt_ended("c", attempt(AttemptOutcome.DEFERRED, dot_sent=dot), None)
    for now in (460.0, 1000.0, 3999.9):
        ledger.tick(now)
    assert (ledger.canary("c") is None) == (dot is None), "a server may take what it says it did not"


@pytest.mark.parametrize(("full", "reason"), [(False, Reason.NOT_THERE), (True, Reason.QUOTA_EXCEEDED)])
def test_a_full_mailbox_is_why_it_is_overdue(ledger: Ledger, full: bool, reason: Reason) -> None:
    accept(ledger)
    verdict = verdict_in(ledger.scanned(Scan("box", 400.0, 401.0, full)))
    assert (verdict.outcome, verdict.stage, verdict.reason) == (Outcome.OVERDUE, Stage.TRANSIT, reason)
