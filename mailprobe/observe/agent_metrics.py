"""Metrics of the agent itself: few, so ordinary prometheus_client objects in a registry of their own."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import Final, Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

SCHEDULE_BUCKETS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)
LOOP_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
TASKS: Final = (
    "farewell",
    "feed",
    "judge",
    "loop-lag",
    "observe",
    "policy",
    "reload",
    "scheduler",
    "states",
    "submit",
    "token",
    "watchdog",
    "watcher",
)
"""The tasks whose bugs are counted, from 0: an `increase` does not see a series that begins with its first error."""


class JournalFigures(Protocol):
    """What a journal says of itself."""

    @property
    def rows(self) -> int:
        """Rows in it."""
        ...

    @property
    def size_bytes(self) -> int:
        """Bytes on the disk."""
        ...

    @property
    def write_errors(self) -> int:
        """Writes that failed since the start."""
        ...


class AgentMetrics:
    """The agent's own lateness, bugs, journal and process."""

    def __init__(self, version: str, journal: JournalFigures | None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # or each counter would have one series more
        self.registry = CollectorRegistry()
        self.schedule_lag = Histogram(
            "mailprobe_schedule_lag_seconds",
            "How late slots were started.",
            buckets=SCHEDULE_BUCKETS,
            registry=self.registry,
        )
        self.loop_lag = Histogram(
            "mailprobe_loop_lag_seconds",
            "How late timers of the event loop fired.",
            buckets=LOOP_BUCKETS,
            registry=self.registry,
        )
        self.errors = Counter(
            "mailprobe_agent_errors_total",
            "Bugs of the agent: tasks that ended with what is no fact about the world.",
            ["task"],
            registry=self.registry,
        )
        self.port25_blocked = Gauge(
            "mailprobe_port25_blocked",
            "1 while this machine's own network seems to let nobody out to port 25.",
            registry=self.registry,
        )
        self.reload_successful = Gauge(
            "mailprobe_config_last_reload_successful",
            "1 if the configuration read last is in use.",
            registry=self.registry,
        )
        self.reload_time = Gauge(
            "mailprobe_config_last_reload_success_timestamp_seconds",
            "When a configuration was last taken into use, in Unix time.",
            registry=self.registry,
        )
        build = Gauge("mailprobe_build_info", "Which mailprobe this is.", ["version", "python"], registry=self.registry)
        build.labels(version, platform.python_version()).set(1)
        for task in TASKS:
            self.errors.labels(task)
        self.registry.register(_Journal(journal))
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def exposition(self, openmetrics: bool) -> bytes:
        """The text, with `# EOF` at its end in OpenMetrics; may be called from a thread."""
        text: bytes = (generate_openmetrics if openmetrics else generate_latest)(self.registry)
        return text


class _Journal(Collector):
    def __init__(self, journal: JournalFigures | None) -> None:
        self._journal = journal

    def collect(self) -> Iterator[Metric]:
        """Reads the figures at the time of the scrape; 0 where there is no journal."""
        journal = self._journal
        errors, rows, size = (journal.write_errors, journal.rows, journal.size_bytes) if journal else (0, 0, 0)
        yield CounterMetricFamily("mailprobe_journal_write_errors", "Writes to the journal that failed.", value=errors)
        yield GaugeMetricFamily("mailprobe_journal_rows", "Rows in the journal; 0 if memory only.", value=rows)
        yield GaugeMetricFamily("mailprobe_journal_size_bytes", "Bytes of the journal on the disk.", value=size)
