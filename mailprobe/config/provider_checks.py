"""What a configuration asks of a mail provider beyond what that allows: warnings, since limits change. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from mailprobe.config.problems import KeyPath
from mailprobe.config.providers import Provider, provider_of
from mailprobe.config.routes import RouteEntry, promise_of
from mailprobe.config.schema import Settings

_DAY: Final = 1440.0
FOLDER: Final = 1_000_000
"""Messages that a folder may hold. Source: Exchange Online limits, "maximum number of messages per mailbox folder"."""
SOON: Final = 182.5
"""Days within which a folder of sent mail that gets full is worth a warning."""

Located = tuple[KeyPath, str]


def provider_warnings(settings: Settings, entries: Iterable[RouteEntry]) -> Iterator[Located]:
    """What goes beyond a provider's published limits, or cannot work with it, as (path, text)."""
    rates = _rates(settings, entries)
    seen: dict[tuple[str, str], int] = {}
    for name, sender in settings.senders.items():
        if provider := provider_of(sender.provider, sender.submission):
            path: KeyPath = ("senders", name)
            yield from _connections(path, provider, sender.limits.connections)
            yield from _amounts(path, provider, rates.get(name, 0.0))
    for name, mailbox in settings.mailboxes.items():
        provider = provider_of(mailbox.provider, mailbox.imap)
        if provider is None:
            continue
        path = ("mailboxes", name)
        account = provider.title, mailbox.auth.username.casefold()
        seen[account] = seen.get(account, 0) + 1
        if provider.imap_connections and seen[account] == provider.imap_connections + 1:
            text = f"{provider.title} allows {provider.imap_connections} IMAP connections of one account, one a mailbox"
            yield path, text + "; this one is too many"
        if not provider.imap_passwords and not mailbox.auth.oauth2:
            yield (*path, "auth"), f"{provider.title} takes no password for IMAP; write oauth2"


def _rates(settings: Settings, entries: Iterable[RouteEntry]) -> dict[str, float]:
    """Messages a minute of each sender, without retries."""
    rates: dict[str, float] = {}
    for entry in entries:
        rates[entry.sender] = rates.get(entry.sender, 0.0) + 60 / promise_of(settings, entry.settings).interval
    return rates


def _connections(path: KeyPath, provider: Provider, connections: int) -> Iterator[Located]:
    if provider.connections and connections > provider.connections:
        text = f"{provider.title} allows {provider.connections} submissions of one mailbox at a time"
        yield (*path, "limits", "connections"), text


def _amounts(path: KeyPath, provider: Provider, rate: float) -> Iterator[Located]:
    if provider.per_minute and rate > provider.per_minute:
        yield path, f"its routes make {rate:.4g} messages a minute; {provider.title} allows {provider.per_minute}"
    if provider.per_day and rate * _DAY > provider.per_day:
        yield path, f"its routes make {rate * _DAY:.0f} messages a day; {provider.title} allows {provider.per_day}"
    if provider.keeps_sent and rate * _DAY * SOON > FOLDER:
        text = f"{provider.title} keeps what is submitted, {rate * _DAY:.0f} messages a day, in the folder of sent mail"
        yield path, text + ", which mailprobe never empties; give the mailbox a retention rule"
