"""Under which name the server knows a message that it has taken: what its administrator will ask for."""

from __future__ import annotations

import re
from typing import Final

_ID: Final = r"([\w.:@+=/-]{1,100})"
_SHAPES: Final = tuple(
    re.compile(shape, re.IGNORECASE | re.ASCII)
    for shape in (
        rf"\bqueued as {_ID}",  # Postfix, and what imitates it
        rf"\bqueued with id {_ID}",  # Stalwart
        rf"\bmessage queued \({_ID}\)",  # Haraka
        rf"\bok id={_ID}",  # Exim
        rf"\[InternalId={_ID}",  # Exchange
        rf"\bok\s{{1,4}}\d{{1,12}} {_ID} - gsmtp",  # Gmail
        rf"^(?:2\.\d\.\d )?{_ID} message accepted for delivery",  # sendmail, OpenSMTPD
        r"\bok \d{1,12} (qp \d{1,12})",  # qmail
    )
)


def queue_id_of(text: str) -> str | None:
    """The identifier in the text of the reply to the final dot; None where it is in no known shape."""
    text = text[:400]
    for shape in _SHAPES:
        if match := shape.search(text):
            return match[1].rstrip(".,;:")
    return None
