"""What people read on the pages: the words of a failure, times, order, and colours that can be read."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from support.observing import TLS, Watch

from mailprobe.errors import Reason, Reply, Stage
from mailprobe.events import Judged
from mailprobe.model import AttemptOutcome, Outcome, StageReply, StageTime, Verdict
from mailprobe.observe.wording import said
from mailprobe.web.canary_page import canary_page
from mailprobe.web.html import STYLE
from mailprobe.web.pages import overview, status_page

READY = StageReply(Stage.STARTTLS, Reply.of(220, "2.0.0 Ready to start TLS"))


def status(watch: Watch) -> str:
    shown = overview(watch.states, watch.history, watch.clock.now())
    return status_page(watch.clock, shown, "1.2.3")


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
    assert re.search(r"as of \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", page)


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


def test_a_thousand_routes_are_all_there_the_worst_first() -> None:
    watch = Watch(*((f"route-{number}", "outside", "contoso", "mx") for number in range(1000)))
    for number in range(1000):
        watch.delivered(f"route-{number}")
    for _ in range(4):
        watch.failed(route="route-999")
    page = status(watch).partition("Incidents</h2>")[0]
    assert page.count("<tr><td>route-") == 1000
    assert page.index("<td>route-999<") < page.index("<td>route-0<")


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
        '<td class="tight">connect</td><td class="number">250 ms</td>',
        '<td class="tight">transit</td><td class="number">1.50 s</td>',
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
    assert "<td>certificate_expired: &lt;expired&gt;</td>" in page
    assert "<td>220 2.0.0 Ready to start TLS</td>" in page
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
