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


def is_success(record: Record) -> bool:
    """Delivered into the inbox."""
    return record.verdict is not None and record.verdict.outcome is Outcome.DELIVERED


def canary_page(record: Record, clock: Clock, seconds: float, openmetrics: bool, kind: str) -> bytes:
    """Plain gauges as blackbox_exporter has them, and of the route's metrics those that this canary gave a value.

    `seconds`: how long the probe took; `kind`: of the route's sender.
    """
    canary = record.canary
    metrics = Metrics(clock, "", States())
    metrics(RoutesChanged(added=((canary.route, canary.sender, canary.mailbox, kind),)))
    for event in _events(record):
        metrics(event)
    if record.arrival is not UNKNOWN:
        metrics.show_arrival(canary.route, record.arrival)
    return "".join(_gauges(record, seconds)).encode() + metrics.render_touched(canary.route, openmetrics)


def _gauges(record: Record, seconds: float) -> Iterator[str]:
    """What is not known is left out: a 0 would be a lie."""
    verdict, last = record.verdict, record.attempts[-1] if record.attempts else None
    yield _gauge(
        "probe_success", "1 if the canary was delivered into the inbox within the time there was.", is_success(record)
    )
    yield _gauge("probe_duration_seconds", "How long the probe took.", seconds)
    if last and last.stages:
        times = {f'{{stage="{time.stage}"}}': time.seconds for time in last.stages}
        yield _gauge("probe_stage_duration_seconds", "Time spent in each stage of the last attempt.", **times)
    if verdict and verdict.transit_seconds is not None:
        yield _gauge("probe_transit_seconds", "Final dot to noticed in the mailbox.", verdict.transit_seconds)
    if last and last.tls and last.tls.not_after:
        until = last.tls.not_after.timestamp()
        yield _gauge("probe_tls_certificate_not_after_timestamp_seconds", "When the certificate ends.", until)


def _gauge(name: str, text: str, value: float | None = None, **values: float) -> str:
    """A family with one sample without labels, or with one for each set of labels."""
    samples = values if value is None else {"": value}
    lines = "".join(f"{name}{labels} {round(float(each), 6)!r}\n" for labels, each in samples.items())
    return f"# HELP {name} {text}\n# TYPE {name} gauge\n{lines}"


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
