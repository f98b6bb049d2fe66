"""The one table of this adapter: what IMAP says, and what can become of a connection, as a `ProbeFailure`.

Decided by type, by OK/NO/BAD and by response codes (RFC 3501 7.1, RFC 5530), never by words in a text.
"""

from __future__ import annotations

from typing import Final

from mailprobe.errors import ProbeFailure, Reason, Stage, plain_text
from mailprobe.imap import parse
from mailprobe.imap.protocol import ConnectionLost, Exchange, GivenUp, PlaintextAfterStarttls, TooMuch, Violation
from mailprobe.net import failure as network

_BY_CODE: Final = {
    "AUTHENTICATIONFAILED": Reason.AUTH_REJECTED,
    "AUTHORIZATIONFAILED": Reason.AUTH_REJECTED,
    "EXPIRED": Reason.AUTH_REJECTED,
    "LIMIT": Reason.THROTTLED,
    "OVERQUOTA": Reason.THROTTLED,  # of commands or bandwidth: nothing that we ask for takes storage
    "THROTTLED": Reason.THROTTLED,
    "NONEXISTENT": Reason.MAILBOX_MISSING,
    "TRYCREATE": Reason.MAILBOX_MISSING,
}
_TEMPORARY: Final = {"UNAVAILABLE", "INUSE", "SERVERBUG", "CORRUPTION", "CONTACTADMIN", "PRIVACYREQUIRED"}
"""The server's own trouble: with a login it says nothing about the password."""
_WITHOUT_CODE: Final = {Stage.AUTH: Reason.AUTH_REJECTED, Stage.STARTTLS: Reason.STARTTLS_UNAVAILABLE}
_LET_IN: Final = frozenset({Stage.SELECT})
"""Where BAD is no word about our syntax: LIST, SELECT and STATUS are the same for every server (RFC 3501 6.3).

A server that accepts a log-in and answers BAD to all that follows has no mailbox to give, as Exchange does it. It does
so for too many connections and for a store that is down alike, so this is `server_refused`, and not `throttled`, which
would hide the second.
"""


def refusal(exchange: Exchange, stage: Stage) -> ProbeFailure:
    """What a NO or BAD means."""
    text = f"{exchange.result} {plain_text(exchange.text)}"
    if exchange.result != "NO" and stage not in _LET_IN:
        return ProbeFailure(stage, Reason.UNEXPECTED_REPLY, text)
    return ProbeFailure(stage, _coded(exchange.text, stage) or _WITHOUT_CODE.get(stage, Reason.SERVER_REFUSED), text)


def failure_of(error: BaseException, stage: Stage) -> ProbeFailure | None:
    """The fact that an exception is; None if it is none, but a bug of ours, or a cancellation."""
    match error:
        case PlaintextAfterStarttls():
            return ProbeFailure(stage, Reason.PLAINTEXT_AFTER_STARTTLS, str(error))
        case TooMuch():
            return ProbeFailure(stage, Reason.REPLY_TOO_LONG, str(error))
        case Violation():
            return ProbeFailure(stage, Reason.MALFORMED_REPLY, str(error))
        case parse.Malformed():
            return ProbeFailure(stage, Reason.MALFORMED_REPLY, f"malformed {error}")
        case GivenUp():
            return ProbeFailure(stage, Reason.CONNECTION_LOST, "the connection was given up before")
        case ConnectionLost(bye=bytes(text)):
            refused = Reason.SERVER_REFUSED if stage is Stage.GREETING else Reason.CONNECTION_LOST
            return ProbeFailure(stage, _coded(text, stage) or refused, f"BYE {plain_text(text)}")
        case ConnectionLost(error=None):
            return ProbeFailure(stage, Reason.CONNECTION_LOST, "the server closed the connection")
        case ConnectionLost(error=BaseException() as cause):
            return network.failure_of(cause, stage)
    return network.failure_of(error, stage)


def _coded(text: bytes, stage: Stage) -> Reason | None:
    code, _ = parse.response_code(text) or ("", "")
    if code in _TEMPORARY and stage is Stage.AUTH:
        return Reason.AUTH_UNAVAILABLE
    return _BY_CODE.get(code)
