"""The time line of a report as SVG: a row for each route, what was delivered below, what was not above it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import groupby, pairwise
from statistics import median
from typing import Final

from mailprobe.model import Incident
from mailprobe.observe.findings import SLOTS, Findings, RouteFigures, Slot
from mailprobe.report.words import moment

ROWS: Final = 40
"""Routes that are drawn: those with the most canaries affected."""
_LEFT: Final = 190
_WIDTH: Final = 770
_HEIGHT: Final = 26
_TOP: Final = 22
_BAR: Final = 14
_NAME: Final = 26
_DAY: Final = 86400
_STEPS: Final = (300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, _DAY, 7 * _DAY, 30 * _DAY)
_MOST_TICKS: Final = 9
_LONGEST_GAP: Final = 2
"""Usual distances between two canaries; a longer one is shown as a gap."""

_Kind = tuple[str, float]


def timeline(findings: Findings) -> str:
    """The picture, empty where there is nothing to show. Colours come from the style sheet's classes."""
    drawn = sorted(findings.routes, key=_affected, reverse=True)[:ROWS]
    if not drawn:
        return ""
    incidents: dict[str, list[Incident]] = {}
    for story in findings.incidents:
        incidents.setdefault(story.incident.route, []).append(story.incident)
    scale = _Scale(findings.wanted.since, findings.wanted.until)
    bottom = _TOP + _HEIGHT * len(drawn)
    rows = "".join(
        _row(route, incidents.get(route.route, ()), scale, _TOP + _HEIGHT * number)
        for number, route in enumerate(drawn)
    )
    label = f"Time line of {len(drawn)} routes from {moment(scale.since)} to {moment(scale.until)}"
    return (
        f'<svg class="timeline" viewBox="0 0 {_LEFT + _WIDTH + 20} {bottom + 6}" '
        f'role="img" aria-label="{escape(label)}">'
        f"{''.join(_ticks(scale, bottom))}{rows}</svg>"
    )


class _Scale:
    """Where an instant is."""

    def __init__(self, since: float, until: float) -> None:
        self.since, self.until = since, until
        self._width = max(until - since, 1.0)

    def x(self, wall: float) -> float:
        part = (min(max(wall, self.since), self.until) - self.since) / self._width
        return round(_LEFT + part * _WIDTH, 1)


def _affected(route: RouteFigures) -> int:
    return sum(slot.affected for slot in route.slots)


def _ticks(scale: _Scale, bottom: int) -> Iterator[str]:
    """Lines at round times, with those times; with the dates where there is more than a day."""
    length = scale.until - scale.since
    step = next((step for step in _STEPS if length / step <= _MOST_TICKS), length / _MOST_TICKS)
    at = -(-scale.since // step) * step
    while at <= scale.until:
        x = scale.x(at)
        of_day = step < _DAY and (length <= _DAY or at % _DAY)
        text = datetime.fromtimestamp(at, UTC).strftime("%H:%M" if of_day else "%m-%d")
        yield f'<path class="tick" d="M{x} {_TOP - 4}V{bottom}"/>'
        yield f'<text x="{x}" y="12" text-anchor="middle">{text}</text>'
        at += step


def _row(route: RouteFigures, incidents: Sequence[Incident], scale: _Scale, top: int) -> str:
    base = top + _BAR + 4
    name = route.route if len(route.route) <= _NAME else route.route[: _NAME - 1] + "…"
    parts = [f'<text x="0" y="{base}">{escape(name)}</text>']
    width = _WIDTH / SLOTS
    kinds = _without_gaps([_kind(slot) for slot in route.slots])
    for (kind, share), run in groupby(range(SLOTS), key=kinds.__getitem__):
        numbers = list(run)
        x, wide = round(_LEFT + numbers[0] * width, 1), round(len(numbers) * width, 1)
        if kind == "affected":
            high = max(3, round(share * _BAR))
            parts.append(f'<rect class="bad" x="{x}" y="{base - high}" width="{wide}" height="{high}"/>')
        elif kind:
            parts.append(f'<rect class="{kind}" x="{x}" y="{base - 2}" width="{wide}" height="2"/>')
    for incident in incidents:
        begin, end = scale.x(incident.begin), scale.x(scale.until if incident.end is None else incident.end)
        parts.append(
            f'<rect class="incident" x="{begin}" y="{base + 2}" width="{max(2.0, round(end - begin, 1))}" height="3">'
            f"<title>Incident from {moment(incident.begin)}</title></rect>"
        )
    return "".join(parts)


def _without_gaps(kinds: list[_Kind]) -> list[_Kind]:
    """The same, as if each word held until the next: slots may be shorter than the route's interval."""
    filled = [number for number, (kind, _) in enumerate(kinds) if kind]
    if len(filled) < 2:
        return kinds
    usual = median(after - before for before, after in pairwise(filled))
    whole = list(kinds)
    for before, after in pairwise(filled):
        if after - before <= _LONGEST_GAP * usual:
            whole[before:after] = [kinds[before]] * (after - before)
    return whole


def _kind(slot: Slot) -> _Kind:
    """What a slot looks like; shares are rounded, so that what looks alike is one bar."""
    judged = slot.good + slot.affected
    if slot.affected:
        return "affected", round(slot.affected / judged, 1)
    return ("good" if judged else "silent" if slot.silent else ""), 0.0
