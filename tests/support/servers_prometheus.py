"""Prometheus and Alertmanager from Debian's packages, for one test each, in memory of a private directory.

    prometheus = run_prometheus(rules=[...], targets={"mailprobe": ["127.0.0.1:10587"]})
    prometheus.query('sum(mailprobe_canaries_total)')

History instead of targets: `promtool tsdb create-blocks-from openmetrics FILE DIRECTORY`, then `data=DIRECTORY`.
"""

from __future__ import annotations

import contextlib
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from support.servers import HOST, Daemon, free_ports, require_programs, run

Target = str | tuple[str, Mapping[str, str]]
"""`host:port`, or that with labels."""


@dataclass(frozen=True, slots=True)
class HttpServer:
    """A daemon with an HTTP API on a port of loopback."""

    daemon: Daemon
    port: int

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def get(self, path: str, **parameters: str) -> Any:
        """The JSON answer. Raises AssertionError with what the server says instead."""
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        try:
            with urllib.request.urlopen(f"{self.url}{path}{query}", timeout=30) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{path} {parameters}: {error.code} {error.read().decode()[:500]}") from None

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


class Prometheus(HttpServer):
    """A Prometheus that runs."""

    def query(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """The vector of an instant query: `[{"metric": {...}, "value": [time, "1"]}, ...]`."""
        moment = {} if at is None else {"time": repr(at)}
        found: list[dict[str, Any]] = self.get("/api/v1/query", query=expression, **moment)["data"]["result"]
        return found

    def values(self, expression: str) -> dict[tuple[str, ...], float]:
        """An instant query by the values of its labels, in the order of their names, `__name__` left out."""
        return {
            tuple(value for name, value in sorted(sample["metric"].items()) if name != "__name__"): float(
                sample["value"][1]
            )
            for sample in self.query(expression)
        }

    def firing(self) -> list[dict[str, str]]:
        """The labels of all alerts that fire now."""
        alerts = self.get("/api/v1/alerts")["data"]["alerts"]
        return [alert["labels"] for alert in alerts if alert["state"] == "firing"]

    def until(self, true: Callable[[], Any], within: float = 30.0, what: object = "") -> Any:
        """What `true` answers once that is true. Raises AssertionError with what the targets and rules say."""
        end = time.monotonic() + within
        while not (found := true()):
            if time.monotonic() > end:
                raise AssertionError(f"waited {within} s for {what or true}: {self._trouble()}")
            time.sleep(0.05)
        return found

    def _trouble(self) -> list[str]:
        targets = self.get("/api/v1/targets")["data"]["activeTargets"]
        groups = self.get("/api/v1/rules")["data"]["groups"]
        rules = [rule.get("lastError", "") for group in groups for rule in group["rules"]]
        return [said for said in (*(target["lastError"] for target in targets), *rules) if said]


Server = TypeVar("Server", bound=HttpServer)


@contextlib.contextmanager
def running_prometheus(
    directory: Path,
    *,
    rules: Sequence[Path] = (),
    targets: Mapping[str, Sequence[Target]] | None = None,
    alertmanagers: Sequence[str] = (),
    data: Path | None = None,
    interval: str = "250ms",
    external_labels: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
    **more: Any,
) -> Iterator[Prometheus]:
    """One that scrapes `targets` and evaluates every `interval`; `more` are further sections of its configuration.

    `options` go to its command line.
    """
    require_programs("prometheus", ["prometheus", "promtool"], "prometheus")
    directory.mkdir(parents=True)
    port = free_ports(1)[0]
    settings = {
        "global": {
            "scrape_interval": interval,
            "scrape_timeout": interval,
            "evaluation_interval": interval,
            "external_labels": dict(external_labels or {}),
        },
        "rule_files": [str(file) for file in rules],
        "scrape_configs": [_job(name, list(found)) for name, found in (targets or {}).items()],
        "alerting": {
            "alertmanagers": [{"static_configs": [{"targets": list(alertmanagers)}]}] if alertmanagers else []
        },
    } | more
    file = directory / "prometheus.yml"
    file.write_text(json.dumps(settings, indent=1))  # which is YAML too
    run(["promtool", "check", "config", str(file)])
    command = [
        "prometheus",
        f"--config.file={file}",
        f"--storage.tsdb.path={data or directory / 'data'}",
        "--storage.tsdb.retention.time=100y",
        f"--web.listen-address={HOST}:{port}",
        "--log.level=warn",
        *options,
    ]
    daemon = Daemon("prometheus", command, directory / "prometheus.log")
    with _running(Prometheus(daemon, port)) as prometheus:
        yield prometheus


@contextlib.contextmanager
def running_alertmanager(directory: Path, config: Path) -> Iterator[HttpServer]:
    """One alone, without a cluster, with this configuration."""
    require_programs("alertmanager", ["prometheus-alertmanager", "amtool"], "prometheus-alertmanager")
    directory.mkdir(parents=True)
    port = free_ports(1)[0]
    command = [
        "prometheus-alertmanager",
        f"--config.file={config}",
        f"--storage.path={directory / 'data'}",
        f"--web.listen-address={HOST}:{port}",
        "--cluster.listen-address=",
        "--log.level=warn",
    ]
    with _running(HttpServer(Daemon("alertmanager", command, directory / "alertmanager.log"), port)) as alertmanager:
        yield alertmanager


def _job(name: str, targets: Sequence[Target]) -> dict[str, Any]:
    labelled = [(target, {}) if isinstance(target, str) else target for target in targets]
    return {
        "job_name": name,
        "static_configs": [{"targets": [address], "labels": dict(labels)} for address, labels in labelled],
    }


@contextlib.contextmanager
def _running(server: Server) -> Iterator[Server]:
    server.daemon.start()
    try:
        server.daemon.wait_for(server.port, None)
        end = time.monotonic() + 30
        while not server.is_ready():
            if time.monotonic() > end:
                raise RuntimeError(f"{server.daemon.name} is not ready: {server.daemon.output.read_text()[-2000:]}")
            time.sleep(0.02)
        yield server
    finally:
        server.daemon.kill()
