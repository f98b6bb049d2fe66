"""`mailprobe healthcheck`: whether an agent's loop turns, for containers without a shell and without curl."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import click

from mailprobe.errors import plain_text

PATH: Final = "/-/healthy"
LISTEN: Final = "127.0.0.1:10587"
WITHIN: Final = 4.0
"""Seconds; below what a container engine waits."""


@click.command()
@click.option(
    "--url",
    envvar="MAILPROBE_HEALTHCHECK_URL",
    show_envvar=True,
    help=f"What to ask. Default: {PATH} where MAILPROBE_AGENT__LISTEN says, or at {LISTEN}.",
)
def healthcheck(url: str | None) -> None:
    """Ask the agent on this machine whether its loop turns. Exit status: 0 it does; 1 it does not.

    A certificate is not verified: it is asked whether somebody answers, not who. Where a login is wanted, the
    refusal is answer enough.
    """
    try:
        status = _status_of(url or default_url(os.environ))
    except (OSError, ValueError) as error:
        click.echo(f"no answer: {plain_text(str(error), 200)}", err=True)
        sys.exit(1)
    click.echo(f"answered {status}")
    sys.exit(0 if status in (200, 401) else 1)


def default_url(environ: Mapping[str, str]) -> str:
    """Where the agent is asked that listens where the environment says; an address for all is asked on loopback."""
    host, _, port = (environ.get("MAILPROBE_AGENT__LISTEN") or LISTEN).rpartition(":")
    return f"http://{'127.0.0.1' if host in ('', '[::]', '0.0.0.0') else host}:{port}{PATH}"  # noqa: S104


def _status_of(url: str) -> int:
    """The answer's status. Raises OSError or ValueError where there is none."""
    import http.client

    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("the URL must begin with http:// or https:// and name a host")
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=WITHIN, context=context)
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=WITHIN)
    try:
        connection.request("GET", (parts.path or PATH) + (f"?{parts.query}" if parts.query else ""))
        return connection.getresponse().status
    except http.client.HTTPException as error:
        raise ValueError(f"not HTTP: {type(error).__name__}") from None
    finally:
        connection.close()
