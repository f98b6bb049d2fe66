"""`python -m mailprobe` is `mailprobe`."""

from __future__ import annotations

import sys


def main() -> None:
    """The command line; interrupted while it is still being imported it ends with 3, and in silence."""
    try:
        from mailprobe.cli import main as command

        command(prog_name="mailprobe")
    except KeyboardInterrupt:
        sys.exit(3)


if __name__ == "__main__":
    main()
