"""What feeds say: samples of every kind, good and bad, and anything that a stranger may send instead."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.feed_samples import NAMES, FeedSample, wall

from mailprobe.feeds.fetch import LARGEST
from mailprobe.feeds.parse import PARSERS, FeedError
from mailprobe.feeds.parse.bounded import BRACKETS, INCIDENTS, TITLE, mail_time_of, time_of
from mailprobe.plan import FeedKind
from mailprobe.vendor import VendorReport, VendorState

GOOD = [name for name in NAMES if "wrong" not in FeedSample(name).facts]
BAD = [name for name in NAMES if "wrong" in FeedSample(name).facts]


def read(name: str, *services: str) -> VendorReport:
    sample = FeedSample(name)
    return PARSERS[sample.kind](sample.content, frozenset(services) or sample.services)


def refusal(kind: FeedKind, content: bytes) -> str:
    with pytest.raises(FeedError) as caught:
        PARSERS[kind](content, frozenset())
    return str(caught.value)


# ---- samples


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_says_where_it_comes_from(name: str) -> None:
    assert len(FeedSample(name).facts["origin"]) > 20


def test_there_is_a_sample_of_everything() -> None:
    for which in ("-good", "-open"):
        assert {FeedSample(name).kind for name in GOOD if which in name} == set(FeedKind)
    assert len(BAD) >= 7


@pytest.mark.parametrize("name", GOOD)
def test_what_a_sample_comes_to(name: str) -> None:
    sample, report = FeedSample(name), read(name)
    found = [
        {
            "id": each.id,
            "state": str(each.state),
            "posted": each.posted,
            "begun": each.begun,
            "open": each.is_open(sample.now),
        }
        for each in report.incidents
    ]
    expected = [
        {**each, **{key: each[key] and pytest.approx(wall(each[key]), abs=1e-3) for key in ("posted", "begun")}}
        for each in sample.facts["incidents"]
    ]
    assert found == expected
    assert report.state(sample.now) == VendorState(sample.facts["state"])
    assert report.detail == ""


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_feed_is_named(name: str) -> None:
    with pytest.raises(FeedError) as caught:
        read(name)
    assert str(caught.value) == FeedSample(name).facts["wrong"]


# ---- what matters


def test_a_start_that_was_written_afterwards_is_not_the_first_post() -> None:
    first = read("graph-open-backdated").incidents[0]
    assert first.posted is not None
    assert first.begun is not None
    assert first.posted - first.begun == 67 * 60


def test_an_incident_without_a_post_has_no_first_post() -> None:
    assert read("graph-resolved").incidents[1].posted is None


def test_a_second_page_that_is_not_read_is_mentioned() -> None:
    content = FeedSample("graph-good").content.replace(b'"value"', b'"@odata.nextLink": "https://a.example/", "value"')
    report = PARSERS[FeedKind.MICROSOFT_GRAPH](content, frozenset())
    assert report.incidents
    assert report.detail == "it tells of more issues than are on its first page"


def test_services_that_do_not_matter_are_left_out() -> None:
    assert [each.id for each in read("graph-good", "microsoft teams").incidents] == ["TM1200001"]
    assert [each.id for each in read("google-open", "google calendar").incidents] == ["7kS2WcXm"]
    assert read("rss-open", "incoming").incidents[0].title == "Incoming mail is delayed &amp; slow"
    assert read("rss-open", "web shop").incidents == ()


def test_components_are_judged_by_themselves() -> None:
    assert read("statuspage-degraded", "web shop").stated is VendorState.OUTAGE
    assert read("statuspage-degraded", "imap").stated is VendorState.DEGRADED
    assert read("statuspage-open", "imap").incidents != ()
    assert read("statuspage-open", "another").incidents == ()


def test_a_component_that_is_not_there_is_never_ok() -> None:
    report = read("statuspage-good", "imap", "smtp")
    assert report.stated is VendorState.UNKNOWN
    assert report.detail == "no component is named smtp"


def test_a_post_is_taken_to_be_open_for_a_day() -> None:
    report, posted = read("rss-open"), wall("2026-02-03T10:32:43Z")
    assert report.state(posted + 86399) is VendorState.DEGRADED
    assert report.state(posted + 86401) is VendorState.OK


# ---- hostile


@pytest.mark.parametrize(
    ("kind", "content", "said"),
    [
        (FeedKind.STATUSPAGE, b"[" * 150_000, "nested too deeply"),
        (FeedKind.STATUSPAGE, b"[" * (BRACKETS + 1), "too much in it"),
        (FeedKind.STATUSPAGE, b"[1]", "JSON without the list incidents"),
        (FeedKind.STATUSPAGE, b'{"incidents": [], "status": "none"}', "JSON without a status"),
        (FeedKind.MICROSOFT_GRAPH, b'{"error": "no"}', "an error: no"),
        (FeedKind.MICROSOFT_GRAPH, b'{"error": {}}', "an error"),
        (FeedKind.MICROSOFT_GRAPH, b"null", "JSON without the list value"),
        (FeedKind.MICROSOFT_GRAPH, b"", "not JSON"),
        (FeedKind.MICROSOFT_GRAPH, b"9" * 100_000, "not JSON"),
        (FeedKind.GOOGLE_WORKSPACE, b"3", "JSON that is no list of incidents"),
        (FeedKind.GOOGLE_WORKSPACE, b'{"incidents": []}', "JSON that is no list of incidents"),
        (FeedKind.RSS, b"", "not XML: no element found"),
        (FeedKind.RSS, b"<svg/>", "XML that is neither RSS nor Atom"),
        (FeedKind.RSS, b"<rss>" + b"<a>" * 60, "nested too deeply"),
        (FeedKind.RSS, b'<?xml version="1.0" encoding="klingon"?><rss/>', "an encoding that is not known"),
        (FeedKind.RSS, b'<?xml version="1.0" encoding="utf-8"?><rss><item><title>\xe4</title></item></rss>', "not XML"),
    ],
)
def test_what_is_wrong_is_named(kind: FeedKind, content: bytes, said: str) -> None:
    assert said in refusal(kind, content)


def test_texts_in_another_charset_cost_only_their_letters() -> None:
    content = '[{"id": "1", "external_desc": "Störung", "service_name": "Gmail"}]'
    report = PARSERS[FeedKind.GOOGLE_WORKSPACE](content.encode("latin-1"), frozenset({"gmail"}))
    assert report.incidents[0].title == "St\ufffdrung"
    for charset in ("utf-8-sig", "utf-16", "utf-32"):
        report = PARSERS[FeedKind.GOOGLE_WORKSPACE](content.encode(charset), frozenset({"gmail"}))
        assert report.incidents[0].title == "Störung"
    declared = '<?xml version="1.0" encoding="ISO-8859-1"?><rss><item><guid>1</guid><title>Störung</title></item></rss>'
    assert PARSERS[FeedKind.RSS](declared.encode("latin-1"), frozenset()).incidents[0].title == "Störung"


def test_a_feed_cannot_fill_the_memory() -> None:
    many = b"[" + b",".join(b'{"id":"%d","external_desc":"%s"}' % (n, b"x" * 1000) for n in range(2000)) + b"]"
    assert len(many) < LARGEST
    report = PARSERS[FeedKind.GOOGLE_WORKSPACE](many, frozenset())
    assert len(report.incidents) == INCIDENTS
    assert max(len(each.title) for each in report.incidents) == TITLE
    item = b"<item><guid>%d</guid><title>" + b"x" * 1000 + b"</title>" + b"<date>1</date>" * 100 + b"</item>"
    report = PARSERS[FeedKind.RSS](b"<rss>" + b"".join(item % n for n in range(1000)) + b"</rss>", frozenset())
    assert len(report.incidents) == INCIDENTS
    assert max(len(each.title) for each in report.incidents) == TITLE


def judged(kind: FeedKind, content: bytes) -> None:
    """Whatever it is, it is a report or a FeedError, and what is in it is safe to show."""
    try:
        report = PARSERS[kind](content, frozenset())
    except FeedError:
        return
    report.state(0.0)
    for each in report.incidents:
        assert each.id
        assert len(each.id) <= TITLE
        assert not re.search(r"[\x00-\x1f\x7f\u202e\ud800-\udfff]", each.id + each.title)
        for time in (each.posted, each.begun):
            assert time is None or 9e8 < time < 4.2e9


@given(st.sampled_from(FeedKind), st.binary(max_size=200))
def test_any_octets(kind: FeedKind, content: bytes) -> None:
    judged(kind, content)


WORDS = (
    "value incidents components status id title name impact posts createdDateTime updates created incident_updates "
    "created_at resolved_at isResolved indicator error code message affected_products end begin"
)
KEYS = st.sampled_from(WORDS.split())
TIMES = st.sampled_from(["2026-01-22T19:37:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-2-30"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | TIMES
DOCUMENTS = st.recursive(LEAVES, lambda below: st.lists(below, max_size=4) | st.dictionaries(KEYS, below, max_size=8))


@given(st.sampled_from([kind for kind in FeedKind if kind is not FeedKind.RSS]), DOCUMENTS, st.booleans())
def test_any_json(kind: FeedKind, document: object, wrapped: bool) -> None:
    if wrapped:
        key = "value" if kind is FeedKind.MICROSOFT_GRAPH else "incidents"
        document = [document] if kind is FeedKind.GOOGLE_WORKSPACE else {key: [document]}
    judged(kind, json.dumps(document).encode())


NAMES_OF_ELEMENTS = "title guid id link pubDate updated status category item entry a:title x"
ELEMENTS = st.sampled_from(NAMES_OF_ELEMENTS.split())
TEXTS = st.text(st.characters(blacklist_characters="<&", blacklist_categories=("Cs", "Cc")), max_size=20) | TIMES


@given(st.lists(st.tuples(ELEMENTS, TEXTS | st.sampled_from(["Tue, 03 Feb 2026 10:32:43 +9999", "Tue"])), max_size=12))
def test_any_item(parts: list[tuple[str, str]]) -> None:
    inside = "".join(f'<{name} href="&#x202e;{number}">{text}</{name}>' for number, (name, text) in enumerate(parts))
    judged(FeedKind.RSS, f'<rss xmlns:a="urn:a"><item>{inside}</item></rss>'.encode())


# ---- times


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-01-22T19:37:00Z", 1769110620.0),
        ("2026-01-22T19:37:00.1234567Z", 1769110620.123456),
        ("2026-01-22T13:37:00-06:00", 1769110620.0),
        ("2026-01-22T19:37:00", 1769110620.0),
        ("1970-01-01T00:00:00Z", None),
        ("2026-13-01T00:00:00Z", None),
        ("yesterday, sort of", None),
        ("", None),
        (1769110620, None),
        (None, None),
    ],
)
def test_times(text: object, seconds: float | None) -> None:
    assert time_of(text) == seconds


def test_times_of_rss() -> None:
    assert mail_time_of("Thu, 22 Jan 2026 19:37:00 GMT") == 1769110620.0
    assert mail_time_of("Thu, 22 Jan 2026 14:37:00 EST") == 1769110620.0
    assert mail_time_of("2026-01-22T19:37:00Z") == 1769110620.0
    assert mail_time_of("Thu, 99 Jan 2026 19:37:00 GMT") is None
    assert mail_time_of("") is None


@given(st.text(max_size=60))
def test_any_time(text: str) -> None:
    for time in (time_of(text), mail_time_of(text)):
        assert time is None or 9e8 < time < 4.2e9
