"""`python -m mailprobe` is `mailprobe`."""

from __future__ import annotations

import signal
import sys
from types import FrameType


def main() -> None:
    """The command line; interrupted while it is still being imported it ends with 3, and in silence."""
    # the first process of a container is not ended by a SIGTERM that it does nothing about
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        from mailprobe.cli import main as command

        command(prog_name="mailprobe")
    except KeyboardInterrupt:
        sys.exit(3)


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    """What a Ctrl-C would do now; in the background of a shell it would do nothing."""
    interrupt = signal.getsignal(signal.SIGINT)
    handler = interrupt if callable(interrupt) else signal.default_int_handler
    handler(number, frame)


if __name__ == "__main__":
    main()
