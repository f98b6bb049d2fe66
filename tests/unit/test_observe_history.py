"""What is remembered of canaries, for how long, and in how much memory."""

from __future__ import annotations

import pytest
from support.observing import ROUTE, Watch, a_sighting

from mailprobe.events import ArrivedLate, BounceReceived, CanaryLost, CanaryOpened, CanarySighted, RoutesChanged
from mailprobe.model import Bounce, Outcome, TranscriptLine
from mailprobe.observe import history as module
from mailprobe.observe.history import Record


def test_a_canary_from_the_first_moment_to_the_last() -> None:
    watch = Watch()
    canary = watch.canary()
    assert watch.history.get(canary.id) is None
    watch.publish(CanaryOpened(canary))
    assert watch.history[canary.id] == Record(canary)
    assert watch.history.in_flight() == (Record(canary),)
    attempt = watch.attempted(canary)
    watch.publish(CanarySighted(canary, a_sighting(canary, 1001.0)))
    watch.judged(canary)
    record = watch.history[canary.id]
    assert record.attempts == (attempt,)
    assert record.sighting is not None
    assert [hop.by for hop in record.arrival.hops] == ["mx.example.net", "imap.example.org"]
    assert record.arrival.authentication.spf == "pass"
    assert record.verdict is not None
    assert watch.history.in_flight() == ()
    assert watch.history.latest("inbound") == watch.history.latest() == (record,)


def test_headers_are_read_and_not_kept() -> None:
    watch = Watch()
    canary = watch.failed(Outcome.OVERDUE)
    sighting = a_sighting(canary, 1002.0)
    watch.publish(
        CanarySighted(canary, sighting), ArrivedLate(canary, Outcome.OVERDUE, sighting, 1002.0, 2.0, 0.1, False)
    )
    record = watch.history[canary.id]
    assert record.sighting
    assert record.late
    assert record.sighting.headers == record.late.sighting.headers == b""
    assert record.arrival.hops


def test_bounce_late_and_lost_are_kept() -> None:
    watch = Watch()
    canary = watch.opened()
    bounce = Bounce(canary.id, "contoso", "failed", "5.1.1", "no such user", "mx", 1003.0)
    watch.publish(BounceReceived(canary, bounce))
    watch.judged(canary, Outcome.BOUNCED)
    watch.publish(CanaryLost(canary, 9000.0))
    record = watch.history[canary.id]
    assert (record.bounce, record.lost_at) == (bounce, 9000.0)


def test_a_verdict_on_a_canary_of_an_earlier_process_is_a_record() -> None:
    watch = Watch()
    canary = watch.canary()
    watch.judged(canary, Outcome.UNOBSERVED)
    assert watch.history[canary.id].verdict is not None


def test_failures_outlive_successes() -> None:
    watch = Watch(per_route=10)
    failures = [watch.failed().id for _ in range(5)]
    successes = [watch.delivered().id for _ in range(100)]
    kept = [record.canary.id for record in watch.history.latest("inbound", 1000)]
    assert kept == [*reversed(successes[-10:]), *reversed(failures)]
    assert all(canary in {record.canary.id for record in watch.history.latest(limit=1000)} for canary in failures)
    assert watch.history.get(successes[0]) is None


def test_failures_are_bounded_too() -> None:
    watch = Watch(per_route=10)
    for _ in range(100):
        watch.failed()
    assert len(watch.history) == 20


@pytest.mark.parametrize("routes", [1, 10, 1000])
def test_records_are_bounded_in_all(routes: int) -> None:
    names = [f"route-{number}" for number in range(routes)]
    watch = Watch(*((name, "outside", "contoso", "mx") for name in names), total=200)
    for number in range(3):
        for name in names:
            watch.failed(route=name) if number % 2 else watch.delivered(name)
    assert len(watch.history) <= max(200, 2 * routes)
    assert all(watch.history.last(name) for name in names)


def test_transcripts_are_kept_of_failures_and_of_the_latest_success() -> None:
    watch = Watch()
    failed, first, second = watch.failed(), watch.delivered(), watch.delivered()
    assert [bool(watch.history[canary.id].attempts[0].transcript) for canary in (failed, first, second)] == [
        True,
        False,
        True,
    ]


def test_transcripts_are_bounded_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TRANSCRIPTS", {True: 4, False: 2})
    names = [f"route-{number}" for number in range(10)]
    watch = Watch(*((name, "outside", "contoso", "mx") for name in names))
    for name in names:
        watch.failed(route=name)
        watch.delivered(name)
    kept = [record for record in watch.history.latest(limit=100) if record.attempts[0].transcript]
    assert len(kept) == 6


def test_a_long_transcript_keeps_its_beginning_and_its_end() -> None:
    watch = Watch()
    canary = watch.opened()
    watch.attempted(canary, transcript=tuple(TranscriptLine(n, ">", str(n)) for n in range(1000)))
    kept = watch.history[canary.id].attempts[0].transcript
    assert len(kept) == module.TRANSCRIPT_LINES
    assert (kept[0].text, kept[-1].text) == ("0", "999")


def test_a_removed_route_is_forgotten() -> None:
    watch = Watch(ROUTE, ("second", "outside", "contoso", "mx"))
    gone = [watch.opened(), watch.delivered(), watch.failed()]
    stays = watch.delivered("second")
    watch.publish(RoutesChanged(removed=("inbound",)))
    assert [record.canary for record in watch.history.latest()] == [stays]
    watch.judged(gone[0])
    assert all(watch.history.get(canary.id) is None for canary in gone)
    assert len(watch.history) == 1


async def test_latest_of_all_is_newest_first_and_limited() -> None:
    watch = Watch(ROUTE, ("second", "outside", "contoso", "mx"))
    canaries = []
    for number in range(6):
        await watch.clock.advance(1)
        canaries.append(watch.delivered("second" if number % 2 else "inbound"))
    found = [record.canary for record in watch.history.latest(limit=4)]
    assert found == list(reversed(canaries))[:4]
    assert watch.history.latest("no-such-route") == ()
