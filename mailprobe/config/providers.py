"""What is known of the large mail providers: where they are, how one logs in, what they allow. One table.

A preset fills what the configuration leaves out. Sources: Microsoft's "Exchange Online limits", "Authenticate an IMAP,
POP or SMTP connection using OAuth" and the Exchange team's blog of January 2026; Google's "Gmail sending limits",
"Add Gmail to another email client" and "OAuth 2.0 mechanism"; Fastmail's, Apple's and Yahoo's own pages on servers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from mailprobe.plan import Grant


class MailProvider(StrEnum):
    """Whose servers they are."""

    MICROSOFT365 = "microsoft365"
    GMAIL = "gmail"
    GOOGLE_WORKSPACE = "google_workspace"
    FASTMAIL = "fastmail"
    ICLOUD = "icloud"
    YAHOO = "yahoo"


class IdentityProvider(StrEnum):
    """Who gives tokens."""

    MICROSOFT365 = "microsoft365"
    GOOGLE = "google"


@dataclass(frozen=True, slots=True)
class Provider:
    """A mail provider. `limits` are filled in; the other figures are what it allows, None: not known.

    `connections`, `per_minute`, `per_day`: submissions of one mailbox. `keeps_sent`: what is submitted stays in its
    folder of sent mail. `imap_passwords`: whether IMAP takes passwords at all.
    """

    title: str
    submission: str
    submission_tls: str
    imap: str
    oauth2: IdentityProvider | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    connections: int | None = None
    per_minute: int | None = None
    per_day: int | None = None
    imap_connections: int | None = None
    keeps_sent: bool = False
    imap_passwords: bool = True


_GOOGLE: Final = {
    "submission": "smtp.gmail.com:587",
    "submission_tls": "starttls",
    "imap": "imap.gmail.com:993",
    "oauth2": IdentityProvider.GOOGLE,
    "imap_connections": 15,
    "keeps_sent": True,
}
PROVIDERS: Final[Mapping[MailProvider, Provider]] = {
    MailProvider.MICROSOFT365: Provider(
        title="Microsoft 365",
        submission="smtp.office365.com:587",
        submission_tls="starttls",
        imap="outlook.office365.com:993",
        oauth2=IdentityProvider.MICROSOFT365,
        limits={"connections": 2, "messages_per_minute": 25},
        connections=3,
        per_minute=30,
        per_day=10_000,
        keeps_sent=True,
        imap_passwords=False,
    ),
    MailProvider.GMAIL: Provider(title="Gmail", per_day=500, **_GOOGLE),  # type: ignore[arg-type]
    MailProvider.GOOGLE_WORKSPACE: Provider(title="Google Workspace", per_day=2_000, **_GOOGLE),  # type: ignore[arg-type]
    MailProvider.FASTMAIL: Provider("Fastmail", "smtp.fastmail.com:465", "implicit", "imap.fastmail.com:993"),
    MailProvider.ICLOUD: Provider("iCloud", "smtp.mail.me.com:587", "starttls", "imap.mail.me.com:993"),
    MailProvider.YAHOO: Provider("Yahoo", "smtp.mail.yahoo.com:465", "implicit", "imap.mail.yahoo.com:993"),
}

TOKEN_URLS: Final = {
    IdentityProvider.MICROSOFT365: "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token",
    IdentityProvider.GOOGLE: "https://oauth2.googleapis.com/token",
}
SCOPES: Final = {
    (IdentityProvider.MICROSOFT365, Grant.CLIENT_CREDENTIALS): "https://outlook.office365.com/.default",
    (IdentityProvider.MICROSOFT365, Grant.REFRESH_TOKEN): "https://outlook.office.com/IMAP.AccessAsUser.All "
    "https://outlook.office.com/SMTP.Send offline_access",
    (IdentityProvider.GOOGLE, Grant.JWT_BEARER): "https://mail.google.com/",
}
"""What is asked for where the configuration does not say; Google's refresh tokens have their scope already."""

_BY_HOST: Final = {server: name for name, each in PROVIDERS.items() for server in (each.submission, each.imap)}
_TOKEN_KEYS: Final = frozenset({"provider", "token_url", "token_file", "token_command"})


def provider_of(named: MailProvider | None, server: object) -> Provider | None:
    """The provider that is named, or whose server it is."""
    name = named or _BY_HOST.get(str(server))
    return PROVIDERS[name] if name else None


def presets(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that follow from each `provider`, to lie under those that are given; layers from the top down."""
    found: dict[str, Any] = {}
    for section, fill in (("senders", _sender), ("mailboxes", _mailbox)):
        filled: dict[str, dict[str, Any]] = {}
        # every name, in the order of the file: whoever lies the lowest gives a map its order
        for name in (name for layer in reversed(layers) for name in _mapping(layer.get(section))):
            given = [_mapping(_mapping(layer.get(section)).get(name)) for layer in layers]
            provider = _known(_first(given, "provider"))
            filled[name] = fill(provider, given) | _auth(provider, given) if provider else {}
        if any(filled.values()):
            found[section] = filled
    return found


def _sender(provider: Provider, given: list[Mapping[str, Any]]) -> dict[str, Any]:
    if _first(given, "mx") is not None:
        return {}
    filled: dict[str, Any] = {"limits": dict(provider.limits)} if provider.limits else {}
    if _first(given, "submission") is None:
        filled |= {"submission": provider.submission, "tls": provider.submission_tls}
    return filled


def _mailbox(provider: Provider, given: list[Mapping[str, Any]]) -> dict[str, Any]:
    return {"imap": provider.imap, "tls": "implicit"} if _first(given, "imap") is None else {}


def _auth(provider: Provider, given: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Whom to ask for tokens, where that is not said."""
    oauth2 = [_mapping(_mapping(layer.get("auth")).get("oauth2")) for layer in given]
    if not provider.oauth2 or not any(oauth2) or any(key in layer for layer in oauth2 for key in _TOKEN_KEYS):
        return {}
    return {"auth": {"oauth2": {"provider": provider.oauth2.value}}}


def _known(name: object) -> Provider | None:
    return next((each for key, each in PROVIDERS.items() if key == name), None)


def _first(layers: list[Mapping[str, Any]], key: str) -> Any:
    return next((layer[key] for layer in layers if layer.get(key) is not None), None)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
