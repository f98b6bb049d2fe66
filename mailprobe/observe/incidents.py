"""Incidents: which of a route's troubles are worth a record, and when one is over. Pure: what is seen in, events out.

Rules
=====

- A *story* begins when a route becomes degraded or failing, or when nobody can look because the server of its mailbox
  does not let us. It becomes an *incident* once chance cannot explain it (`RouteMemory.is_certain`), or once the
  mailbox was blind for `BLIND_INCIDENT` seconds. A story that is over before, and has been quiet for `ODD_QUIET`
  seconds, was an odd failure and leaves no record; until then what comes is the same story.
- What is certain late has begun early: `begin` is when the first affected canary was opened, `first_sign` when
  something was first seen of it, `detected` when the state changed. All three were before `IncidentOpened`.
- `state` is the worst there was; `cause` is what dominated while the share affected was greatest.
- The route is ok again: the incident is *over*, its `end` is set, and it waits. Anything affected within its quiet time
  begins that time anew; a state that is not ok again is a relapse: the end is taken back, and it is the same
  incident. So an outage with lulls, a fix that fails, a share so small that the route seems ok in between: one each.
- It is *closed* after `QUIET_SECONDS`, and `QUIET_INTERVALS` of the route, in which canaries went through. Time in
  which nothing was probed (a machine asleep, a blind mailbox) does not count: nobody saw that it was quiet.
- Unknown for a reason of the agent's own opens nothing, ends nothing, closes nothing.
- A route that is no longer probed closes its incident. A restart takes over those that were not closed.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from mailprobe.events import Event, IncidentChanged, IncidentClosed, IncidentOpened
from mailprobe.model import Cause, Incident, RouteState

BLIND_INCIDENT: Final = 300.0
QUIET_SECONDS: Final = 7200.0
QUIET_INTERVALS: Final = 10
ODD_QUIET: Final = 1800.0
KEPT: Final = 200
"""Closed incidents that are remembered here; the journal has more."""
_COUNTED_GAP: Final = (60.0, 3.0)
"""Between two words of a route this many seconds, or intervals, are counted as quiet at most."""
_WORSE: Final = (RouteState.OK, RouteState.UNKNOWN, RouteState.DEGRADED, RouteState.FAILING)


@dataclass(frozen=True, slots=True)
class Situation:
    """How a route stands at an instant, as far as incidents need it.

    `begin` and `first_sign`: of the trouble there is now. `affected` counts all affected canaries of the route,
    `affected_now` those of this trouble. `interval` in seconds, 0 if not known.
    """

    route: str
    at: float
    state: RouteState
    in_trouble: bool
    certain: bool
    begin: float
    first_sign: float
    cause: Cause
    share: float
    affected: int
    affected_now: int
    interval: float


class _Story:
    __slots__ = ("affected_before", "affected_last", "incident", "last", "published", "quiet")

    def __init__(self, incident: Incident, last: float, affected: int) -> None:
        self.incident = incident
        self.published: Incident | None = None
        self.affected_before = affected - incident.affected
        self.affected_last = affected
        self.last = last
        self.quiet = 0.0


class Incidents:
    """The incidents of all routes. `new_id` gives each its name."""

    def __init__(self, new_id: Callable[[], str] = lambda: secrets.token_hex(8)) -> None:
        self._new_id = new_id
        self._stories: dict[str, _Story] = {}
        self._closed: deque[Incident] = deque(maxlen=KEPT)

    @property
    def routes(self) -> frozenset[str]:
        """The routes of which a story is going on."""
        return frozenset(self._stories)

    def follows(self, route: str) -> bool:
        """Whether a story of the route is going on: only then `follow` has to be told that it is ok."""
        return route in self._stories

    def current(self, route: str) -> Incident | None:
        """The incident of the route that is not closed."""
        story = self._stories.get(route)
        return story.incident if story and story.published else None

    @property
    def all(self) -> tuple[Incident, ...]:
        """Those not closed and the last that were, the newest first."""
        known = [*self._closed, *(story.incident for story in self._stories.values() if story.published)]
        return tuple(sorted(known, key=lambda incident: incident.begin, reverse=True))

    def restore(self, incidents: Iterable[Incident]) -> None:
        """Takes over those of an earlier process, to be called first; open ones wait for what is seen now."""
        for incident in incidents:
            if incident.closed:
                self._closed.append(incident)
            else:
                story = self._stories[incident.route] = _Story(incident, incident.begin, 0)
                story.published = incident

    def forget(self, route: str) -> tuple[Event, ...]:
        """The route is no longer probed."""
        story = self._stories.pop(route, None)
        return (self._close(story, story.last),) if story and story.published else ()

    def follow(self, now: Situation) -> tuple[Event, ...]:
        """Takes in how a route stands; to be called after each change while a story is going on or should begin."""
        story = self._stories.get(now.route)
        if story is None:
            if not now.in_trouble:
                return ()
            story = self._stories[now.route] = _Story(self._begin(now), now.at, now.affected)
        self._tell(story, now)
        if story.published is None:
            return self._may_open(story, now)
        if story.incident.end is not None and story.quiet >= max(QUIET_SECONDS, QUIET_INTERVALS * now.interval):
            del self._stories[now.route]
            return (self._close(story, now.at),)
        if not _differs(story.published, story.incident):
            return ()
        story.published = story.incident
        return (IncidentChanged(story.incident, now.at),)

    def _begin(self, now: Situation) -> Incident:
        return Incident(
            id=self._new_id(),
            route=now.route,
            begin=now.begin,
            first_sign=now.first_sign,
            detected=now.at,
            state=now.state,
            cause=now.cause,
            share_worst=now.share,
            affected=now.affected_now,
        )

    def _may_open(self, story: _Story, now: Situation) -> tuple[Event, ...]:
        if story.incident.end is not None and story.quiet >= max(ODD_QUIET, QUIET_INTERVALS * now.interval):
            del self._stories[now.route]
        if story.incident.end is not None or not now.certain:
            return ()
        story.published = story.incident
        return (IncidentOpened(story.incident, now.at),)

    def _tell(self, story: _Story, now: Situation) -> None:
        incident = story.incident
        shortest, intervals = _COUNTED_GAP
        if now.affected != story.affected_last or incident.end is None:
            story.quiet = 0.0
        elif now.state is RouteState.OK:
            story.quiet += min(now.at - story.last, max(shortest, intervals * now.interval))
        story.affected_last, story.last = now.affected, now.at
        if now.in_trouble:
            incident = _worse(incident, now)
            if incident.end is not None:
                incident = replace(incident, end=None, relapses=incident.relapses + 1)
        elif now.state is RouteState.OK and incident.end is None:
            incident = replace(incident, end=now.at)
        story.incident = replace(incident, affected=now.affected - story.affected_before)

    def _close(self, story: _Story, at: float) -> Event:
        end = at if story.incident.end is None else story.incident.end
        closed = replace(story.incident, end=end, closed=True)
        self._closed.append(closed)
        return IncidentClosed(closed, at)


def _worse(incident: Incident, now: Situation) -> Incident:
    state = max(incident.state, now.state, key=_WORSE.index)
    if now.share >= incident.share_worst and (now.share > 0.0 or incident.affected == 0):
        return replace(incident, state=state, share_worst=now.share, cause=now.cause)
    return replace(incident, state=state)


def _differs(published: Incident, incident: Incident) -> bool:
    """Whether it is worth an event; that one more canary is affected is not."""
    return replace(incident, affected=published.affected) != published
