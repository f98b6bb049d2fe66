"""The one map from what aiosmtplib and our protocol raise to a `ProbeFailure`."""

from __future__ import annotations

from typing import Final

from aiosmtplib import SMTPException, SMTPServerDisconnected

from mailprobe.errors import ProbeFailure, Reason, Stage
from mailprobe.net import failure as net
from mailprobe.smtp.protocol import PlaintextAfterStarttls, Surplus
from mailprobe.smtp.reading import MalformedReply, ReplyTooLong

_REASONS: Final[tuple[tuple[type[SMTPException], Reason], ...]] = (
    (SMTPServerDisconnected, Reason.CONNECTION_LOST),
    (Surplus, Reason.UNEXPECTED_REPLY),
    (MalformedReply, Reason.MALFORMED_REPLY),
    (ReplyTooLong, Reason.REPLY_TOO_LONG),
    (PlaintextAfterStarttls, Reason.PLAINTEXT_AFTER_STARTTLS),
)


def failure_of(error: Exception, stage: Stage, timeout: float) -> ProbeFailure | None:
    """The fact that an exception is; None if it is a bug of ours. `timeout`: how long the stage was waited for."""
    for class_, reason in _REASONS:
        if isinstance(error, class_):
            cause = net.failure_of(error.__cause__, stage) if error.__cause__ else None
            return ProbeFailure(stage, reason, f"{error}: {cause.detail}" if cause else str(error))
    failure = net.failure_of(error, stage)
    if failure and isinstance(error, TimeoutError) and not failure.detail:
        return ProbeFailure(stage, failure.reason, f"no answer within {timeout:g} s")
    return failure
