"""What every test may use: event loops, Hypothesis profiles, real servers, a guard against blocking calls."""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path

import hypothesis
import pytest
from blockbuster import blockbuster_ctx
from support.containers import Engine, built_image, found_kubectl, prepared_engine
from support.loops import loop_name, loops_of
from support.servers_fixtures import (
    MailLab,
    chasquid,
    cyrus,
    dovecot,
    exim,
    fresh_dovecot,
    fresh_lab,
    mail_lab,
    postfix,
    run_alertmanager,
    run_prometheus,
    serve_dns,
    server_directory,
)
from support.sidecars import Sidecar, configured_sidecar

__all__ = [
    "chasquid",
    "cyrus",
    "dovecot",
    "exim",
    "fresh_dovecot",
    "fresh_lab",
    "loop_name",
    "mail_lab",
    "nothing_blocks",
    "postfix",
    "run_alertmanager",
    "run_prometheus",
    "serve_dns",
    "server_directory",
]

# a test that asks for one of these fixtures needs that real server
SERVER_OF_FIXTURE = {
    "dovecot": "dovecot",
    "fresh_dovecot": "dovecot",
    "postfix": "postfix",
    "mail_lab": "postfix",
    "fresh_lab": "postfix",
    "exim": "exim",
    "chasquid": "chasquid",
    "cyrus": "cyrus",
    "serve_dns": "unbound",
    "run_prometheus": "prometheus",
    "run_alertmanager": "alertmanager",
    "browser": "chromium",
    "engine": "podman",
    "kubectl": "kubectl",
    "grafana_types": "tsc",
}

IN_CI = os.environ.get("CI") == "true"

hypothesis.settings.register_profile("dev", deadline=None, max_examples=50)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=300, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if IN_CI else "dev")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "both_loops: runs on asyncio's event loop and on uvloop (support.loops)")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return loops_of(item)


left_open: list[str] = []


def pytest_warning_recorded(warning_message: warnings.WarningMessage, nodeid: str) -> None:
    """Notes what a test left open on uvloop, which may only be a warning (see pyproject.toml)."""
    if str(warning_message.message).startswith("unclosed resource"):
        left_open.append(f"{nodeid}: {warning_message.message}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A run in which something was left open has failed."""
    if left_open:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def engine() -> Engine:
    """podman, with images of its own."""
    return prepared_engine()


@pytest.fixture(scope="session")
def kubectl() -> str:
    """The program, this machine's or unpacked from Debian's package."""
    return found_kubectl()


@pytest.fixture(scope="session")
def image(engine: Engine) -> str:
    """The name of the container image of this tree."""
    return built_image(engine)


@pytest.fixture
def sidecar(tmp_path: Path, mail_lab: MailLab) -> Sidecar:
    """What runs the image beside the shared mail servers."""
    return configured_sidecar(tmp_path / "etc", mail_lab)


@pytest.fixture
def nothing_blocks() -> Iterator[None]:
    """A call in mailprobe's own code that blocks the event loop (sleep, file, socket, lock) raises BlockingError."""
    with blockbuster_ctx("mailprobe"):
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that asks for a real server's fixture, so that nobody has to remember it."""
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            if fixture in SERVER_OF_FIXTURE:
                item.add_marker(pytest.mark.server(SERVER_OF_FIXTURE[fixture]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under CI=true a test that needs a real server must run: its skip is a failure."""
    report = yield
    if IN_CI and report.skipped and item.get_closest_marker("server"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: CI=true, and a test that needs a real server was skipped: {reason}"
    return report
