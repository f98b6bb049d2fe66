"""What is known so far of one attempt; in the end, an `Attempt`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from mailprobe.clock import Clock
from mailprobe.errors import ProbeFailure, Reason, Reply, Stage
from mailprobe.model import Attempt, AttemptOutcome, DnsFacts, Peer, StageReply, StageTime, TlsFacts
from mailprobe.smtp.transcript import Transcript

StageEnded = Callable[[StageTime], None]
"""Told of each stage as it ends, with all the time it took so far: EHLO is said twice where TLS begins between."""


class Record:
    """Collects stage times, replies and facts. `stage` is where the attempt is now."""

    def __init__(
        self,
        number: int,
        clock: Clock,
        tell_dot_sent: Callable[[float], None],
        stage_ended: StageEnded | None = None,
    ) -> None:
        self.stage = Stage.RESOLVE
        self.peer: Peer | None = None
        self.dns: DnsFacts | None = None
        self.tls: TlsFacts | None = None
        self.chain: tuple[bytes, ...] = ()
        self.queue_id: str | None = None
        self.dot_sent: float | None = None
        self._number = number
        self._clock = clock
        self._tell_dot_sent = tell_dot_sent
        self._stage_ended = stage_ended
        self._begun = begun = clock.now()
        self._times: dict[Stage, float] = {}
        self._replies: list[StageReply] = []
        # not of self: a cycle would keep each attempt until it is collected, which holds the loop
        self.transcript = Transcript(lambda: clock.now() - begun)

    def at(self, stage: Stage) -> Self:
        """For `with`: times what happens within as a part of the stage, however it ends. No stage within another."""
        self.stage = stage
        return self

    def __enter__(self) -> None:
        self._entered = self._clock.now()

    def __exit__(self, *_: object) -> None:
        stage = self.stage
        seconds = self._times[stage] = self._times.get(stage, 0.0) + self._clock.now() - self._entered
        if self._stage_ended:
            self._stage_ended(StageTime(stage, seconds))

    def reply(self, reply: Reply) -> None:
        """The server answered the stage."""
        self._replies.append(StageReply(self.stage, reply))

    def dot_is_out(self) -> None:
        """The final dot has just been flushed."""
        self.dot_sent = self._clock.now()
        self._tell_dot_sent(self.dot_sent)

    def end(self, failure: ProbeFailure | None) -> Attempt:
        """All of it; `failure` is why it was not accepted, None if it was."""
        return Attempt(
            number=self._number,
            begun=self._begun,
            ended=self._clock.now(),
            outcome=self._outcome(failure),
            stages=tuple(StageTime(stage, seconds) for stage, seconds in self._times.items()),
            replies=tuple(self._replies),
            peer=self.peer,
            tls=self.tls,
            queue_id=self.queue_id,
            dot_sent=self.dot_sent,
            stage=failure.stage if failure else None,
            reason=failure.reason if failure else None,
            detail=failure.detail if failure else "",
            transcript=self.transcript.lines(),
            dns=self.dns,
            chain=self.chain,
        )

    def _outcome(self, failure: ProbeFailure | None) -> AttemptOutcome:
        if failure is None:
            return AttemptOutcome.ACCEPTED
        if failure.reply and failure.reason in (Reason.DEFERRED, Reason.REJECTED, Reason.THROTTLED):
            return AttemptOutcome.DEFERRED if failure.reply.is_deferral else AttemptOutcome.REJECTED
        return AttemptOutcome.UNSENT if self.dot_sent is None else AttemptOutcome.IN_DOUBT
