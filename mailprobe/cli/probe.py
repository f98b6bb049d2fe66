"""`mailprobe probe`: one canary on each route, now; from a configuration file, or from URLs without one."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, NoReturn

import click

from mailprobe.auth.canary_key import canary_key
from mailprobe.auth.passwords import read_secret
from mailprobe.cli.show import Format, Wanted, on_terminal, show
from mailprobe.cli.verdicts import Status
from mailprobe.clock import SystemClock
from mailprobe.errors import ConfigurationError, ProbeFailure
from mailprobe.message import Key
from mailprobe.plan import Login, OAuth2, Plan, Route, SecretReference

DEFAULT_TIMEOUT: Final = "60s"
_PASSWORDS: Final = {"smtp": "MAILPROBE_SMTP_PASSWORD", "imap": "MAILPROBE_IMAP_PASSWORD"}


class Duration(click.ParamType[float]):
    """A duration such as `250ms`, `30s`, `5m`, or plain seconds, as Nagios plugins take them; in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        from mailprobe.config.durations import seconds_of

        try:
            seconds = seconds_of(f"{value}s" if str(value).isdecimal() else str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not seconds:
            self.fail("write more than nothing", param, ctx)
        return seconds


class ProbeCommand(click.Command):
    """A command whose usage errors exit with 3, as a Nagios plugin's must."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            error.exit_code = 3  # type: ignore[misc]
            raise

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception:  # a bug is no word on the mail, and Python's own exit status is a plugin's warning
            traceback.print_exc()
            sys.exit(Status.UNKNOWN)


@click.command(cls=ProbeCommand)
@click.argument("routes", nargs=-1, metavar="[ROUTE]...")
@click.option("-c", "--config", "file", type=click.Path(path_type=Path), metavar="FILE", help="Configuration file.")
@click.option("--smtp", metavar="URL", help="smtp://user@host:587?tls=starttls, smtps://user@host, mx://domain")
@click.option("--imap", metavar="URL", help="imaps://user@host, imap://user@host?tls=starttls")
@click.option("--to", metavar="ADDRESS", help="Where the canary is sent: an address of the IMAP mailbox.")
@click.option("--from", "from_", metavar="ADDRESS", help="Who sends it. Default: the SMTP user, else --to.")
@click.option("--smtp-password-file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--imap-password-file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--smtp-token-file", type=click.Path(path_type=Path), metavar="FILE", help="OAuth2, not a password.")
@click.option("--imap-token-file", type=click.Path(path_type=Path), metavar="FILE", help="OAuth2, not a password.")
@click.option("--ca-file", type=click.Path(path_type=Path), metavar="FILE", help="Certificate authorities to trust.")
@click.option(
    "--format", "format_", type=click.Choice([f.value for f in Format]), help="Default: text on a terminal, else json."
)
@click.option("--timeout", type=Duration(), default=DEFAULT_TIMEOUT, show_default=True, help="Overdue after this.")
@click.option("--warning", type=Duration(), help="Delivered later than this is a warning (exit status 1).")
@click.option("--keep", is_flag=True, help="Leave the canary in the mailbox.")
@click.option("--transcript", is_flag=True, help="Print what was said, without credentials.")
def probe(
    routes: tuple[str, ...],
    file: Path | None,
    smtp: str | None,
    imap: str | None,
    to: str | None,
    from_: str | None,
    smtp_password_file: Path | None,
    imap_password_file: Path | None,
    smtp_token_file: Path | None,
    imap_token_file: Path | None,
    ca_file: Path | None,
    format_: str | None,
    timeout: float,
    warning: float | None,
    keep: bool,
    transcript: bool,
) -> None:
    """Send one canary on each route, wait for the verdicts, and exit.

    With -c: the named ROUTEs of a configuration file, all without a name. Without it: from --smtp to --imap; passwords
    come from MAILPROBE_SMTP_PASSWORD and MAILPROBE_IMAP_PASSWORD or from files, OAuth2 bearer tokens from files, never
    from the command line.

    Exit status: 0 delivered; 1 junked, slower than --warning, or only after a deferral; 2 deferred, rejected, unsent,
    bounced or overdue; 3 unobserved, wrong usage or configuration, interrupted.

    Where standard output is no terminal (a pipe, a file), the results are one JSON document: --format text for people.
    """
    urls = {"--smtp": smtp, "--imap": imap, "--to": to}
    beside = {
        "--from": from_,
        "--smtp-password-file": smtp_password_file,
        "--imap-password-file": imap_password_file,
        "--smtp-token-file": smtp_token_file,
        "--imap-token-file": imap_token_file,
        "--ca-file": ca_file,
    }
    try:
        with _interrupt_ends_at_once():
            if file is not None:
                _refuse({**urls, **beside}, "goes with URLs, not with -c")
                plan, key, agent = _from_file(file, routes)
            else:
                _require(urls, routes)
                files = {"smtp": smtp_password_file, "imap": imap_password_file}
                tokens = {"smtp": smtp_token_file, "imap": imap_token_file}
                plan = _from_urls(str(smtp), str(imap), str(to), from_, files, tokens, ca_file)
                key, agent = Key.generate(), "probe"
            if format_ is None and not on_terminal() and sys.stderr is not None and sys.stderr.isatty():
                click.echo("JSON, since nobody sees it on a terminal; --format text for people", err=True)
            status = _run(plan, key, agent, Wanted(Format.chosen(format_), timeout, warning, transcript), keep=keep)
    except ConfigurationError as error:
        _fail(error)
    sys.exit(status)


@contextmanager
def _interrupt_ends_at_once() -> Iterator[None]:
    """Until the run handles signals itself there is nothing to clean up.

    No KeyboardInterrupt: raised inside an import, in the code that `dataclass` compiles, Python would end by the
    signal even where it is caught.
    """
    before = signal.signal(signal.SIGINT, lambda number, frame: os._exit(Status.UNKNOWN))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _run(plan: Plan, key: Key, agent: str, wanted: Wanted, *, keep: bool) -> int:
    import asyncio

    from mailprobe.cli.loops import runner
    from mailprobe.cli.oneshot import OneShot, shaped

    clock = SystemClock()
    plan = shaped(plan, plan.routes, wanted.timeout, keep=keep)

    async def run() -> int:
        with show(wanted, plan, clock) as display:
            one_shot = OneShot(plan, key, agent, clock, display.event, display.stage_ended, display.interrupted)
            return display.end(await one_shot.run())

    with runner() as loop:
        try:
            return loop.run(run())
        except asyncio.CancelledError:  # interrupted twice
            return Status.UNKNOWN


def _from_file(file: Path, names: tuple[str, ...]) -> tuple[Plan, Key, str]:
    from mailprobe.config.load import load

    configuration = load(file, os.environ)
    routes = configuration.plan.routes
    unknown = [name for name in names if name not in routes]
    if unknown:
        raise ConfigurationError(
            *(f"{file}: no route is named {name!r}; there are {', '.join(sorted(routes))}" for name in unknown)
        )
    chosen = {name: routes[name] for name in names or routes}
    own = configuration.agent
    # a key of its own unless one is configured: the journal's is the running agent's business
    key = canary_key(own.key_file, None)
    return Plan(chosen, configuration.plan.senders, configuration.plan.mailboxes), key, _name(own.name)


def _name(agent: str) -> str:
    """A name for this run only: two at once in one mailbox would take each other's canary for litter of their own."""
    return f"{agent}-probe-{token_hex(3)}"


def _from_urls(
    smtp: str,
    imap: str,
    to: str,
    from_: str | None,
    files: Mapping[str, Path | None],
    tokens: Mapping[str, Path | None],
    ca_file: Path | None,
) -> Plan:
    from mailprobe.cli.urls import mailbox_of, sender_of

    if ca_file is not None and not ca_file.is_file():
        raise ConfigurationError(f"--ca-file: {ca_file}: no such file")
    sender = sender_of(smtp, from_address=from_, to=to, password=_password("smtp", files), ca_file=ca_file)
    mailbox = mailbox_of(imap, to=to, password=_password("imap", files), ca_file=ca_file)
    sender = replace(sender, login=_with_token("smtp", sender.login, files, tokens))
    mailbox = replace(mailbox, login=_with_token("imap", mailbox.login, files, tokens) or mailbox.login)
    _require_passwords({"smtp": sender.login, "imap": mailbox.login}, files)
    route = Route("probe", sender, mailbox, interval=60.0, deadline=60.0, late_until=60.0, timeout=30.0)
    return Plan({route.name: route}, {sender.name: sender}, {mailbox.name: mailbox})


def _with_token(
    side: str, login: Login | None, files: Mapping[str, Path | None], tokens: Mapping[str, Path | None]
) -> Login | None:
    """The login with the bearer token that is given in place of a password."""
    file = tokens[side]
    if file is None:
        return login
    if login is None:
        raise ConfigurationError(f"--{side}-token-file: --{side} names no user who could log in")
    if files[side]:
        raise ConfigurationError(f"--{side}-token-file: give either a token or a password, not both")
    if not file.is_file():
        raise ConfigurationError(f"--{side}-token-file: {file}: no such file")
    return Login(login.username, oauth2=OAuth2(token_file=file))


def _password(side: str, files: Mapping[str, Path | None]) -> SecretReference:
    file = files[side]
    if file is None:
        return SecretReference(env=_PASSWORDS[side])
    if not file.is_file():
        raise ConfigurationError(f"--{side}-password-file: {file}: no such file")
    return SecretReference(file=file)


def _require_passwords(logins: Mapping[str, Login | None], files: Mapping[str, Path | None]) -> None:
    problems = []
    for side, login in logins.items():
        if login is None or login.oauth2:
            continue
        try:
            read_secret(login.password)
        except ProbeFailure as failure:
            missing = files[side] is None and _PASSWORDS[side] not in os.environ
            why = f"set {_PASSWORDS[side]} or give --{side}-password-file" if missing else failure.detail
            problems.append(f"--{side}: no password for {login.username}: {why}")
    if problems:
        raise ConfigurationError(*problems)


def _refuse(options: Mapping[str, object], why: str) -> None:
    for option, value in options.items():
        if value is not None:
            raise ConfigurationError(f"{option} {why}")


def _require(options: Mapping[str, str | None], routes: tuple[str, ...]) -> None:
    if routes:
        raise ConfigurationError(f"{routes[0]}: a route is of a configuration file: give -c FILE")
    missing = [option for option, value in options.items() if value is None]
    if missing:
        raise ConfigurationError(f"give -c FILE, or --smtp, --imap and --to; missing: {', '.join(missing)}")


def _fail(error: ConfigurationError) -> NoReturn:
    for problem in error.problems:
        click.echo(problem, err=True)
    sys.exit(3)
