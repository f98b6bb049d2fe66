"""Pictures of the dashboards: their own JSON, data from a real Prometheus, drawn with Grafana's own components.

See tests/screenshots/run. The data are a day of a generated story with an outage in it (support.mail_history).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser
from support.browser import Guise, opened, running_browser
from support.dashboards import GRAFANA, Query, load, panels, values
from support.mail_history import BLOCK, HOUR, Story, plan, write_blocks
from support.servers_prometheus import Prometheus, running_prometheus

HERE = Path(__file__).parent
SENDERS, MAILBOXES = ("outside", "office", "newsletter"), ("contoso", "fabrikam", "partner")
LOADERS = [f"--loader:.{kind}=dataurl" for kind in ("svg", "woff2", "png", "ttf")]
WIDTH, HIGHEST = 1400, 3600
"""Pixels. Tables draw only what is in sight, so all of a dashboard is."""
MOST_BYTES = 200_000
HTML = "<!doctype html><meta charset=utf-8><style>{css}</style><div id=dashboard></div><script>{data}</script>{code}"


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture: which dashboard, in which light, and from when to when, in hours before the end of the story."""

    board: str
    mode: str
    begin: float
    end: float = 0.0
    chosen: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        return f"{self.board}-{self.mode}.png"


PICTURES = (
    Picture("overview", "dark", 10.5, 4.5),
    Picture("overview", "light", 10.5, 4.5),
    Picture("route", "dark", 10.5, 3.5, (("route", "outside-contoso"),)),
    Picture("route", "light", 10.5, 3.5, (("route", "outside-contoso"),)),
    Picture("mailboxes", "dark", 14, 8),
    Picture("mailboxes", "light", 14, 8),
    Picture("outage", "dark", 10.25, 3.75),
    Picture("outage", "light", 10.25, 3.75),
)


def answers(prometheus: Prometheus, board: Any, picture: Picture, end: float) -> dict[str, list[Any]]:
    """What Prometheus says to each panel's queries, by the panel's number."""
    begin, until = end - picture.begin * HOUR, end - picture.end * HOUR
    return {
        str(panel["id"]): [
            _answer(prometheus, target, picture, begin, until, panel.get("maxDataPoints", 1000))
            for target in panel["targets"]
        ]
        for panel in panels(board)
    }


def _answer(prometheus: Prometheus, target: Any, picture: Picture, begin: float, end: float, most: int) -> Any:
    """At the step and with the rate's window that Grafana would take, for `most` steps at most."""
    step = max(60, math.ceil((end - begin) / most))
    window = f"{max(240, step + 60)}s"
    filled = values(rate_interval=window, seconds=int(end - begin), **dict(picture.chosen))
    query = Query("", "", target["refId"], target["expr"], target["instant"], points=most).filled(filled)
    if target["instant"]:
        return prometheus.query(query, end)
    moments = {"start": repr(begin), "end": repr(end), "step": str(step)}
    return prometheus.get("/api/v1/query_range", query=query, **moments)["data"]["result"]


def bundle(modules: Path, place: Path) -> str:
    """Puts the code of a dashboard for a browser into `out.js`, and returns its style."""
    command = [modules / ".bin" / "esbuild", HERE / "grafana_ui" / "dashboard.tsx", "--bundle", "--jsx=automatic"]
    options = [f"--outfile={place / 'out.js'}", '--define:process.env.NODE_ENV="production"', "--log-level=error"]
    environment = os.environ | {"NODE_PATH": str(modules)}
    subprocess.run([*command, *options, *LOADERS], check=True, env=environment)
    return (place / "out.css").read_text()


def drawn(browser: Browser, page_file: Path, picture: Picture, now: float) -> bytes:
    """The page as a picture, once it is drawn, as it looks at that moment."""
    with opened(browser, Guise(WIDTH, picture.mode), javascript=True) as page:
        page.set_viewport_size({"width": WIDTH, "height": HIGHEST})
        page.on("pageerror", lambda error: print(f"in the browser: {error}", flush=True))
        page.clock.set_fixed_time(datetime.fromtimestamp(now, UTC))
        page.goto(page_file.as_uri())
        page.wait_for_function("window.drawn")
        if (said := page.evaluate("window.drawn")) != "whole":
            raise RuntimeError(said)
        page.wait_for_timeout(1500)  # fonts and canvases
        height = page.evaluate("document.body.offsetHeight")
        return page.screenshot(clip={"x": 0, "y": 0, "width": WIDTH, "height": height})


def small(picture: bytes) -> bytes:
    """The same with a palette. Raises ValueError where that is not small enough."""
    for colours in (256, 128, 64, 32):
        out = BytesIO()
        image = Image.open(BytesIO(picture)).convert("RGB").quantize(colours, dither=Image.Dither.NONE)
        image.save(out, "PNG", optimize=True)
        if out.tell() < MOST_BYTES:
            return out.getvalue()
    raise ValueError(f"{out.tell()} bytes")


def pages(prometheus: Prometheus, pictures: Iterable[Picture], end: float, css: str) -> Iterator[tuple[Picture, str]]:
    """Each picture as HTML."""
    for picture in pictures:
        board = load(picture.board)
        data = {
            "board": board,
            "answers": answers(prometheus, board, picture, end),
            "from": end - picture.begin * HOUR,
            "to": end - picture.end * HOUR,
            "mode": picture.mode,
        }
        script = f"window.PICTURE = {json.dumps(data)}".replace("</", "<\\/")
        yield picture, HTML.format(css=css, data=script, code='<script src="out.js"></script>')


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--out", type=Path, default=GRAFANA / "pictures")
    options.add_argument("--only", default="", help="pictures whose name begins so")
    options.add_argument("--data", type=Path, help="keep the history here, and use it if it is there already")
    chosen = options.parse_args()
    chosen.out.mkdir(exist_ok=True, parents=True)
    with tempfile.TemporaryDirectory() as directory, running_browser() as browser:
        place = Path(directory)
        data = chosen.data or place / "data"
        if not (data / "end").exists():
            end = time.time() // BLOCK * BLOCK
            write_blocks(data, Story(plan(SENDERS, MAILBOXES)).pages(end, minutes=18 * 60))
            (data / "end").write_text(repr(end))
        end = float((data / "end").read_text())
        css = bundle(Path(os.environ["GRAFANA_UI"]) / "node_modules", place)
        with running_prometheus(place / "prometheus", data=data, interval="1m") as prometheus:
            wanted = [picture for picture in PICTURES if picture.name.startswith(chosen.only)]
            for picture, html in pages(prometheus, wanted, end, css):
                (place / "page.html").write_text(html)
                image = small(drawn(browser, place / "page.html", picture, end - picture.end * HOUR))
                (chosen.out / picture.name).write_bytes(image)
                print(f"{picture.name}: {len(image) // 1000} kB", flush=True)


if __name__ == "__main__":
    main()
