"""Canaries as JSON, key by key as CONTRACT 1 has them."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from support.observing import Watch, a_sighting

from mailprobe.events import ArrivedLate, BounceReceived, CanaryLost, PolicyChecked
from mailprobe.model import (
    Bounce,
    DaneFacts,
    DaneStatus,
    DnsFacts,
    MtaStsFacts,
    MtaStsMode,
    Outcome,
    PolicyFacts,
)
from mailprobe.observe.document import canary_document, result_document, results_document


def test_a_delivered_canary_whole() -> None:
    watch = Watch()
    canary = watch.delivered(transit=1.5, delivery=2.5, transit_error_seconds=0.01)
    document = result_document(watch.history[canary.id], watch.clock, transcript=True)
    assert json.loads(json.dumps(document)) == {
        "route": "inbound",
        "canary": canary.id,
        "outcome": "delivered",
        "stage": None,
        "reason": None,
        "category": None,
        "delivery_seconds": 2.5,
        "transit_seconds": 1.5,
        "transit_error_seconds": 0.01,
        "attempts": [
            {
                "started": "2023-11-14T22:13:20.000Z",
                "outcome": "accepted",
                "stages": [{"stage": "connect", "seconds": 0.25}, {"stage": "rcpt", "seconds": 0.125}],
                "replies": [{"stage": "rcpt", "code": 250, "enhanced_code": "2.1.5", "text": "2.1.5 Ok"}],
                "peer": {"host": "mx.example.org", "address": "192.0.2.1", "port": 25},
                "tls": {
                    "version": "TLSv1.3",
                    "cipher": "TLS_AES_256_GCM_SHA384",
                    "subject": "CN=mx",
                    "issuer": "CN=ca",
                    "not_after": "2027-01-01T00:00:00.000Z",
                    "verified": True,
                },
                "queue_id": "4XyZ",
                "dns": None,
                "mta_sts": None,
                "dane": None,
            }
        ],
        "sighting": {
            "folder": "INBOX",
            "internaldate": "2026-01-22T19:00:05.000Z",
            "hops": [
                {"by": "mx.example.net", "from": "probe.example.com", "seconds": None},
                {"by": "imap.example.org", "from": "mx.example.net", "seconds": 3.0},
            ],
            "authentication": {"spf": "pass", "dkim": "fail", "dmarc": "missing", "arc": "missing"},
        },
        "bounce": None,
        "transcript": [
            {"attempt": 1, "seconds": 0.1, "direction": "<", "text": "220 <mx> & co"},
            {"attempt": 1, "seconds": 0.2, "direction": ">", "text": "EHLO probe"},
        ],
    }


def test_what_the_dns_and_the_policies_said() -> None:
    watch = Watch()
    canary = watch.opened()
    exchangers = (("mx1.example.org", 10), ("mx2.example.org", 20))
    watch.attempted(canary, dns=DnsFacts(exchangers, False, 300, ("192.0.2.1",), 60))
    sts = MtaStsFacts(MtaStsMode.ENFORCE, "20260101", ("*.example.org",), 86400, True)
    dane = DaneFacts(DaneStatus.ERROR, passed=False, detail="dns_servfail")
    watch.publish(PolicyChecked(canary, 1, PolicyFacts(sts, dane), watch.clock.now()))
    watch.publish(PolicyChecked(canary, 2, PolicyFacts(), watch.clock.now()))
    (attempt,) = result_document(watch.history[canary.id], watch.clock, transcript=False)["attempts"]
    assert attempt["dns"] == {
        "mx": [{"host": "mx1.example.org", "preference": 10}, {"host": "mx2.example.org", "preference": 20}],
        "implicit_mx": False,
        "mx_ttl": 300,
        "addresses": ["192.0.2.1"],
        "address_ttl": 60,
    }
    assert attempt["mta_sts"] == {
        "mode": "enforce",
        "id": "20260101",
        "mx": ["*.example.org"],
        "max_age": 86400,
        "passed": True,
        "detail": None,
    }
    assert attempt["dane"] == {"status": "error", "records": [], "passed": False, "detail": "dns_servfail"}


def test_without_a_verdict_everything_unknown_is_null() -> None:
    watch = Watch()
    canary = watch.opened()
    document = result_document(watch.history[canary.id], watch.clock, transcript=False)
    assert document == {
        "route": "inbound",
        "canary": canary.id,
        "attempts": [],
        **dict.fromkeys(
            (
                "outcome",
                "stage",
                "reason",
                "category",
                "delivery_seconds",
                "transit_seconds",
                "transit_error_seconds",
                "sighting",
                "bounce",
            )
        ),
    }


def test_a_failure_says_where_and_why() -> None:
    watch = Watch()
    document = result_document(watch.history[watch.failed().id], watch.clock, transcript=False)
    assert (document["outcome"], document["stage"], document["reason"]) == ("rejected", "rcpt", "rejected")
    assert document["category"] == "address"
    assert document["attempts"][0]["replies"][0]["enhanced_code"] == "5.1.1"


def test_a_bounce() -> None:
    watch = Watch()
    canary = watch.opened()
    watch.publish(BounceReceived(canary, Bounce(canary.id, "contoso", "failed", "5.1.1", "550 no", "mx.example", 1.0)))
    document = result_document(watch.history[canary.id], watch.clock, transcript=False)
    assert document["bounce"] == {
        "action": "failed",
        "status": "5.1.1",
        "diagnostic": "550 no",
        "reporting_mta": "mx.example",
    }


def test_what_came_afterwards() -> None:
    watch = Watch()
    late, lost = watch.failed(Outcome.OVERDUE), watch.failed(Outcome.OVERDUE)
    watch.publish(
        ArrivedLate(late, Outcome.OVERDUE, a_sighting(late, 1700.0), 1700.0, 700.0, 1.0, False),
        CanaryLost(lost, 9000.0),
    )
    first, second = (canary_document(watch.history[each.id], watch.clock, False) for each in (late, lost))
    assert (first["resolution"], first["late_seconds"], first["outcome"]) == ("late", 700.0, "overdue")
    assert (second["resolution"], second["late_seconds"]) == ("lost", None)
    assert (first["mailbox"], first["judged"]) == ("contoso", "2023-11-14T22:13:20.000Z")


@pytest.mark.parametrize("wall", [math.nan, math.inf, -1e300, 1e300])
def test_nonsense_from_other_clocks_is_null(wall: float) -> None:
    watch = Watch()
    canary = watch.opened()
    record = replace(watch.history[canary.id], sighting=replace(a_sighting(canary, 1.0), internaldate_wall=wall))
    document = result_document(record, watch.clock, transcript=False)
    assert document["sighting"]["internaldate"] is None
    json.dumps(document, allow_nan=False)


def test_a_folder_is_named_by_a_server() -> None:
    watch = Watch()
    canary = watch.opened()
    record = replace(watch.history[canary.id], sighting=replace(a_sighting(canary, 1.0), folder="J\x9b2J\u202ex"))
    assert result_document(record, watch.clock, transcript=False)["sighting"]["folder"] == "J\ufffd2J\ufffdx"


def test_several_canaries_are_one_document() -> None:
    watch = Watch()
    records = tuple(watch.history[canary.id] for canary in (watch.delivered(), watch.failed()))
    document = results_document(records, watch.clock, transcript=False)
    assert document["schema"] == 1
    assert [result["outcome"] for result in document["results"]] == ["delivered", "rejected"]
    assert "transcript" not in document["results"][0]
