"""What a one-shot run's verdicts mean to whoever called it: exit status and the Nagios line.

Sources: CONTRACT of `mailprobe probe`; Monitoring Plugins Development Guidelines (output, performance data, status).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum

from mailprobe.cli.explain import Explanation
from mailprobe.model import Outcome
from mailprobe.observe.history import Record


class Status(IntEnum):
    """Exit status of a one-shot run, and of a Nagios plugin."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


_RANK = (Status.OK, Status.WARNING, Status.UNKNOWN, Status.CRITICAL)
"""From good to bad: that something is not known is worse than slow mail and better than no mail."""
_OF_OUTCOME = {
    Outcome.DELIVERED: Status.OK,
    Outcome.JUNKED: Status.WARNING,
    Outcome.DEFERRED: Status.CRITICAL,
    Outcome.REJECTED: Status.CRITICAL,
    Outcome.UNSENT: Status.CRITICAL,
    Outcome.BOUNCED: Status.CRITICAL,
    Outcome.OVERDUE: Status.CRITICAL,
    Outcome.UNOBSERVED: Status.UNKNOWN,
    Outcome.SKIPPED: Status.UNKNOWN,
}


def status_of(record: Record, warning: float | None) -> Status:
    """What one canary means; delivered later than `warning` seconds, or only after a deferral, is a warning."""
    verdict = record.verdict
    if verdict is None:
        return Status.UNKNOWN
    status = _OF_OUTCOME[verdict.outcome]
    slow = warning is not None and (verdict.delivery_seconds or 0.0) > warning
    return Status.WARNING if status is Status.OK and (slow or verdict.retried) else status


def worst(statuses: Iterable[Status]) -> Status:
    """The worst of several; unknown where there is none."""
    return max(statuses, key=_RANK.index, default=Status.UNKNOWN)


def nagios(
    explained: Sequence[tuple[Record, Explanation]], warning: float | None, timeout: float, *, interrupted: bool
) -> str:
    """The plugin's output: a line with performance data; where there are several routes, one more for each."""
    ranked = sorted(
        ((status_of(record, warning), f"{record.canary.route}: {said}") for record, said in explained),
        key=lambda pair: -_RANK.index(pair[0]),
    )
    status = Status.UNKNOWN if interrupted else worst(status for status, _ in ranked)
    lines = [_without_bar(said) for _, said in ranked]
    if not lines:
        lines = ["interrupted" if interrupted else "no route was probed"]
    elif len(lines) > 1:
        good = sum(status is Status.OK for status, _ in ranked)
        lines = [f"{good} of {len(ranked)} routes ok; {lines[0]}", *lines]
    figures = " ".join(_figures(record, warning, timeout) for record, _ in explained)
    first = f"MAILPROBE {status.name} - {lines[0]}" + (f" | {figures}" if figures else "")
    return "\n".join([first, *lines[1:]])


def _without_bar(text: str) -> str:
    """A bar would begin the performance data."""
    return text.replace("|", "/")


def _figures(record: Record, warning: float | None, timeout: float) -> str:
    """Performance data: `'label'=value[unit];warn;crit;min;max`; U where there is no value."""
    verdict = record.verdict
    route = record.canary.route
    warn = "" if warning is None else f"{warning:g}"
    delivery = verdict.delivery_seconds if verdict else None
    transit = verdict.transit_seconds if verdict else None
    return (
        f"'{route}_delivery'={_figure(delivery)};{warn};{timeout:g};0;{timeout:g} "
        f"'{route}_transit'={_figure(transit)};;;0;{timeout:g}"
    )


def _figure(seconds: float | None) -> str:
    return "U" if seconds is None else f"{seconds:.6f}s"
