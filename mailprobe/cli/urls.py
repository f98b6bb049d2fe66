"""Senders and mailboxes written as URLs: `smtp://user@host:587?tls=starttls`, `mx://domain`, `imaps://user@host`."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from mailprobe.errors import ConfigurationError
from mailprobe.message.compose import check_address
from mailprobe.model import SenderKind, TlsMode
from mailprobe.plan import Endpoint, Family, Limits, Login, Mailbox, SecretReference, Sender

_T = TypeVar("_T")

PORTS: Final = {"smtp": 587, "smtps": 465, "mx": 25, "imap": 143, "imaps": 993}
_BARE: Final = re.compile(r"([\w.%+-]{1,100}@)?[a-zA-Z0-9.-]{1,253}(:[0-9]{1,5})?")
"""What lacks nothing but a scheme."""
_OPTIONS: Final = frozenset({"tls", "verify", "server_name", "ehlo", "source", "family"})
_TLS: Final = {
    "smtp": {mode.value: mode for mode in (TlsMode.STARTTLS, TlsMode.PLAINTEXT, TlsMode.IMPLICIT)},
    "imap": {mode.value: mode for mode in (TlsMode.STARTTLS, TlsMode.PLAINTEXT, TlsMode.IMPLICIT)},
    "smtps": {"implicit": TlsMode.IMPLICIT},
    "imaps": {"implicit": TlsMode.IMPLICIT},
    "mx": {"opportunistic": TlsMode.OPPORTUNISTIC, "require": TlsMode.STARTTLS, "none": TlsMode.PLAINTEXT},
}
_DEFAULT_TLS: Final = {
    "smtp": TlsMode.STARTTLS,
    "imap": TlsMode.STARTTLS,
    "smtps": TlsMode.IMPLICIT,
    "imaps": TlsMode.IMPLICIT,
    "mx": TlsMode.OPPORTUNISTIC,
}


def sender_of(
    url: str, *, from_address: str | None, to: str, password: SecretReference, ca_file: Path | None
) -> Sender:
    """The sender that a URL names. Raises ConfigurationError, which never shows a password given by mistake."""
    parts, options = _split("--smtp", url, ("smtp", "smtps", "mx"))
    login = _login(parts, password)
    _address("--to", to)
    if parts.scheme == "mx":
        _check_mx(parts, to)
    address = from_address or (login.username if login and "@" in login.username else to)
    return Sender(
        name=parts.hostname or "mx",
        kind=SenderKind.MX if parts.scheme == "mx" else SenderKind.SUBMISSION,
        endpoint=_endpoint("--smtp", parts, options, ca_file, login),
        from_address=_address("--from", address),
        ehlo=options.get("ehlo") or address.rpartition("@")[2] or platform.node(),
        login=login,
        limits=Limits(connections=1),
    )


def mailbox_of(url: str, *, to: str, password: SecretReference, ca_file: Path | None) -> Mailbox:
    """The mailbox that a URL names. Raises ConfigurationError, which never shows a password given by mistake."""
    parts, options = _split("--imap", url, ("imap", "imaps"))
    login = _login(parts, password)
    if login is None:
        raise ConfigurationError("--imap: no user; write imaps://user@host (an @ in the user's name as %40)")
    return Mailbox(
        name=parts.hostname or "mailbox",
        address=_address("--to", to),
        endpoint=_endpoint("--imap", parts, options, ca_file, login),
        login=login,
    )


def _split(option: str, url: str, schemes: tuple[str, ...]) -> tuple[SplitResult, Mapping[str, str]]:
    _refuse_password(option, url)
    wanted = ", ".join(f"{scheme}://" for scheme in schemes)
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:  # whose text repeats the URL
        raise ConfigurationError(f"{option}: not a URL; write {schemes[0]}://user@host:port") from None
    if "://" not in url:
        example = f"{schemes[0]}://{url}" if _BARE.fullmatch(url) else f"{schemes[0]}://user@host:port"
        raise ConfigurationError(f"{option}: a URL is wanted: write {example}")
    if parts.scheme not in schemes:
        raise ConfigurationError(f"{option}: {parts.scheme or 'no scheme'} is not known here; begin with {wanted}")
    if parts.path.strip("/") or parts.fragment:
        raise ConfigurationError(f"{option}: nothing may stand between the port and the question mark")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(options.keys() - _OPTIONS)
    if unknown:
        raise ConfigurationError(f"{option}: unknown: {', '.join(unknown)}; known are {', '.join(sorted(_OPTIONS))}")
    if not parts.hostname:
        raise ConfigurationError(f"{option}: no host in it; write {schemes[0]}://host")
    return parts, options


def _refuse_password(option: str, url: str) -> None:
    """Before anything is parsed: a slash or question mark in it would make the rest look like a port or an option."""
    user, at, _ = (url.partition("://")[2] or url).rpartition("@")
    if at and ":" in user:
        raise ConfigurationError(
            f"{option}: no password on the command line, where others can read it; use {option}-password-file or "
            f"the environment variable MAILPROBE_{option[2:].upper()}_PASSWORD"
        )


def _source(option: str, options: Mapping[str, str]) -> str | None:
    address = options.get("source")
    try:
        return str(ip_address(address)) if address is not None else None
    except ValueError:
        raise ConfigurationError(f"{option}: source={address!r}: an IP address of this machine") from None


def _endpoint(
    option: str, parts: SplitResult, options: Mapping[str, str], ca_file: Path | None, login: Login | None
) -> Endpoint:
    host = parts.hostname or ""
    tls = _choice(option, "tls", options, _TLS[parts.scheme], _DEFAULT_TLS[parts.scheme])
    endpoint = Endpoint(
        host="" if parts.scheme == "mx" else host,
        port=parts.port or PORTS[parts.scheme],
        tls=tls,
        verify=_choice(option, "verify", options, {"full": True, "none": False}, True),
        ca_file=ca_file,
        server_name=options.get("server_name"),
        source_address=_source(option, options),
        family=_choice(option, "family", options, {family.value: family for family in Family}, Family.ANY),
    )
    if tls is TlsMode.PLAINTEXT and login and not endpoint.is_loopback:
        raise ConfigurationError(
            f"{option}: tls=plaintext with a password, to another machine: use starttls or implicit"
        )
    return endpoint


def _choice(option: str, name: str, options: Mapping[str, str], known: Mapping[str, _T], default: _T) -> _T:
    if name not in options:
        return default
    if options[name] not in known:
        raise ConfigurationError(f"{option}: {name}={options[name]!r}: one of {', '.join(known)}")
    return known[options[name]]


def _login(parts: SplitResult, password: SecretReference) -> Login | None:
    return Login(unquote(parts.username), password) if parts.username else None


def _address(option: str, address: str) -> str:
    try:
        check_address(address)
    except ValueError as error:
        raise ConfigurationError(f"{option}: {error}") from None
    return address


def _check_mx(parts: SplitResult, to: str) -> None:
    domain = to.rpartition("@")[2].lower()
    if parts.hostname != domain:
        raise ConfigurationError(f"--smtp: mx://{parts.hostname}, but --to is at {domain}: write mx://{domain}")
    if parts.username:
        raise ConfigurationError("--smtp: nobody logs in to an MX; leave the user out")
