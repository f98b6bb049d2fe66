"""Which format, and whether compressed, as clients ask for it."""

from __future__ import annotations

import pytest

from mailprobe.web.accept import accepts_gzip, prefers_openmetrics
from mailprobe.web.access import credentials

PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/html,*/*;q=0.8", False),
        ("text/plain", False),
        (PROMETHEUS_3, True),
        ("application/openmetrics-text", True),
        ("Application/OpenMetrics-Text; Version=1.0.0", True),
        ("application/openmetrics-text;q=0.1,text/plain;q=0.9", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=nonsense", False),
        ("application/openmetrics-text;q=nan", False),
        ("," * 5000 + "application/openmetrics-text", False),
    ],
)
def test_openmetrics(accept: str, openmetrics: bool) -> None:
    assert prefers_openmetrics(accept) is openmetrics


@pytest.mark.parametrize(
    ("encodings", "gzip"),
    [("", False), ("gzip", True), ("gzip, deflate, br", True), ("gzip;q=0", False), ("identity", False), ("*", False)],
)
def test_gzip(encodings: str, gzip: bool) -> None:
    assert accepts_gzip(encodings) is gzip


@pytest.mark.parametrize(
    ("header", "login"),
    [
        ("Basic YWxpY2U6c2VjcmV0", ("alice", b"secret")),
        ("basic YWxpY2U6YTpi", ("alice", b"a:b")),
        ("Basic YWxpY2U6", ("alice", b"")),
        ("Basic YWxpY2U=", None),
        ("Basic !!!!", None),
        ("Basic /////w==", None),
        ("Bearer x", None),
        ("", None),
        (None, None),
    ],
)
def test_credentials(header: str | None, login: tuple[str, bytes] | None) -> None:
    assert credentials(header) == login
