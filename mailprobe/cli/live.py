"""The one-shot run on a terminal: stages appear as they happen, then give way to the result. Needs rich."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from mailprobe.cli.show import INTERRUPTED, TextDisplay, Wanted
from mailprobe.cli.waterfall import Line, Paper
from mailprobe.clock import Clock
from mailprobe.plan import Plan

if TYPE_CHECKING:
    from mailprobe.cli.oneshot import Outcomes

REFRESH = 12
"""Times a second; drawn by a thread of rich, so that drawing is not in the measured time."""


class LiveDisplay(TextDisplay):
    """Text with colours, drawn anew while the run lasts."""

    def __init__(self, wanted: Wanted, plan: Plan, clock: Clock) -> None:
        super().__init__(wanted, plan, clock)
        self._console = Console(highlight=False, markup=False, emoji=False)
        self._live = Live(get_renderable=self._drawn, console=self._console, refresh_per_second=REFRESH, transient=True)

    @property
    def paper(self) -> Paper:
        return Paper.of(self._console.encoding, self._console.width)

    def __enter__(self) -> LiveDisplay:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def interrupted(self) -> None:
        self._console.print(INTERRUPTED, style="magenta")

    def print(self, outcomes: Outcomes) -> None:
        self._live.stop()
        super().print(outcomes)

    def write(self, line: Line) -> None:
        # a line of a transcript may be longer than the terminal is wide: whole, so that it can be copied
        self._console.print(Text(line.text, style=line.style), soft_wrap=True)

    def _drawn(self) -> Group:
        # the loop's thread changes what is drawn here: a copy, and the lines of one moment
        lines = [*self.now()]
        return Group(*(Text(line.text, style=line.style, no_wrap=True, overflow="crop") for line in lines))
