"""When a vendor first said something about an incident of ours: which post counts, and how much earlier we knew."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clocks import VirtualClock

from mailprobe.errors import Reason, Stage
from mailprobe.events import (
    Event,
    FeedsChanged,
    IncidentChanged,
    IncidentOpened,
    RoutesChanged,
    VendorAcknowledged,
    VendorStatusSeen,
)
from mailprobe.model import Cause, Incident, RouteState
from mailprobe.observe.document import incident_document
from mailprobe.observe.vendors import BEFORE, CORRECTIONS, INCIDENTS, VENDOR_INCIDENTS, Vendors
from mailprobe.vendor import VendorIncident, VendorState, VendorStatus

CAUSE = Cause(Stage.RCPT, 451, "4.3.2", Reason.DEFERRED)
HOUR = 3600.0


class World:
    """A memory with a route `in` from `out` to `box`, and a feed `vendor` of that mailbox; the first sign was now."""

    def __init__(self, *, mailboxes: tuple[str, ...] = ("box",), senders: tuple[str, ...] = ()) -> None:
        self.clock = VirtualClock(now=1e6)
        self.told: list[VendorAcknowledged] = []
        self.vendors = Vendors(self.clock, self._note)
        self.sign = self.clock.wall()
        now = self.clock.now()
        self.incident = Incident("one", "in", now - 30, now, now + 60, RouteState.FAILING, CAUSE, 1.0, 4)
        self.vendors(FeedsChanged((("vendor", mailboxes, senders),)))
        self.vendors(RoutesChanged((("in", "out", "box", "mx"),)))

    def _note(self, event: Event) -> None:
        assert isinstance(event, VendorAcknowledged)
        self.told.append(event)

    def opened(self, **facts: object) -> None:
        self.incident = replace(self.incident, **facts)  # type: ignore[arg-type]
        self.vendors(IncidentOpened(self.incident, self.clock.now()))

    def over(self, after: float) -> None:
        """It ended so many seconds after the first sign."""
        self.incident = replace(self.incident, end=self.incident.first_sign + after)
        self.vendors(IncidentChanged(self.incident, self.clock.now()))

    def says(self, *incidents: VendorIncident, state: VendorState = VendorState.DEGRADED) -> None:
        self.vendors(VendorStatusSeen("vendor", self.clock.now(), VendorStatus(state, incidents)))

    def post(self, after: float, id: str = "EX1", **facts: float | None) -> VendorIncident:
        """An incident of the vendor's that was first posted so many seconds after our first sign."""
        times = {key: None if value is None else self.sign + value for key, value in facts.items()}
        return VendorIncident(id, "Mail is <late>", VendorState.DEGRADED, self.sign + after, **times)

    @property
    def lags(self) -> list[float]:
        return [event.acknowledgement.lag_seconds for event in self.told]


def test_the_first_post_is_held_against_our_first_sign() -> None:
    world = World()
    world.opened()
    world.clock.jump(2 * HOUR)
    world.says(world.post(1.5 * HOUR, begun=-2 * HOUR))
    assert world.lags == [1.5 * HOUR], "not the start that was written afterwards"
    (known,) = world.vendors.acknowledgements("one")
    assert (known.feed, known.vendor_incident, known.title) == ("vendor", "EX1", "Mail is <late>")
    assert known.posted == world.sign + 1.5 * HOUR
    assert known.noticed == world.sign + 2 * HOUR
    assert world.vendors.lag("vendor") == 1.5 * HOUR


def test_a_vendor_that_was_first_gives_a_negative_lag() -> None:
    world = World()
    world.says(world.post(-600.0))
    world.opened()
    assert world.lags == [-600.0]


@pytest.mark.parametrize("order", ["ours first", "theirs first"])
def test_it_does_not_matter_who_is_heard_first(order: str) -> None:
    world = World()
    for which in ("ours", "theirs") if order == "ours first" else ("theirs", "ours"):
        if which == "ours":
            world.opened()
        else:
            world.says(world.post(300.0))
    assert world.lags == [300.0]


@pytest.mark.parametrize(
    ("mailboxes", "senders", "related"),
    [(("box",), (), True), ((), ("out",), True), (("other",), ("other",), False), ((), (), False)],
)
def test_only_the_vendor_of_the_route_acknowledges(
    mailboxes: tuple[str, ...], senders: tuple[str, ...], related: bool
) -> None:
    world = World(mailboxes=mailboxes, senders=senders)
    world.opened()
    world.says(world.post(60.0))
    assert bool(world.told) is related


@pytest.mark.parametrize(
    ("post", "ours_ended", "about"),
    [
        ({"after": 60.0}, None, True),
        ({"after": -5.9 * HOUR}, None, True),
        ({"after": -6.1 * HOUR}, None, False),  # an advisory that is open on most days
        ({"after": -HOUR, "resolved": -HOUR / 2}, None, False),  # over before
        ({"after": -HOUR, "resolved": 10.0}, None, True),
        ({"after": 3 * HOUR, "begun": 0.0}, HOUR, True),  # said afterwards, of that time
        ({"after": 3 * HOUR, "begun": 2 * HOUR}, HOUR, False),  # another one, later
        ({"after": 3 * HOUR}, HOUR, False),  # does not say of which time
        ({"after": 1.9 * HOUR}, HOUR, True),
        ({"after": 26 * HOUR, "begun": 0.0}, HOUR, False),
    ],
)
def test_what_a_post_is_about(post: dict[str, float], ours_ended: float | None, about: bool) -> None:
    world = World()
    world.opened()
    if ours_ended is not None:
        world.over(ours_ended)
    world.says(world.post(**post))  # type: ignore[arg-type]
    assert bool(world.told) is about


def test_of_several_posts_the_earliest_counts() -> None:
    world = World()
    world.opened()
    world.says(world.post(900.0, "a"), world.post(600.0, "b"), world.post(1200.0, "c"))
    assert world.lags == [600.0]
    world.says(world.post(900.0, "a"), world.post(600.0, "b"), world.post(300.0, "d"))
    assert world.lags == [600.0, 300.0], "it appeared later, and was written earlier"
    assert world.vendors.lag("vendor") == 300.0


def test_a_feed_that_is_always_earlier_still_is_heard_a_few_times_only() -> None:
    world = World()
    for name in ("one", "two"):
        world.opened(id=name)
    for number in range(50):
        world.says(world.post(600.0 - number, str(number)))
    assert len(world.told) == 2 * (1 + CORRECTIONS)
    assert world.vendors.lag("vendor") == 600.0 - CORRECTIONS


def test_what_was_told_once_cannot_be_taken_back() -> None:
    world = World()
    world.opened()
    world.says(world.post(900.0))
    world.says(world.post(-900.0))
    world.says(world.post(5000.0))
    assert world.lags == [900.0]


def test_an_incident_without_a_post_acknowledges_nothing() -> None:
    world = World()
    world.opened()
    world.says(VendorIncident("EX1", "late", VendorState.DEGRADED, begun=world.sign))
    assert world.told == []
    world.says(world.post(700.0))
    assert world.lags == [700.0]


def test_an_incident_that_leaves_the_feed_is_over() -> None:
    world = World()
    world.says(world.post(-HOUR))
    world.says()
    world.clock.jump(2 * HOUR)
    now = world.clock.now()
    world.opened(begin=now - 30, first_sign=now, detected=now)
    assert world.told == []


def test_the_lag_of_a_feed_is_that_of_the_first_route_that_showed_it() -> None:
    world = World()
    world.vendors(RoutesChanged((("second", "out", "box", "mx"),)))
    world.opened()
    world.clock.jump(600.0)
    now = world.clock.now()
    second = replace(world.incident, id="two", route="second", begin=now, first_sign=now, detected=now)
    world.vendors(IncidentOpened(second, now))
    world.says(world.post(1800.0))
    assert sorted(world.lags) == [1200.0, 1800.0]
    assert world.vendors.lag("vendor") == 1800.0
    assert world.told[-1].lag_seconds == 1800.0


def test_an_unreachable_feed_keeps_what_is_known() -> None:
    world = World()
    world.says(world.post(0.0))
    at = world.clock.now()
    world.clock.jump(60.0)
    failed = VendorStatus(VendorState.UNREACHABLE, detail="connection_refused")
    world.vendors(VendorStatusSeen("vendor", world.clock.now(), failed))
    (feed,) = world.vendors.feeds
    assert (feed.state, feed.detail) == (VendorState.UNREACHABLE, "connection_refused")
    assert (feed.looked, feed.since) == (at, world.clock.now())
    assert [each.id for each in feed.incidents] == ["EX1"]
    world.opened()
    assert world.lags == [0.0]


def test_a_restart_remembers_and_says_it_again() -> None:
    world = World()
    world.opened()
    world.says(world.post(900.0))
    (known,) = world.vendors.acknowledgements("one")
    again = World()
    again.vendors = Vendors(again.clock, again._note)
    again.vendors.restore([world.incident], [known, replace(known, incident="gone")])
    again.vendors(FeedsChanged((("vendor", ("box",), ()),)))
    assert [event.acknowledgement for event in again.told] == [known]
    assert again.vendors.acknowledgements("gone") == ()
    again.vendors(RoutesChanged((("in", "out", "box", "mx"),)))
    again.says(again.post(900.0))
    assert len(again.told) == 1, "nothing new in it"


def test_a_feed_that_is_gone_is_forgotten() -> None:
    world = World()
    world.vendors(FeedsChanged(()))
    world.says(world.post(0.0))
    assert world.vendors.feeds == ()


def test_what_is_remembered_is_bounded() -> None:
    world = World()
    world.says(*(world.post(60.0 + number, str(number)) for number in range(VENDOR_INCIDENTS + 50)))
    for number in range(INCIDENTS + 5):
        world.opened(id=str(number))
    assert world.vendors.acknowledgements("0") == ()
    (known,) = world.vendors.acknowledgements(str(INCIDENTS + 4))
    assert known.vendor_incident == "50", "the newest are remembered"


def test_incidents_as_json_name_the_vendors_words() -> None:
    world = World()
    world.opened()
    assert incident_document(world.incident, world.clock)["vendor"] == []
    world.says(world.post(900.0))
    known = world.vendors.acknowledgements("one")
    (document,) = incident_document(world.incident, world.clock, known)["vendor"]
    assert document == {
        "feed": "vendor",
        "incident": "EX1",
        "title": "Mail is <late>",
        "acknowledged": "2023-11-14T22:28:20.000Z",
        "noticed": "2023-11-14T22:13:20.000Z",
        "lag_seconds": 900.0,
    }


TIMES = st.floats(-1e5, 1e5) | st.none()
POSTS = st.builds(
    VendorIncident, st.sampled_from("abc"), st.just("late"), st.sampled_from(VendorState), TIMES, TIMES, TIMES
)


@given(st.lists(st.lists(POSTS, max_size=4), max_size=6), st.floats(-1e4, 1e5) | st.none())
def test_whatever_a_vendor_says_the_lag_is_that_of_a_post_it_made(
    looks: list[list[VendorIncident]], ended: float | None
) -> None:
    world = World()
    world.opened()
    if ended is not None:
        world.over(max(ended, 61.0))
    said: set[float] = set()
    for look in looks:
        times = ("posted", "begun", "resolved")
        told = [replace(each, **{name: _shifted(getattr(each, name), world.sign) for name in times}) for each in look]
        said |= {each.posted for each in told if each.posted is not None}
        world.says(*told)
        world.clock.jump(300.0)
    lags = world.lags
    assert lags == sorted(lags, reverse=True), "an earlier word may be found later, never a later one"
    for event in world.told:
        assert event.acknowledgement.posted in said
        assert event.acknowledgement.lag_seconds == event.acknowledgement.posted - world.sign
        assert event.acknowledgement.lag_seconds >= -BEFORE
    assert world.vendors.lag("vendor") == (lags[-1] if lags else None)


def _shifted(seconds: float | None, by: float) -> float | None:
    return None if seconds is None else by + seconds
