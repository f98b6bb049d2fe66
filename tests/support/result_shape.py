"""The document of `mailprobe probe --format json`, checked key by key: nothing missing, nothing more, every type right.

Written from the contract, not from the code.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

STAGES = (
    *("resolve", "connect", "tls", "greeting", "ehlo", "starttls", "auth", "mail", "rcpt", "data", "end_of_data"),
    *("quit", "transit", "select", "fetch"),
)
OUTCOMES = (*("delivered", "junked", "deferred", "rejected", "unsent", "bounced", "overdue", "unobserved", "skipped"),)
ATTEMPT_OUTCOMES = ("accepted", "in_doubt", "deferred", "rejected", "unsent")
CATEGORIES = (
    *("address", "mailbox", "mailbox_full", "system", "network", "protocol", "content", "policy", "authentication"),
    *("throttled", "other"),
)
AUTHENTICATION = ("pass", "fail", "softfail", "neutral", "none", "temperror", "permerror", "missing")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")

Check = Callable[[Any, str], None]


def check_results(document: Any, *, transcript: bool = False) -> None:
    """Raises AssertionError that names the place where the document is not of the contract's shape."""
    result: dict[str, Check] = {
        "route": text,
        "canary": text,
        "outcome": maybe(one_of(OUTCOMES)),
        "stage": maybe(one_of(STAGES)),
        "reason": maybe(text),
        "category": maybe(one_of(CATEGORIES)),
        "delivery_seconds": maybe(seconds),
        "transit_seconds": maybe(seconds),
        "transit_error_seconds": maybe(seconds),
        "attempts": list_of(ATTEMPT),
        "sighting": maybe(SIGHTING),
        "bounce": maybe(BOUNCE),
    }
    if transcript:
        result["transcript"] = list_of(TRANSCRIPT_LINE)
    keys({"schema": exactly(1), "results": list_of(keys(result))})(document, "document")


def text(value: Any, at: str) -> None:
    assert isinstance(value, str), f"{at}: {value!r} is no text"


def number(value: Any, at: str) -> None:
    assert type(value) is int, f"{at}: {value!r} is no integer"


def boolean(value: Any, at: str) -> None:
    assert isinstance(value, bool), f"{at}: {value!r} is neither true nor false"


def seconds(value: Any, at: str) -> None:
    assert type(value) in (int, float), f"{at}: {value!r} is no number"
    assert value >= 0, f"{at}: {value!r} is negative"


def time(value: Any, at: str) -> None:
    text(value, at)
    assert _RFC3339.fullmatch(value), f"{at}: {value!r} is no time of RFC 3339 in UTC"


def enhanced_code(value: Any, at: str) -> None:
    text(value, at)
    assert _ENHANCED.fullmatch(value), f"{at}: {value!r} is no enhanced status code"


def exactly(wanted: Any) -> Check:
    def check(value: Any, at: str) -> None:
        assert value == wanted, f"{at}: {value!r} is not {wanted!r}"

    return check


def one_of(values: tuple[str, ...]) -> Check:
    def check(value: Any, at: str) -> None:
        assert value in values, f"{at}: {value!r} is none of {', '.join(values)}"

    return check


def maybe(check: Check) -> Check:
    return lambda value, at: None if value is None else check(value, at)


def list_of(check: Check) -> Check:
    def check_all(value: Any, at: str) -> None:
        assert isinstance(value, list), f"{at}: {value!r} is no list"
        for index, each in enumerate(value):
            check(each, f"{at}[{index}]")

    return check_all


def keys(checks: dict[str, Check]) -> Check:
    def check(value: Any, at: str) -> None:
        assert isinstance(value, dict), f"{at}: {value!r} is no object"
        assert value.keys() == checks.keys(), f"{at}: {sorted(value.keys() ^ checks.keys())} are too many or missing"
        for key, one in checks.items():
            one(value[key], f"{at}.{key}")

    return check


ATTEMPT = keys(
    {
        "started": time,
        "outcome": one_of(ATTEMPT_OUTCOMES),
        "stages": list_of(keys({"stage": one_of(STAGES), "seconds": seconds})),
        "replies": list_of(
            keys({"stage": one_of(STAGES), "code": number, "enhanced_code": maybe(enhanced_code), "text": text})
        ),
        "peer": maybe(keys({"host": text, "address": text, "port": number})),
        "tls": maybe(
            keys(
                {
                    "version": text,
                    "cipher": text,
                    "subject": text,
                    "issuer": text,
                    "not_after": maybe(time),
                    "verified": boolean,
                }
            )
        ),
        "queue_id": maybe(text),
        "dns": maybe(
            keys(
                {
                    "mx": list_of(keys({"host": text, "preference": number})),
                    "implicit_mx": boolean,
                    "mx_ttl": maybe(number),
                    "addresses": list_of(text),
                    "address_ttl": maybe(number),
                }
            )
        ),
        "mta_sts": maybe(
            keys(
                {
                    "mode": one_of(("enforce", "testing", "none", "absent", "error")),
                    "id": maybe(text),
                    "mx": list_of(text),
                    "max_age": maybe(number),
                    "passed": maybe(boolean),
                    "detail": maybe(text),
                }
            )
        ),
        "dane": maybe(
            keys(
                {
                    "status": one_of(("usable", "unusable", "absent", "error")),
                    "records": list_of(text),
                    "passed": maybe(boolean),
                    "detail": maybe(text),
                }
            )
        ),
    }
)
SIGHTING = keys(
    {
        "folder": text,
        "internaldate": maybe(time),
        "hops": list_of(keys({"by": maybe(text), "from": maybe(text), "seconds": maybe(seconds)})),
        "authentication": keys(dict.fromkeys(("spf", "dkim", "dmarc", "arc"), one_of(AUTHENTICATION))),
    }
)
BOUNCE = keys({"action": text, "status": text, "diagnostic": text, "reporting_mta": text})
TRANSCRIPT_LINE = keys({"attempt": number, "seconds": seconds, "direction": one_of((">", "<", "*")), "text": text})
