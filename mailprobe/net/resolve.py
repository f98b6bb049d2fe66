"""Names to addresses, by dnspython: with own time-outs, TTLs, and each way to fail told apart.

Answers are not cached: a probe that remembers would not notice that DNS is gone, and the recursive resolver of
the machine or site caches anyway.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import os
import socket
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from mailprobe.errors import ProbeFailure, Reason, Stage
from mailprobe.net.failure import failure_of
from mailprobe.plan import Family

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver as DnsResolver

T = TypeVar("T")

_HOSTS: Final = Path("/etc/hosts")
_RESOLV_CONF: Final = Path("/etc/resolv.conf")
_FRESH_SECONDS: Final = 5.0
"""How long the two files above are taken to be unchanged without a look."""
_GRACE_SECONDS: Final = 1.0
"""How long one record type is waited for once another has records: some servers drop what they do not know."""
_SOMEWHERE_IPV6: Final = "2001:db8::1"


@dataclass(frozen=True, slots=True)
class Resolved:
    """The addresses of a host, in the order to use them. `ttl` in seconds, None where no DNS was asked."""

    addresses: tuple[str, ...]
    ttl: int | None
    seconds: float


@dataclass(frozen=True, slots=True)
class MailExchangers:
    """The hosts that take a domain's mail, in the order to try them. `implicit`: there is no MX, it is the domain.

    `preferences` are those of the hosts. Source: RFC 5321 5.1.
    """

    hosts: tuple[str, ...]
    implicit: bool
    ttl: int | None
    seconds: float
    preferences: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Records:
    """Records of one type as dnspython has them, none if there are none; `name` is what aliases led to.

    `authenticated`: the resolver says that it has validated them (AD); as good as the way to it is safe.
    """

    values: tuple[Any, ...]
    name: str
    ttl: int
    authenticated: bool


class Resolver:
    """Looks names up; `nameservers` as (address, port), empty for those of /etc/resolv.conf."""

    def __init__(self, nameservers: Sequence[tuple[str, int]] = ()) -> None:
        self._nameservers = tuple(nameservers)
        self._dns = _Watched(_RESOLV_CONF, lambda _: _dns_resolver(self._nameservers))
        self._hosts = _Watched(_HOSTS, _parse_hosts)

    async def addresses(self, host: str, family: Family = Family.ANY, timeout: float = 5.0) -> Resolved:
        """The addresses of a host name or address: as they are written, from /etc/hosts, or from DNS.

        IPv6 first where this machine has a route to it, last where it has none. The search list of
        /etc/resolv.conf is honoured. Raises ProbeFailure(RESOLVE, ...) after at most `timeout` seconds.
        """
        begun = time.perf_counter()
        local = _literal(host) or _localhost(host) or (await self._hosts.get()).get(host.lower().rstrip("."), ())
        local = tuple(address for address in local if _is_of(family, address))
        if local:
            return Resolved(local, None, time.perf_counter() - begun)
        if _literal(host):
            raise ProbeFailure(Stage.RESOLVE, Reason.DNS_NO_ADDRESS, f"{host} is not an IPv{family} address")
        answers = await self._query(host, _records(family), timeout, search=True)
        found = tuple(str(record) for answer in answers for record in answer.rrset or ())
        if not found:
            raise ProbeFailure(Stage.RESOLVE, Reason.DNS_NO_ADDRESS, f"{host} has no address{_of(family)}")
        ttl = min(int(answer.chaining_result.minimum_ttl) for answer in answers)
        return Resolved(found, ttl, time.perf_counter() - begun)

    async def mail_exchangers(self, domain: str, timeout: float = 5.0, seed: str = "") -> MailExchangers:
        """Who takes mail for a domain: its MX by preference; without any, itself.

        Equal ones are shuffled, the same way for the same `seed`: the attempts of one canary go through one order,
        and canaries are shared out over all of them. An address literal (`[192.0.2.1]`) is its own host. Raises
        ProbeFailure(RESOLVE, NULL_MX) for a domain that says it takes no mail, and as `addresses` does.
        Source: RFC 5321 5.1, RFC 7505.
        """
        begun = time.perf_counter()
        literal = domain.strip("[]").removeprefix("IPv6:")
        if _literal(literal) or _localhost(domain):
            return MailExchangers((literal,), True, None, time.perf_counter() - begun)
        (answer,) = await self._query(domain, ("MX",), timeout, search=False)
        records = [(record.preference, str(record.exchange)) for record in answer.rrset or ()]
        found = sorted((one for one in records if one[1] != "."), key=lambda one: (one[0], _shuffled(seed, one[1])))
        if records and not found:
            raise ProbeFailure(Stage.RESOLVE, Reason.NULL_MX, f"{domain} says that it takes no mail (null MX)")
        return MailExchangers(
            hosts=tuple(exchange.rstrip(".") for _, exchange in found) or (domain,),
            implicit=not found,
            ttl=int(answer.chaining_result.minimum_ttl),
            seconds=time.perf_counter() - begun,
            preferences=tuple(preference for preference, _ in found),
        )

    async def records(self, name: str, kind: str, timeout: float = 5.0) -> Records:
        """The records of one type and whether DNSSEC vouches for them.

        Raises ProbeFailure(RESOLVE, ...) as `addresses` does; a name without such records is no failure.
        """
        from dns.flags import AD

        (answer,) = await self._query(name, (kind,), timeout, search=False)
        return Records(
            values=tuple(answer.rrset or ()),
            name=str(answer.canonical_name).rstrip("."),
            ttl=int(answer.chaining_result.minimum_ttl),
            authenticated=bool(answer.response.flags & AD),
        )

    async def _query(self, name: str, records: tuple[str, ...], timeout: float, *, search: bool) -> list[Any]:
        """One answer for each record type that got one, soon after the first; raises where none did."""
        try:
            async with asyncio.timeout(timeout):
                dns = await self._dns.get()
                from mailprobe.net.dns_sockets import Sockets  # after dnspython, which `get` imports in a thread

                asked = (
                    dns.resolve(
                        name, record, search=search, raise_on_no_answer=False, lifetime=timeout, backend=Sockets()
                    )
                    for record in records
                )
                answers = await _gathered(asked, 0.9 * timeout)
            if errors := [answer for answer in answers if isinstance(answer, BaseException)]:
                # some servers know AAAA badly: what the other type said stands
                if len(errors) == len(answers):
                    raise errors[-1]
                answers = [answer for answer in answers if not isinstance(answer, BaseException)]
        except Exception as error:
            raise _named(error, name, timeout) from error
        return answers


async def _gathered(asked: Iterable[Coroutine[Any, Any, Any]], seconds: float) -> list[Any]:
    """An answer or an exception for each query; after one with records, the others are waited for a moment only.

    Within `seconds` in any case: what came is not to be lost to the caller's own limit.
    """
    until = time.monotonic() + seconds
    tasks = [asyncio.ensure_future(one) for one in asked]
    pending = set(tasks)
    try:
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            if any(task.exception() is None and task.result().rrset for task in done):
                if pending:
                    left = max(0.0, until - time.monotonic())
                    await asyncio.wait(pending, timeout=min(_GRACE_SECONDS, left))
                break
    finally:
        for task in tasks:
            task.cancel()
    return await asyncio.gather(*tasks, return_exceptions=True)


class _Watched(Generic[T]):
    """Something made from a file, made again when the file has changed; the file system is asked in a thread."""

    def __init__(self, path: Path, make: Callable[[Path], T]) -> None:
        self._path = path
        self._make = make
        self._made: T | None = None
        self._version: tuple[int, int] | None = None
        self._looked = -_FRESH_SECONDS

    async def get(self) -> T:
        """What the file makes now, give or take a few seconds."""
        if self._made is None or time.monotonic() - self._looked > _FRESH_SECONDS:
            await asyncio.to_thread(self._look)
        assert self._made is not None
        return self._made

    def _look(self) -> None:
        try:
            status = os.stat(self._path)
            version = (status.st_mtime_ns, status.st_ino)
        except OSError:
            version = (0, 0)
        if self._made is None or version != self._version:
            self._made, self._version = self._make(self._path), version
        self._looked = time.monotonic()


def _named(error: Exception, name: str, timeout: float) -> Exception:
    failure = failure_of(error, Stage.RESOLVE)
    if failure is None:
        return error
    detail = failure.detail or f"no answer within {timeout:g} s"
    return ProbeFailure(Stage.RESOLVE, failure.reason, f"{name}: {detail}")


def _dns_resolver(nameservers: tuple[tuple[str, int], ...]) -> DnsResolver:
    from dns import flags
    from dns.asyncresolver import Resolver as DnsResolver
    from dns.nameserver import Do53Nameserver

    resolver = DnsResolver(configure=not nameservers)
    if nameservers:
        resolver.nameservers = [Do53Nameserver(address, port) for address, port in nameservers]
    # AD in a query: say whether you have validated it. Source: RFC 6840 5.7
    resolver.set_flags(flags.RD | flags.AD)
    return resolver


def _shuffled(seed: str, exchange: str) -> bytes:
    """A place among equals; the same in every process, so that a restart changes no canary's order."""
    return hashlib.blake2b(f"{seed} {exchange.lower()}".encode(), digest_size=8).digest()


def _parse_hosts(path: Path) -> dict[str, tuple[str, ...]]:
    """Names in lower case to their addresses. Source: hosts(5)."""
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return {}
    hosts: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if _literal(address):
            for name in names:
                hosts[name.lower()] = (*hosts.get(name.lower(), ()), address)
    return hosts


@lru_cache(maxsize=256)
def _literal(host: str) -> tuple[str, ...]:
    try:
        return (str(ipaddress.ip_address(host)),)
    except ValueError:
        return ()


def _localhost(host: str) -> tuple[str, ...]:
    """Loopback, whatever DNS may say. Source: RFC 6761 6.3."""
    name = host.lower().rstrip(".")
    return ("127.0.0.1", "::1") if name == "localhost" or name.endswith(".localhost") else ()


def _is_of(family: Family, address: str) -> bool:
    return family is Family.ANY or (family is Family.IPV6) == (":" in address)


def _of(family: Family) -> str:
    return "" if family is Family.ANY else f" of IPv{family}"


def _records(family: Family) -> tuple[str, ...]:
    if family is Family.ANY:
        return ("AAAA", "A") if _has_route(_SOMEWHERE_IPV6) else ("A", "AAAA")
    return ("AAAA",) if family is Family.IPV6 else ("A",)


def _has_route(address: str) -> bool:
    """True if this machine could send there; connecting a datagram socket sends nothing."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.setblocking(False)
            probe.connect((address, 9))
    except OSError:
        return False
    return True
