"""Makes the pictures of the status page and of the report that README shows.

PYTHONPATH=tests python tests/screenshots/page.py [--healthy 120] [--outage 15]

An agent on the embedded servers, a minute in a second: two hours of good mail, then a quarter of an hour in which mail
to two mailboxes is deferred. Takes about three minutes. Look at what it made before you commit it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from click.testing import CliRunner
from support.browser import Guise, opened, running_browser
from support.staging import Stage, staged

from mailprobe.cli import main as command
from mailprobe.lab.pace import PacedClock

HERE = Path(__file__).parent
SPEED = 60.0
BEGIN = datetime(2026, 1, 22, 16, 30, tzinfo=UTC)
TIMES = {"interval": "60s", "deadline": "5m", "late_until": "2h", "timeout": "10s"}
DELAY = 0.06
"""Seconds of this machine that a mail takes: less, and what the machine adds would be most of it."""
LIGHT, DARK = Guise(1280, "light"), Guise(1280, "dark")


def take(browser: object, guise: Guise, address: str, name: str, height: int) -> None:
    """One picture, of what is at the top."""
    with opened(browser, guise) as page:  # type: ignore[arg-type]
        page.goto(address)
        page.set_viewport_size({"width": guise.width, "height": height})
        file = HERE / f"{name}.png"
        page.screenshot(path=file)
        print(f"{file.name}: {file.stat().st_size / 1e3:.0f} kB")


def report(stage: Stage, directory: Path) -> str:
    """The address of a report about what happened."""
    begin, end = BEGIN.isoformat(), datetime.fromtimestamp(stage.agent.clock.wall(), UTC).isoformat()
    options = ("-c", str(stage.file), "--since", begin, "--until", end, "--format", "html")
    file = directory / "report.html"
    file.write_text(CliRunner().invoke(command, ["report", *options], catch_exceptions=False).stdout)
    return file.as_uri()


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--healthy", type=float, default=120, help="seconds of good mail")
    options.add_argument("--outage", type=float, default=15, help="seconds of deferrals")
    chosen = options.parse_args()
    clock = PacedClock(SPEED, zero_wall=BEGIN.timestamp())
    with (
        tempfile.TemporaryDirectory() as name,
        running_browser() as browser,
        staged(Path(name), clock, **TIMES) as stage,
    ):
        stage.behaviour.delay = DELAY
        time.sleep(chosen.healthy)
        stage.break_mail("sales", "support", untouched="newsletter")
        time.sleep(chosen.outage)
        take(browser, LIGHT, stage.url, "page-light", 1010)
        take(browser, DARK, stage.url, "page-dark", 1010)
        stage.mend()
        time.sleep(8)
        take(browser, LIGHT, report(stage, Path(name)), "report", 900)


if __name__ == "__main__":
    main()
