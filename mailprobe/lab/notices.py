"""The delivery status notification that the lab's servers send when a behaviour tells them to bounce (RFC 3464)."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from email.utils import format_datetime

_STATUS = re.compile(r"^\d{3}[ -]([245]\.\d{1,3}\.\d{1,3})")


def failure_notice(host: str, sender: str, recipient: str, reply: str, original: bytes) -> bytes:
    """A report to `sender` that `recipient` could not be reached, because of `reply`; returns the original's header."""
    status = _STATUS.match(reply)
    boundary = f"=_{secrets.token_hex(8)}"
    header = original.partition(b"\r\n\r\n")[0].decode("utf-8", "replace")
    diagnostic = " ".join(reply.split())
    return (
        f"""\
Return-Path: <>
From: Mail Delivery System <MAILER-DAEMON@{host}>
To: <{sender}>
Date: {format_datetime(datetime.now(UTC))}
Message-ID: <{secrets.token_hex(8)}@{host}>
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="{boundary}"

--{boundary}
Content-Type: text/plain; charset=us-ascii

Your message to {recipient} could not be delivered: {diagnostic}

--{boundary}
Content-Type: message/delivery-status

Reporting-MTA: dns; {host}

Final-Recipient: rfc822; {recipient}
Action: failed
Status: {status[1] if status else "5.0.0"}
Diagnostic-Code: smtp; {diagnostic}

--{boundary}
Content-Type: text/rfc822-headers

{header}

--{boundary}--
""".replace("\r\n", "\n")
        .replace("\n", "\r\n")
        .encode()
    )
