"""Refusals as real servers word them, from `tests/data/replies`, each with what a postmaster makes of it."""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from mailprobe.errors import EnhancedStatus, Reason, Reply, Stage
from mailprobe.message.replies import Category
from mailprobe.model import AttemptOutcome
from support.samples import DATA


@dataclass(frozen=True)
class Refused:
    """One refusal, its origin, and what it is."""

    origin: str
    wire: bytes
    stage: Stage
    code: int
    enhanced: EnhancedStatus | None
    category: Category
    reason: Reason
    outcome: AttemptOutcome
    greylisting: bool

    @property
    def reply(self) -> Reply:
        """As the protocol hands it on."""
        lines = self.wire.decode().splitlines()
        return Reply.of(int(lines[0][:3]), "\n".join(line[4:] for line in lines))

    def __str__(self) -> str:
        return f"{self.stage} {self.reply}"[:70]


def refusals() -> list[Refused]:
    """All of them."""
    documents = (
        document
        for path in sorted((DATA / "replies").glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    )
    return [_refused(document["origin"], **sample) for document in documents for sample in document["samples"]]


def _refused(origin: str, **sample: str) -> Refused:
    stage, code, enhanced, category, reason, outcome, *greylisting = sample["is"].split()
    return Refused(
        origin=origin,
        wire=sample["reply"].replace("\n", "\r\n").encode() + b"\r\n",
        stage=Stage(stage),
        code=int(code),
        enhanced=None if enhanced == "-" else EnhancedStatus.parse(enhanced),
        category=Category(category),
        reason=Reason(reason),
        outcome=AttemptOutcome(outcome),
        greylisting=greylisting == ["greylisting"],
    )
