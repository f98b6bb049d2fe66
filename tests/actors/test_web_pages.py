"""What people read on the pages: the words of a failure, times, order, and colours that can be read."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

import pytest
from support.observing import ROUTE, TLS, Watch

from mailprobe.errors import Reason, Reply, Stage
from mailprobe.events import Judged
from mailprobe.model import AttemptOutcome, Outcome, StageReply, StageTime, Verdict
from mailprobe.observe.vendors import FeedSeen
from mailprobe.observe.wording import said
from mailprobe.vendor import VendorIncident, VendorState
from mailprobe.web.canary_page import canary_page
from mailprobe.web.html import STYLE
from mailprobe.web.overview import Choice, RouteRow, overview, rows
from mailprobe.web.pages import status_page, status_parts

READY = StageReply(Stage.STARTTLS, Reply.of(220, "2.0.0 Ready to start TLS"))


def status(watch: Watch, feeds: tuple[FeedSeen, ...] = (), **choice: Any) -> str:
    wanted = Choice(**choice)
    found = tuple(wanted.marked(rows(watch.states, watch.history, watch.clock.now())))
    shown = overview(found, watch.states, watch.history, wanted, feeds=feeds)
    return status_page(shown, tuple(status_parts(watch.clock, shown, "1.2.3")))


def expired(watch: Watch) -> str:
    """A canary that an expired certificate stopped, after a reply that was a good one."""
    canary = watch.opened()
    facts = {"stage": Stage.TLS, "reason": Reason.CERTIFICATE_EXPIRED, "detail": "certificate has <expired>"}
    watch.attempted(canary, READY, outcome=AttemptOutcome.UNSENT, dot_sent=None, queue_id=None, **facts)
    watch.judged(canary, Outcome.UNSENT, reply=READY, **facts)
    return canary.id


# ---- what was said


def test_a_good_reply_is_no_explanation_of_a_failure() -> None:
    watch = Watch()
    record = watch.history[expired(watch)]
    assert said(record) == "tls: certificate_expired: certificate has <expired>"
    assert "Ready to start" not in status(watch)
    assert "tls: certificate_expired: certificate has &lt;expired&gt;" in status(watch)


def test_a_good_reply_of_the_stage_that_failed_is_none_either() -> None:
    watch = Watch()
    canary, ehlo = watch.opened(), StageReply(Stage.EHLO, Reply.of(250, "mx.example.org"))
    watch.judged(canary, Outcome.UNSENT, stage=Stage.EHLO, reason=Reason.TIMEOUT, reply=ehlo, detail="no reply")
    assert said(watch.history[canary.id]) == "ehlo: timeout: no reply"


def test_a_refusal_is_the_explanation() -> None:
    watch = Watch()
    assert said(watch.history[watch.failed().id]) == "rcpt: 550 5.1.1 no such user"


def test_an_overdue_canary_has_a_sentence() -> None:
    watch = Watch()
    canary = watch.opened()
    watch.attempted(canary)
    watch.judged(canary, Outcome.OVERDUE, stage=Stage.TRANSIT, reason=Reason.NOT_THERE)
    sentence = "accepted, queued as 4XyZ; not in mailbox contoso after 60.0 s"
    assert said(watch.history[canary.id]) == sentence
    assert sentence in status(watch)


def test_of_a_canary_that_nobody_could_look_for_that_is_said() -> None:
    watch = Watch()
    canary = watch.failed(Outcome.UNOBSERVED, stage=Stage.TRANSIT, reason=Reason.NOBODY_LOOKED, reply=None)
    assert said(watch.history[canary.id]) == "nobody_looked: nobody could look"


# ---- the status page


def test_the_page_asks_again_and_says_of_when_it_is() -> None:
    page = status(Watch())
    assert '<meta http-equiv="refresh" content="15">' in page
    assert re.search(r"As of \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", page)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s ago"), (40, "40 s ago"), (600, "10 min ago"), (7200, "2 h ago"), (7 * 86400, "7 days ago")],
)
async def test_times_are_relative_with_the_absolute_as_title(seconds: float, text: str) -> None:
    watch = Watch()
    watch.delivered()
    await watch.clock.advance(seconds)
    assert re.search(rf'<time class="tight" title="[\d-]+ [\d:]+ UTC">{text}</time>', status(watch))


async def test_the_last_canaries_are_in_the_order_of_the_times_that_are_shown() -> None:
    watch = Watch()
    slow = watch.opened()
    await watch.clock.advance(30)
    quick = watch.delivered()
    await watch.clock.advance(30)
    watch.judged(slow, Outcome.OVERDUE, stage=Stage.TRANSIT, reason=Reason.NOT_THERE)
    page = status(watch).partition("Last canaries</h2>")[2]
    assert page.index(slow.id) < page.index(quick.id)


def test_every_column_has_a_heading() -> None:
    watch = Watch()
    watch.delivered()
    for _ in range(4):
        watch.failed()
    for page in (status(watch), canary_page(watch.clock, watch.history[watch.delivered().id])):
        assert "<th></th>" not in page
        heads = [re.findall(r"<th[^>]*>([^<]*)</th>", head) for head in re.findall(r"<thead>.*?</thead>", page)]
        assert heads
        assert all(all(names) for names in heads)


def test_a_trend_in_words() -> None:
    watch = Watch()
    for _ in range(4):
        watch.failed()
    assert re.search(r"rcpt 550 5.1.1 rejected: 100% of canaries, (getting|unchanged)", status(watch))


def test_a_thousand_routes_are_all_there_and_the_worst_is_told_first() -> None:
    watch = Watch(*((f"route-{number}", "outside", f"box-{number % 40}", "mx") for number in range(1000)))
    for number in range(1000):
        watch.delivered(f"route-{number}")
    for _ in range(4):
        watch.failed(route="route-999")
    page = status(watch)
    told, _, matrix = page.partition('<h2 id="routes">')
    assert told.count('<tr><th scope="row">') == 1
    assert "rcpt 550 5.1.1 rejected" in told.partition("Not ok")[2]
    assert matrix.count('class="dot ') == 1000
    assert matrix.count('class="dot failing"') == 1
    assert len(page) < 300_000


@pytest.mark.parametrize("shape", [(1, 1000), (10, 100)], ids=str)
def test_it_stays_small_where_all_is_lost(shape: tuple[int, int]) -> None:
    senders, boxes = shape
    names = [
        (f"all-{sender:03}-provider-{box:04}-mailbox", f"{sender:03}-provider", f"{box:04}-mailbox", "mx")
        for sender in range(senders)
        for box in range(boxes)
    ]
    watch = Watch(*names)
    for name, *_ in names:
        for _ in range(4):
            watch.failed(route=name)
    assert len(status(watch)) < 300_000
    assert len(status(watch, by="sender")) < 300_000


# ---- which routes


def three() -> Watch:
    """One route ok, one degraded, one unknown."""
    watch = Watch(ROUTE, ("second", "outside", "other", "mx"), ("internal", "office", "contoso", "submission"))
    for _ in range(4):
        watch.delivered()
        watch.failed(route="second")
    return watch


def shown(watch: Watch, **choice: Any) -> set[str]:
    matrix = status(watch, **choice).partition('<h2 id="routes">')[2].partition('<h2 id="incidents">')[0]
    return set(re.findall(r">(inbound|second|internal)</a>", matrix))


@pytest.mark.parametrize(
    ("choice", "routes"),
    [
        ({}, {"inbound", "second", "internal"}),
        ({"text": "OFFICE"}, {"internal"}),
        ({"text": "mx contoso"}, {"inbound"}),
        ({"text": "550 5.1.1"}, {"second"}),
        ({"text": "nothing like it"}, set()),
        ({"state": "ok"}, {"inbound"}),
        ({"state": "not-ok"}, {"second", "internal"}),
        ({"routes": ("second", "gone")}, {"second"}),
        ({"routes": ("second",), "state": "ok"}, set()),
    ],
)
def test_routes_are_found_by_words_state_and_name(choice: dict[str, Any], routes: set[str]) -> None:
    assert shown(three(), **choice) == routes


def test_counts_are_of_all_routes_whatever_is_shown() -> None:
    page = status(three(), text="office")
    assert re.findall(r"<strong>(\d+)</strong> (\w+)", page) == [("1", "failing"), ("1", "unknown"), ("1", "ok")]
    assert "Routes: 1 of 3" in page
    assert "All routes</a>" in page


def test_canaries_and_incidents_are_those_of_the_routes_shown() -> None:
    watch = three()
    page = status(watch, routes=("second",)).partition('<h2 id="incidents">')[2]
    assert '<th scope="row">second</th>' in page
    assert '<th scope="row">inbound</th>' not in page


@pytest.mark.parametrize(
    ("query", "choice"),
    [
        ("", Choice()),
        ("text=+a+b+&state=failing&by=sender&refresh=off", Choice("a b", "failing", (), "sender", False)),
        ("route=a&canaries=failed", Choice(routes=("a",), failed=True)),
        ("route=a&route=b&state=odd&by=odd&refresh=odd&canaries=odd&more=1", Choice(routes=("a", "b"))),
        ("text=" + "x" * 1000, Choice("x" * 100)),
        ("&".join(f"route={number}" for number in range(200)), Choice(routes=tuple(map(str, range(100))))),
    ],
)
def test_what_a_url_asks_for(query: str, choice: Choice) -> None:
    assert Choice.of(parse_qsl(query)) == choice
    link = choice.link()
    assert Choice.of(parse_qsl(link.partition("?")[2])) == choice


def test_the_work_of_a_search_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    watch, texts = three(), []

    def text(row: RouteRow) -> str:
        texts.append(row.route.name)
        return "a b c d e f g h"

    monkeypatch.setattr(RouteRow, "text", property(text))
    found = tuple(rows(watch.states, watch.history, watch.clock.now()))
    for asked, wanted in (("a A a b c d e f g h " * 2 + "nowhere", True), ("nowhere", False)):
        texts.clear()
        # one by one, so that a slice of time can end after each, wanted or not
        assert [is_wanted for _, is_wanted in Choice(text=asked).marked(found)] == [wanted] * 3
        assert sorted(texts) == ["inbound", "internal", "second"], "once for each route"


def test_whatever_is_asked_for_is_escaped() -> None:
    page = status(three(), text='"><b>', routes=('"><i>',))
    assert '"><b>' not in page
    assert '"><i>' not in page
    assert 'value="&quot;&gt;&lt;b&gt;"' in page


def test_the_refresh_may_be_paused_and_the_rest_is_kept() -> None:
    watch = three()
    assert 'href="/?text=a&amp;refresh=off">pause</a>' in status(watch, text="a")
    paused = status(watch, text="a", refresh=False)
    assert 'http-equiv="refresh"' not in paused
    assert 'href="/?text=a">refresh again</a>' in paused


def test_who_has_paused_stays_so_wherever_a_link_leads() -> None:
    page = status(three(), by="sender", refresh=False)
    links = re.findall(r'href="(/?\?[^"]*)"', page)
    assert len(links) > 8
    assert [link for link in links if "refresh=off" not in link] == ["/?by=sender"], "but that which asks for it"
    assert [link for link in links if "by=sender" not in link] == []


def test_who_has_chosen_something_is_disturbed_less_often() -> None:
    assert 'http-equiv="refresh" content="15"' in status(three())
    assert 'http-equiv="refresh" content="60"' in status(three(), text="a")


def test_an_incident_leads_to_what_was_said_also_when_it_is_long_over() -> None:
    watch = Watch()
    failed = [watch.failed().id for _ in range(6)]
    for _ in range(100):
        watch.delivered()
    incidents = status(watch).partition('<h2 id="incidents">')[2]
    assert '<a href="/?route=inbound&amp;canaries=failed#canaries">inbound</a>' in incidents
    page = status(watch, routes=("inbound",), failed=True)
    assert re.findall(r'href="/canaries/(\w+)', page.partition('<h2 id="canaries">')[2]) == failed[::-1]
    assert status(watch, routes=("inbound",)).count('class="delivered"') >= 30


def test_a_page_says_whose_it_is() -> None:
    shown = overview((), Watch().states, Watch().history)
    page = status_page(shown, (), "fra1")
    assert "<title>fra1 - mailprobe</title>" in page
    assert "<h1>mailprobe fra1</h1>" in page


# ---- the last hours


def pictures(page: str) -> list[tuple[str, str, str]]:
    """What is said, the bars and the line of each picture."""
    return re.findall(
        r'<svg class="spark"[^>]*aria-label="([^"]*)"><path class="f" d="([^"]*)"/><path d="([^"]*)"/>', page
    )


async def test_a_route_is_drawn() -> None:
    watch = Watch()
    for delivery in (0.1, 0.1, 60.0):
        watch.delivered(delivery=delivery)
        await watch.clock.advance(8.0)
    watch.failed()
    ((words, bars, line),) = pictures(status(watch).partition('<h2 id="routes">')[2])
    assert words == "1 of 4 affected, slowest delivery 59.0 s"
    assert bars == "M3 12v-12h1V12"
    assert line == "M0 11h2V5h1"


def test_before_the_first_verdict_nothing_is_drawn() -> None:
    assert pictures(status(Watch())) == []


# ---- the page of a canary


def test_a_canary_that_was_delivered() -> None:
    watch = Watch()
    page = canary_page(watch.clock, watch.history[watch.delivered(transit_error_seconds=0.01).id])
    for text in (
        "<td>spf pass, dkim fail</td>",
        "<td>TLSv1.3, TLS_AES_256_GCM_SHA384</td>",
        "<td>2027-01-01 00:00:00 UTC</td>",
        "Queued as</th><td>4XyZ</td>",
        "<td>1.50 s, to within 10.0 ms</td>",
        '<th scope="row" class="tight">connect</th><td class="number">250 ms</td>',
        '<th scope="row" class="tight">transit</th><td class="number">1.50 s</td>',
        "imap.example.org",
    ):
        assert text in page
    assert not re.search(r"<th scope=.row.>[^<]*</th><td></td>", page)


def test_bars_follow_one_another_and_stay_in_their_picture() -> None:
    watch = Watch()
    canary = watch.opened()
    stages = (StageTime(Stage.CONNECT, 3.0), StageTime(Stage.TLS, 1.0), StageTime(Stage.QUIT, 0.0))
    watch.attempted(canary, stages=stages)
    page = canary_page(watch.clock, watch.history[canary.id])
    bars = [tuple(map(float, bar)) for bar in re.findall(r'<rect x="([\d.]+)" y="2" width="([\d.]+)"', page)]
    assert bars == [(0.0, 75.0), (75.0, 25.0), (99.2, 0.8)]


def test_stages_without_time_have_bars_too() -> None:
    watch = Watch()
    canary = watch.opened()
    watch.attempted(canary, stages=(StageTime(Stage.RESOLVE, 0.0),))
    assert '<rect x="0.00"' in canary_page(watch.clock, watch.history[canary.id])


def test_what_ended_an_attempt_stands_at_its_stage() -> None:
    watch = Watch()
    canary = watch.opened()
    stages = (StageTime(Stage.STARTTLS, 0.1), StageTime(Stage.TLS, 0.2))
    facts = {"stage": Stage.TLS, "reason": Reason.CERTIFICATE_EXPIRED, "detail": "<expired>"}
    evil = replace(TLS, subject="CN=<evil>", issuer="")
    watch.attempted(canary, READY, stages=stages, outcome=AttemptOutcome.UNSENT, tls=evil, **facts)
    page = canary_page(watch.clock, watch.history[canary.id])
    assert '<td class="long">certificate_expired: &lt;expired&gt;</td>' in page
    assert '<td class="long">220 2.0.0 Ready to start TLS</td>' in page
    assert "<td>CN=&lt;evil&gt;</td>" in page


def test_a_canary_of_which_nothing_is_known_yet() -> None:
    watch = Watch()
    page = canary_page(watch.clock, watch.history[watch.opened().id])
    assert "<td>in flight</td>" in page
    assert "<td></td>" not in page


def test_folders_and_bounces_are_escaped() -> None:
    watch = Watch()
    canary = watch.delivered()
    seen = watch.history[canary.id].sighting
    assert seen
    sighting = replace(seen, folder="<b>Junk</b>")
    watch.publish(Judged(Verdict(canary, Outcome.JUNKED, watch.clock.now(), sighting=sighting)))
    assert "<b>" not in status(watch) + canary_page(watch.clock, watch.history[canary.id])
    watch.publish(
        Judged(Verdict(canary, Outcome.JUNKED, watch.clock.now(), sighting=replace(seen, folder="\x9b\u202e")))
    )
    assert not set("\x9b\u202e") & set(status(watch) + canary_page(watch.clock, watch.history[canary.id]))


# ---- colours


def brightness(colour: str) -> float:
    """Relative luminance. Source: WCAG 2.2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1])
@pytest.mark.parametrize("name", ["text", "link", "good", "warn", "bad", "dim"])
def test_all_text_can_be_read_in_light_and_dark(scheme: int, name: str) -> None:
    page = brightness(re.findall(r"--page:#(\w{6})", STYLE)[scheme])
    text = brightness(re.findall(rf"--{name}:#(\w{{6}})", STYLE)[scheme])
    assert (max(page, text) + 0.05) / (min(page, text) + 0.05) >= 4.5


# ---- vendors


def test_without_feeds_there_is_nothing_of_vendors() -> None:
    assert "Vendors" not in status(Watch())


def test_what_vendors_say_is_escaped_and_an_unreachable_one_is_not_green() -> None:
    told = VendorIncident("1", "Mail is <b>late</b>", VendorState.OUTAGE)
    feeds = (
        FeedSeen("first", VendorState.OUTAGE, 990.0, 990.0, "", (told, replace(told, title="old", resolved=1.0))),
        FeedSeen("second", VendorState.UNREACHABLE, 990.0, None, "connection_refused"),
        FeedSeen("third"),
    )
    page = status(Watch(), feeds)
    assert '<a href="#vendors">vendors</a>' in page
    assert ">Vendors</h2>" in page
    assert "Mail is &lt;b&gt;late&lt;/b&gt;" in page
    assert ">old" not in page
    assert '<span class="failing">outage</span>' in page
    assert '<span class="unknown">unreachable</span>' in page
    assert '<span class="unknown">unknown</span>' in page
    assert "connection_refused" in page
