"""Writes `dashboards/*.json` from the dashboards as code.

python grafana/build.py            needs grafana-foundation-sdk, which `pip install mailprobe[dev]` brings
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from boards import mailboxes, outage, overview, route
from grafana_foundation_sdk.cog.encoder import JSONEncoder

DIRECTORY = Path(__file__).parent / "dashboards"
BOARDS = {"overview": overview, "route": route, "mailboxes": mailboxes, "outage": outage}


def texts() -> Iterator[tuple[str, str]]:
    """Name and JSON of each dashboard."""
    for name, module in BOARDS.items():
        text = json.dumps(module.build(), cls=JSONEncoder, indent=2, sort_keys=True)
        yield f"{name}.json", f"{text}\n"


def main() -> None:
    """Writes them all."""
    DIRECTORY.mkdir(exist_ok=True)
    for name, text in texts():
        (DIRECTORY / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
