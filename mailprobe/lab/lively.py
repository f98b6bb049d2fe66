"""How the demo's servers behave: in order, with the small delays that make real mail interesting to look at."""

from __future__ import annotations

import asyncio
import random

from mailprobe.lab.behaviour import Answer, Context, Moment


class Lively:
    """Mail takes a moment, each mailbox's in its own way; now and then somewhat longer. Nothing fails."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)  # noqa: S311 - makes a demo lively, guards nothing

    async def at(self, moment: Moment, context: Context) -> Answer | None:
        """Takes its time before a mail reaches its mailbox; interferes with nothing."""
        if moment is Moment.QUEUE:
            usual = 0.02 + 0.03 * (sum((context.recipient or "").encode()) % 5)
            await asyncio.sleep(self._random.lognormvariate(0, 0.6) * usual)
        return None
