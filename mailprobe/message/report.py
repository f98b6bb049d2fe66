"""What a report about a message says, whichever shape it came in (RFC 3464 2)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mailprobe.errors import EnhancedStatus, Stage
from mailprobe.message.replies import Category, category_of
from mailprobe.message.token import Token

_REPLY: Final = re.compile(r"([45]\d\d)[ -]#?\s*((?:[245]\.\d{1,3}\.\d{1,3})?)")


class Action(StrEnum):
    """What the reporting MTA did (RFC 3464 2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


@dataclass(frozen=True, slots=True)
class Report:
    """What a DSN says. Texts are safe to show, empty where nothing was said.

    `status` is an enhanced status code; `diagnostic` is the reply of `remote_mta`, or the reporting MTA's own words.
    `token` is that of the canary it is about; None: it is about no canary of this key.
    """

    action: Action
    status: str
    diagnostic: str
    reporting_mta: str
    remote_mta: str
    envelope_id: str
    token: Token | None

    @property
    def category(self) -> Category:
        """What kept the message back; `other` where nothing did."""
        if self.action not in (Action.FAILED, Action.DELAYED):
            return Category.OTHER
        return category_of_bounce(self.status, self.diagnostic)


def category_of_bounce(status: str, diagnostic: str) -> Category:
    """What a bounce is about: by the codes of the reply that it quotes, else by its own status. Total."""
    reply = _REPLY.match(diagnostic)
    code = int(reply[1]) if reply else None
    quoted = EnhancedStatus.parse(reply[2]) if reply else None
    if quoted and quoted.class_ != int(diagnostic[0]):
        quoted = None
    return category_of(Stage.TRANSIT, code, quoted or EnhancedStatus.parse(status))
