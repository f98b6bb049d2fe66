"""Messages as real servers write them, from `tests/data`: one file each, its origin and what it comes to on top."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from mailprobe.message.authres import Authenticated, Authentication
from mailprobe.message.received import Hop
from mailprobe.message.report import Action, Report
from mailprobe.message.token import Token

DATA = Path(__file__).parent.parent / "data"
TEN = 1_795_428_000.0
"""Mon, 23 Nov 2026 10:00:00 UTC, the time of most of them."""


def names(folder: str) -> list[str]:
    """The samples in a folder of `tests/data`."""
    return sorted(path.stem for path in (DATA / folder).glob("*.txt"))


def origin(name: str) -> str:
    """Where a sample comes from."""
    return str(_read(name)[0]["origin"])


def sample(name: str, *, token: str = "", newline: str = "\r\n") -> bytes:
    """A sample as it would come over the wire; `{token}` in it is replaced."""
    return _read(name)[1].replace("{token}", token).replace("\n", newline).encode()


def expected_hops(name: str) -> list[Hop]:
    """Its hops, oldest first. `at` counts from `TEN`; a large one is Unix time."""
    return [_hop(**hop) for hop in _read(name)[0]["hops"]]


def expected_authentication(name: str) -> Authentication:
    """What its receiver found of SPF, DKIM, DMARC and ARC."""
    return Authentication(*map(Authenticated, _read(name)[0]["authentication"].split()))


def expected_report(name: str, token: Token) -> Report | None:
    """What a report says; None for what is no report. `about: nothing` says that no canary is quoted."""
    facts = _read(name)[0]
    if facts["report"] == "none":
        return None
    return Report(
        action=Action(facts["report"]),
        status=str(facts.get("status") or ""),
        diagnostic=facts["diagnostic"],
        reporting_mta=facts["reporting_mta"],
        remote_mta=facts.get("remote_mta", ""),
        envelope_id=facts.get("envelope_id", "").replace("{token}", token.text),
        token=None if facts.get("about") == "nothing" else token,
    )


def fact(name: str, key: str) -> str:
    """Any other thing that is said of a sample."""
    return str(_read(name)[0][key])


def _hop(**facts: Any) -> Hop:
    at = facts.get("at")
    return Hop(
        by=facts.get("by"),
        from_=facts.get("from"),
        protocol=facts.get("with"),
        seconds=facts.get("after"),
        at_wall=None if at is None else float(at) if at > 1e8 else TEN + at,
    )


@cache
def _read(name: str) -> tuple[dict[str, Any], str]:
    facts, _, text = (DATA / f"{name}.txt").read_text(encoding="utf-8").partition("\n---\n")
    return yaml.safe_load(facts), text
