"""The log's subscriber: one line per fact worth reading, `key=value`, with the text for people last.

Information for what somebody has to know (a canary that failed, a mailbox that is blind), debug for what works.
Bugs and reloads are logged where they are handled. Text from the wire is clean when it gets here
(`errors.plain_text`); it is quoted all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from mailprobe.events import (
    ArrivedLate,
    AttemptEnded,
    CanaryLost,
    Event,
    IncidentChanged,
    IncidentClosed,
    IncidentOpened,
    Judged,
    MailboxDown,
    MailboxUp,
    PolicyChecked,
    Port25Changed,
    RouteStateChanged,
    SignSeen,
    Throttled,
    TokenRequested,
    VendorAcknowledged,
    VendorStatusSeen,
)
from mailprobe.model import AttemptOutcome, Cause, Incident, Outcome, RouteState
from mailprobe.observe.wording import category
from mailprobe.vendor import VendorState

logger = logging.getLogger("mailprobe.events")

_QUIET = frozenset({Outcome.DELIVERED})
_SAYS_ALL_IS_WELL = frozenset({VendorState.OK, VendorState.MAINTENANCE})


class EventLog:
    """A subscriber that writes events to the logger `mailprobe.events`."""

    def __init__(self) -> None:
        self._down: set[str] = set()
        self._without_token: set[str] = set()
        self._policies: dict[str, object] = {}
        self._feeds: dict[str, object] = {}
        self._handlers: dict[type, Callable[[Any], None]] = {
            AttemptEnded: _attempt_ended,
            Judged: _judged,
            ArrivedLate: _arrived_late,
            CanaryLost: _lost,
            MailboxUp: self._mailbox_up,
            MailboxDown: self._mailbox_down,
            PolicyChecked: self._policy_checked,
            Port25Changed: _port25_changed,
            Throttled: _throttled,
            TokenRequested: self._token_requested,
            SignSeen: _sign,
            RouteStateChanged: _state_changed,
            IncidentOpened: lambda event: _incident(logging.WARNING, "incident opened", event.incident),
            IncidentChanged: lambda event: _incident(logging.INFO, "incident changed", event.incident),
            IncidentClosed: lambda event: _incident(logging.INFO, "incident closed", event.incident),
            VendorStatusSeen: self._vendor_status,
            VendorAcknowledged: _acknowledged,
        }

    def __call__(self, event: Event) -> None:
        """Takes an event in; those that nobody reads are ignored."""
        if handler := self._handlers.get(type(event)):
            handler(event)

    def _mailbox_up(self, event: MailboxUp) -> None:
        self._down.discard(event.mailbox)
        _say(logging.INFO, "mailbox up", mailbox=event.mailbox)

    def _mailbox_down(self, event: MailboxDown) -> None:
        level = logging.DEBUG if event.mailbox in self._down else logging.WARNING
        self._down.add(event.mailbox)  # what is said once need not be said at every reconnection
        failure = event.failure
        _say(
            level,
            "mailbox down",
            mailbox=event.mailbox,
            stage=failure.stage,
            reason=failure.reason,
            detail=failure.detail or None,
        )

    def _token_requested(self, event: TokenRequested) -> None:
        if failure := event.failure:
            level = logging.DEBUG if event.source in self._without_token else logging.WARNING
            self._without_token.add(event.source)
            _say(level, "no token", source=event.source, reason=failure.reason, detail=failure.detail or None)
            return
        level = logging.INFO if event.source in self._without_token else logging.DEBUG
        self._without_token.discard(event.source)
        _say(level, "token at hand", source=event.source)

    def _policy_checked(self, event: PolicyChecked) -> None:
        route, sts, dane = event.canary.route, event.policy.mta_sts, event.policy.dane
        now = (sts and (sts.mode, sts.passed), dane and (dane.status, dane.passed))
        level = logging.DEBUG if self._policies.get(route) == now else logging.INFO
        self._policies[route] = now
        _say(
            level,
            "policy",
            route=route,
            mta_sts=sts and sts.mode,
            mta_sts_passed=sts and sts.passed,
            dane=dane and dane.status,
            dane_passed=dane and dane.passed,
            detail="; ".join(facts.detail for facts in (sts, dane) if facts and facts.detail) or None,
        )

    def _vendor_status(self, event: VendorStatusSeen) -> None:
        status = event.status
        unchanged = self._feeds.get(event.feed) == (status.state, status.detail)
        self._feeds[event.feed] = (status.state, status.detail)
        changed = logging.INFO if status.state in _SAYS_ALL_IS_WELL else logging.WARNING
        _say(
            logging.DEBUG if unchanged else changed,
            "vendor status",
            feed=event.feed,
            state=status.state,
            detail=status.detail or None,
        )


def _port25_changed(event: Port25Changed) -> None:
    level = logging.WARNING if event.blocked else logging.INFO
    _say(level, "port 25 blocked" if event.blocked else "port 25 open", detail=event.detail or None)


def _attempt_ended(event: AttemptEnded) -> None:
    attempt = event.attempt
    if attempt.outcome is AttemptOutcome.ACCEPTED:
        return
    said = attempt.last_reply
    reply = str(said.reply) if said else None
    _say(
        logging.DEBUG,
        "attempt ended",
        route=event.canary.route,
        canary=event.canary.id,
        number=attempt.number,
        outcome=attempt.outcome,
        stage=attempt.stage,
        reason=_unless(attempt.outcome, attempt.reason),
        reply=reply,
        detail=_unless(reply, attempt.detail),
    )


def _judged(event: Judged) -> None:
    verdict = event.verdict
    reply = str(verdict.reply.reply) if verdict.reply else None
    quiet = verdict.outcome in _QUIET and not verdict.retried
    _say(
        logging.DEBUG if quiet else logging.INFO,
        "verdict",
        route=verdict.canary.route,
        canary=verdict.canary.id,
        outcome=verdict.outcome,
        stage=verdict.stage,
        reason=_unless(verdict.outcome, verdict.reason),
        category=category(verdict, verdict.bounce),
        attempts=verdict.attempts,
        transit_seconds=_rounded(verdict.transit_seconds),
        reply=reply,
        detail=_unless(reply, verdict.detail),
    )


def _arrived_late(event: ArrivedLate) -> None:
    _say(
        logging.INFO,
        "late arrival",
        route=event.canary.route,
        canary=event.canary.id,
        after=event.after,
        transit_seconds=_rounded(event.transit_seconds),
    )


def _lost(event: CanaryLost) -> None:
    _say(logging.INFO, "lost", route=event.canary.route, canary=event.canary.id)


def _throttled(event: Throttled) -> None:
    _say(logging.INFO, "throttled", endpoint=event.endpoint, reason=event.reason)


def _sign(event: SignSeen) -> None:
    _say(logging.INFO, "first sign", route=event.route, **_cause(event.cause))


def _state_changed(event: RouteStateChanged) -> None:
    _say(
        logging.WARNING if event.state in (RouteState.DEGRADED, RouteState.FAILING) else logging.INFO,
        "route state",
        route=event.route,
        state=event.state,
        before=event.before,
        share=_rounded(event.share) if event.share else None,
        **_cause(event.cause),
    )


def _incident(level: int, what: str, incident: Incident) -> None:
    _say(
        level,
        what,
        route=incident.route,
        incident=incident.id,
        state=incident.state,
        over="yes" if incident.end is not None else None,
        affected=incident.affected,
        share_worst=_rounded(incident.share_worst),
        relapses=incident.relapses or None,
        **_cause(incident.cause),
    )


def _acknowledged(event: VendorAcknowledged) -> None:
    known = event.acknowledgement
    _say(
        logging.INFO,
        "vendor acknowledged",
        feed=known.feed,
        incident=known.incident,
        vendor_incident=known.vendor_incident,
        lag_seconds=_rounded(known.lag_seconds),
        title=known.title or None,
    )


def _cause(cause: Cause) -> dict[str, object]:
    return {"stage": cause.stage, "code": cause.code, "enhanced_code": cause.enhanced_code, "reason": cause.reason}


def _unless(said: str | None, text: str | None) -> str | None:
    """The text, unless the same is said already."""
    return text if text and text != said else None


def _say(level: int, what: str, **facts: object) -> None:
    """One line; facts that are None are left out, and the event's name is data, not a format."""
    if not logger.isEnabledFor(level):
        return
    pairs = [f"{key}={_shown(value)}" for key, value in facts.items() if value is not None]
    logger.log(level, "%s", " ".join((what, *pairs)))


def _shown(value: object) -> str:
    text = str(value)
    if text and not set(text) & set(' "=\\'):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
