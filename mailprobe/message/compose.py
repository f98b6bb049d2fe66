"""Builds canaries: honest, valid and harmless mail that says what it is (RFC 5322, RFC 3834, RFC 2045).

Everything that a route's canaries have in common is prepared once; one canary is then a few string joins.
"""

from __future__ import annotations

import re
import textwrap
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

from mailprobe.message.phrases import GREETINGS, SENTENCES, SUBJECTS
from mailprobe.message.token import Key

ADDRESS_LIMIT: Final = 254
"""Octets of the longest address that fits into an SMTP path (RFC 5321 4.5.3.1.3)."""

_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_ADDRESS: Final = re.compile(
    rf"(?P<local>{_ATOM}(?:\.{_ATOM})*)@"
    r"(?P<domain>[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?)*"
    r"|\[[A-Za-z0-9.:-]+\])"
)
_PRINTABLE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_WIDTH: Final = 76
_CHATTER: Final = 4

# not "All", which would suppress the non-delivery reports that tell us of a bounce (MS-OXCMAIL 2.1.3.2.20)
_SUPPRESSED: Final = "OOF, AutoReply, DR, RN, NRN"

_TEMPLATE: Final = """\
Date: {{date}}
From: {from_}
To: {to}
Message-ID:
 <{{token}}@{domain}>
Subject: {{subject}}
Auto-Submitted: auto-generated
X-Auto-Response-Suppress: {suppressed}
{precedence}X-Mailprobe-Canary:
 {{token}}
MIME-Version: 1.0
Content-Type: text/plain; charset=us-ascii
Content-Transfer-Encoding: 7bit

{{greeting}}

this is an automatic message. It was sent to find out whether mail gets
through, and how long it takes. Nobody needs to read or answer it; the
program that sent it looks for it here and usually removes it by itself.

{facts}

{{chatter}}

If it bothers you, please write to
{contact}
and mention this reference:

{{token}}

mailprobe
"""


@dataclass(frozen=True, slots=True)
class Composed:
    """One canary, ready for DATA: CRLF, 7 bit, not dot-stuffed. `envid` needs no xtext encoding (RFC 3461 4.4)."""

    content: bytes
    token: str
    message_id: str
    envid: str


class Composer:
    """Composes the canaries of one route."""

    def __init__(
        self, key: Key, agent: str, route: str, from_address: str, to_address: str, *, bulk: bool = False
    ) -> None:
        """Prepares the route's template. `bulk` adds `Precedence: bulk`, for where it is asked for.

        Raises ValueError, naming the value, where an address is not a plain ASCII one or a name is not printable
        ASCII: nothing that could end a line gets into a header.
        """
        self._key, self._agent, self._route = key, agent, route
        self._domain = check_address(from_address)
        check_address(to_address)
        self._template = _template(agent, route, from_address, to_address, self._domain, bulk)

    def compose(self, canary_id: str, sent_wall: float) -> Composed:
        """The canary of this id; the same again for the same arguments, so that a retry sends the same message.

        Raises ValueError as `Key.sign` does.
        """
        token = self._key.sign(self._agent, self._route, canary_id, sent_wall)
        seed = zlib.crc32(canary_id.encode())
        date = format_datetime(datetime.fromtimestamp(int(sent_wall), UTC))
        content = self._template.format_map(
            {
                "date": date,
                "token": token,
                "subject": SUBJECTS[seed % len(SUBJECTS)].format(canary_id[:6]),
                "greeting": GREETINGS[seed % len(GREETINGS)],
                "chatter": _chatter(seed),
            }
        )
        return Composed(content.encode("ascii"), token, f"<{token}@{self._domain}>", token)


def check_address(address: str) -> str:
    """The domain of an address that canaries may come from or go to: `dot-atom@domain` in ASCII.

    Raises ValueError for anything else: quoted local parts and SMTPUTF8 addresses are refused, not mangled.
    """
    match = _ADDRESS.fullmatch(address) if len(address) <= ADDRESS_LIMIT else None
    if match is None or len(match["local"]) > 64:
        raise ValueError(f"not an address canaries can use (plain ASCII, like name@example.org): {address!r}")
    return match["domain"]


def _template(agent: str, route: str, from_address: str, to_address: str, domain: str, bulk: bool) -> str:
    for what, name in (("an agent", agent), ("a route", route)):
        if len(name) > ADDRESS_LIMIT or not _PRINTABLE.fullmatch(name):
            raise ValueError(f"not {what} name that a message can carry (printable ASCII): {name!r}")
    facts = (f"Sent by the agent {agent}", f"to check the route {route}")
    wrapped = (line for fact in facts for line in textwrap.wrap(fact, _WIDTH, break_on_hyphens=False))
    template = _TEMPLATE.format(
        from_=_address_field("From: ", from_address),
        to=_address_field("To: ", to_address),
        domain=_literal(domain),
        contact=_literal(from_address),
        suppressed=_SUPPRESSED,
        precedence="Precedence: bulk\n" if bulk else "",
        facts=_literal("\n".join(wrapped)) + "\non {date}.",
    )
    return template.replace("\n", "\r\n")


def _address_field(name: str, address: str) -> str:
    """The address, on a line of its own where it would make the first one longer than 78 (RFC 5322 2.1.1)."""
    return _literal(address if len(name) + len(address) <= 78 else f"\n {address}")


def _literal(text: str) -> str:
    """Text that `str.format` leaves as it is: braces are atoms of addresses too."""
    return text.replace("{", "{{").replace("}", "}}")


def _chatter(seed: int) -> str:
    """A few different sentences in an order of their own."""
    count = len(SENTENCES)
    first, step = seed % count, 1 + seed // count % (count - 1)
    return "\r\n".join(SENTENCES[(first + turn * step) % count] for turn in range(_CHATTER))
