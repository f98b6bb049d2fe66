"""A recording served as `/metrics` on a clock of its own, and a receiver of what Alertmanager says of it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support.rules import DEPLOY, RULES, faster
from support.scrapes import Recording
from support.servers import HOST

ALERTMANAGER = DEPLOY / "alertmanager" / "alertmanager.yml"
HOOKS = ("pager.example.net/hooks", "chat.example.net/hooks", "dead-man.example.net")
"""Whom the example tells."""


class Replay:
    """Serves the scrape that is due: `speed` seconds of the recording in one, from the instant `begin` of it on."""

    def __init__(self, recording: Recording, speed: float, begin: float) -> None:
        self._recording = recording
        self._speed = speed
        self._begin = begin
        self._started: float | None = None
        self._agent_began = time.time()

    def start(self) -> None:
        """Until then the clock stands still."""
        self._started = time.monotonic()

    @property
    def now(self) -> float:
        """The instant of the recording."""
        started = self._started
        return self._begin + (0.0 if started is None else (time.monotonic() - started) * self._speed)

    def page(self) -> str:
        """The scrape of now, of an agent that began with the replay; the last one after the end."""
        number = int((self.now - self._recording.begin) // self._recording.step)
        page = self._recording.page(min(number, self._recording.length - 1))
        return f"{page}process_start_time_seconds {self._agent_began}\n"


@dataclass(slots=True)
class Received:
    """Notifications by webhook, in order: the path that was posted to, the document, and the replay's instant."""

    replay: Replay
    posts: list[tuple[str, dict[str, Any], float]] = field(default_factory=list)

    def about(self, provider: str) -> list[tuple[str, dict[str, Any], float]]:
        """Those of a provider."""
        return [post for post in self.posts if post[1]["groupLabels"].get("provider") == provider]


@contextmanager
def serving(replay: Replay) -> Iterator[tuple[str, Received]]:
    """`host:port` at which the replay is scraped and webhooks are taken in."""
    received = Received(replay)
    with serving_pages(replay.page, lambda path, post: received.posts.append((path, post, replay.now))) as address:
        yield address, received


@contextmanager
def serving_pages(
    page: Callable[[], str], take: Callable[[str, dict[str, Any]], None] = lambda path, post: None
) -> Iterator[str]:
    """`host:port` that answers every GET with a page of metrics, and hands the path and document of each POST on."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(page().encode(), "text/plain; version=0.0.4")

        def do_POST(self) -> None:
            take(self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._answer(b"", "text/plain")

        def _answer(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"{HOST}:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def write_copies(directory: Path, receiver: str, speed: int) -> tuple[Path, list[Path]]:
    """The shipped Alertmanager example and rules so many times as fast; webhooks go to `receiver`, `host:port`."""
    text = faster(ALERTMANAGER.read_text(), speed)
    for hook in HOOKS:
        assert f"https://{hook}" in text
        text = text.replace(f"https://{hook}", f"http://{receiver}/{hook}")
    config = directory / "alertmanager.yml"
    config.write_text(text)
    copies = [directory / file.name for file in RULES]
    for file, copy in zip(RULES, copies, strict=True):
        copy.write_text(faster(file.read_text(), speed))
    return config, copies
