"""From checked settings to the slices that actors are given."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Final

from mailprobe.config.feeds import feed_of
from mailprobe.config.oauth2 import oauth2_of
from mailprobe.config.routes import in_shard, promise_of, retry_of, route_entries
from mailprobe.config.schema import (
    AuthSettings,
    EndpointSettings,
    MailboxSettings,
    Policy,
    SenderSettings,
    SenderTls,
    Settings,
    Verify,
)
from mailprobe.config.secrets_dir import Secrets
from mailprobe.model import SenderKind, TlsMode
from mailprobe.plan import Endpoint, Limits, Login, Mailbox, Plan, Route, SecretReference, Sender

MX_PORT: Final = 25

TLS_MODES: Final = {
    SenderTls.IMPLICIT: TlsMode.IMPLICIT,
    SenderTls.STARTTLS: TlsMode.STARTTLS,
    SenderTls.PLAINTEXT: TlsMode.PLAINTEXT,
    SenderTls.OPPORTUNISTIC: TlsMode.OPPORTUNISTIC,
    SenderTls.REQUIRE: TlsMode.STARTTLS,
    SenderTls.NONE: TlsMode.PLAINTEXT,
}


def plan_of(settings: Settings, directory: Path, shard: tuple[int, int] | None = None) -> Plan:
    """The routes of the shard with the senders and mailboxes that they, and the senders' bounces, use, and their feeds.

    `directory`: where relative paths begin. The settings must have passed `checks`.
    """
    entries = [entry for entry in route_entries(settings) if in_shard(entry.name, shard)]
    senders = {name: _sender(name, settings, directory) for name in dict.fromkeys(entry.sender for entry in entries)}
    used = dict.fromkeys(entry.mailbox for entry in entries)
    used |= dict.fromkeys(sender.bounces_to for sender in senders.values() if sender.bounces_to)
    mailboxes = {name: _mailbox(name, settings, directory) for name in used}
    routes = {}
    for entry in entries:
        promise = promise_of(settings, entry.settings)
        routes[entry.name] = Route(
            name=entry.name,
            sender=senders[entry.sender],
            mailbox=mailboxes[entry.mailbox],
            interval=promise.interval,
            deadline=promise.deadline,
            late_until=promise.late_until,
            timeout=promise.timeout,
            retry=retry_of(entry.settings, settings.senders[entry.sender], promise.deadline),
        )
    feeds = {
        name: feed_of(name, settings, directory, secrets_of(settings, "status_feeds", name, directory))
        for name, feed in settings.status_feeds.items()
        if shard is None or not senders.keys().isdisjoint(feed.senders) or not used.keys().isdisjoint(feed.mailboxes)
    }
    return Plan(routes, senders, mailboxes, feeds)


def tls_of(sender: SenderSettings) -> SenderTls:
    """When TLS begins, the default of the sender's kind resolved."""
    return sender.tls or (SenderTls.OPPORTUNISTIC if sender.mx else SenderTls.STARTTLS)


def secrets_of(settings: Settings, section: str, name: str, directory: Path) -> Secrets | None:
    """Where `secrets_dir` has the secrets of a sender, mailbox or feed; None without it."""
    return Secrets(directory / settings.secrets_dir, section, name) if settings.secrets_dir else None


def verifies(endpoint: EndpointSettings) -> bool:
    """Whether the certificate is verified; for mx only if asked for, since few MX carry one that can be."""
    mx = isinstance(endpoint, SenderSettings) and endpoint.mx
    return (endpoint.tls_verify or (Verify.NONE if mx else Verify.FULL)) is Verify.FULL


def _sender(name: str, settings: Settings, directory: Path) -> Sender:
    own = settings.senders[name]
    host, port = own.submission or ("", own.port or MX_PORT)
    return Sender(
        name=name,
        kind=SenderKind.MX if own.mx else SenderKind.SUBMISSION,
        endpoint=_endpoint(own, host, port, TLS_MODES[tls_of(own)], directory),
        from_address=own.from_address,
        ehlo=own.ehlo or _greeting_name(own.from_address),
        login=_login(own.auth, secrets_of(settings, "senders", name, directory), directory) if own.auth else None,
        limits=Limits(own.limits.connections, own.limits.messages_per_minute),
        bounces_to=own.bounces_to,
        resolver=tuple((server.host, server.port) for server in own.resolver),
        try_all=own.try_all,
        mta_sts=own.mta_sts is Policy.REPORT,
        dane=own.dane is Policy.REPORT,
    )


def _mailbox(name: str, settings: Settings, directory: Path) -> Mailbox:
    own: MailboxSettings = settings.mailboxes[name]
    return Mailbox(
        name=name,
        address=own.address,
        endpoint=_endpoint(own, *own.imap, TlsMode(own.tls), directory),
        login=_login(own.auth, secrets_of(settings, "mailboxes", name, directory), directory),
        inbox=own.inbox,
        junk=None if own.junk == "none" else own.junk,
        cleanup=own.cleanup,
        timeout=settings.defaults.timeout,
    )


def _endpoint(own: EndpointSettings, host: str, port: int, tls: TlsMode, directory: Path) -> Endpoint:
    return Endpoint(
        host=host,
        port=port,
        tls=tls,
        verify=verifies(own),
        ca_file=directory / own.ca_file if own.ca_file else None,
        server_name=own.tls_server_name,
        source_address=own.source_address,
        family=own.ip_family,
    )


def _login(auth: AuthSettings, secrets: Secrets | None, directory: Path) -> Login:
    if auth.oauth2:
        return Login(auth.username, oauth2=oauth2_of(auth.username, auth.oauth2, secrets, directory))
    if auth.password_env:
        return Login(auth.username, SecretReference(env=auth.password_env))
    from_directory = secrets.file("password") if secrets else None
    file = directory / auth.password_file if auth.password_file else from_directory
    return Login(auth.username, SecretReference(file=file))


def _greeting_name(from_address: str) -> str:
    """The host's own name where the world may know it, else the domain that the mail claims to be from."""
    own = platform.node()  # never getfqdn: it asks the DNS and may take seconds
    return own if "." in own.strip(".") and own.isascii() else from_address.rpartition("@")[2]
