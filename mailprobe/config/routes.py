"""Every route that the settings promise, those of meshes included, and what each promises."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from mailprobe.config.problems import KeyPath
from mailprobe.config.schema import PromiseSettings, SenderSettings, Settings

DEFAULT_RETRY: Final = (60.0, 120.0, 300.0, 600.0, 900.0, 1800.0)
"""Pauses before further attempts of an mx sender: about those of an MTA's queue."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What a route promises, defaults resolved. All in seconds; `retry` None: as its sender is."""

    interval: float
    deadline: float
    late_until: float
    timeout: float
    retry: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class RouteEntry:
    """One route, and the settings (at `path`) that it comes from."""

    name: str
    path: KeyPath
    sender: str
    mailbox: str
    settings: PromiseSettings


def route_entries(settings: Settings) -> Iterator[RouteEntry]:
    """All routes in the order of the file, meshes last; names may collide and references may be unknown."""
    for name, route in settings.routes.items():
        yield RouteEntry(name, ("routes", name), route.sender, route.mailbox, route)
    for name, mesh in settings.meshes.items():
        for sender in dict.fromkeys(mesh.senders):
            for mailbox in dict.fromkeys(mesh.mailboxes):
                yield RouteEntry(f"{name}-{sender}-{mailbox}", ("meshes", name), sender, mailbox, mesh)


def promise_of(settings: Settings, own: PromiseSettings) -> Promise:
    """A route's own figures, and those of `defaults` where it has none."""
    common = settings.defaults
    return Promise(
        own.interval if own.interval is not None else common.interval,
        own.deadline if own.deadline is not None else common.deadline,
        own.late_until if own.late_until is not None else common.late_until,
        own.timeout if own.timeout is not None else common.timeout,
        own.retry,
    )


def retry_of(own: PromiseSettings, sender: SenderSettings, deadline: float) -> tuple[float, ...]:
    """The route's own schedule; else an MTA's as far as the deadline allows for mx, none for submission."""
    if own.retry is not None:
        return own.retry
    pauses: list[float] = []
    for pause in DEFAULT_RETRY if sender.mx else ():
        if sum(pauses) + pause >= deadline:
            break
        pauses.append(pause)
    return tuple(pauses)


def in_shard(route: str, shard: tuple[int, int] | None) -> bool:
    """Whether the route falls into the shard: a hash of its name that is the same on every machine and version.

    Part 0 and part n of n are the same one, so that ordinals may count from 0 or from 1.
    """
    if shard is None:
        return True
    part, parts = shard
    return int.from_bytes(hashlib.sha256(route.encode()).digest()[:8], "big") % parts == part % parts
