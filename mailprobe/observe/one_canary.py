"""The metrics of one canary alone, as `GET /probe` answers them: a fresh page each time, so nothing in it is stale."""

from __future__ import annotations

from collections.abc import Iterator

from mailprobe.clock import Clock
from mailprobe.events import AttemptBegun, AttemptEnded, CanaryOpened, DotSent, Event, Judged, RoutesChanged
from mailprobe.model import Outcome
from mailprobe.observe.arrival import UNKNOWN
from mailprobe.observe.history import Record
from mailprobe.observe.metrics import Metrics
from mailprobe.observe.states import States

_HEAD = """\
# HELP probe_success 1 if the canary was delivered into the inbox within the time there was.
# TYPE probe_success gauge
probe_success {success}
# HELP probe_duration_seconds How long the probe took.
# TYPE probe_duration_seconds gauge
probe_duration_seconds {seconds!r}
"""


def is_success(record: Record) -> bool:
    """Delivered into the inbox."""
    return record.verdict is not None and record.verdict.outcome is Outcome.DELIVERED


def canary_page(record: Record, clock: Clock, seconds: float, openmetrics: bool) -> bytes:
    """`probe_success`, `probe_duration_seconds`, and of the route's metrics those that this canary gave a value."""
    canary = record.canary
    metrics = Metrics(clock, "", States())
    metrics(RoutesChanged(added=((canary.route, canary.sender, canary.mailbox, ""),)))
    for event in _events(record):
        metrics(event)
    if record.arrival is not UNKNOWN:
        metrics.show_arrival(canary.route, record.arrival)
    head = _HEAD.format(success=int(is_success(record)), seconds=round(seconds, 6)).encode()
    return head + metrics.render_touched(canary.route, openmetrics)


def _events(record: Record) -> Iterator[Event]:
    canary = record.canary
    yield CanaryOpened(canary)
    for attempt in record.attempts:
        yield AttemptBegun(canary, attempt.number, attempt.begun)
        if attempt.dot_sent is not None:
            yield DotSent(canary, attempt.number, attempt.dot_sent)
        yield AttemptEnded(canary, attempt)
    if record.verdict:
        yield Judged(record.verdict)
