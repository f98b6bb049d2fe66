"""A real validating DNS resolver, unbound, that also holds the zones that a test gives it, signed or not.

Zones are written for each server, since TLSA records depend on certificates. A signed zone has its trust anchor in
the resolver: what it says of it carries AD. A bogus one is signed and then changed: SERVFAIL. `silent.test` is
delegated to a socket that never answers.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final

import dns.dnssec
import dns.exception
import dns.message
import dns.query
import dns.rdataset
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec

from mailprobe.net.resolve import Resolver
from support.servers import HOST, Daemon, PortTaken, fill_in, free_ports, require_programs

_HEAD: Final = "$TTL 300\n@ IN SOA ns hostmaster 1 3600 600 86400 60\n@ IN NS ns\nns IN A 127.0.0.1\n"

_SPOILT: Final = {"A": "192.0.2.99", "MX": "5 elsewhere.test.", "TLSA": f"3 1 1 {'00' * 32}", "TXT": '"changed"'}


class Dns:
    """A running unbound. `zones`: the records of each, as in a zone file; some of them `signed`, some `bogus`."""

    def __init__(
        self,
        directory: Path,
        zones: Mapping[str, str],
        *,
        signed: Collection[str] = (),
        bogus: Collection[str] = (),
    ) -> None:
        require_programs("unbound", ["unbound"], "unbound")
        directory.mkdir(parents=True)
        (self.port,) = free_ports(1)
        self._deaf = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._deaf.bind((HOST, 0))
        anchors = []
        configuration = directory / "unbound.conf"
        values = {
            "port": self.port,
            "directory": directory,
            "deaf_port": self._deaf.getsockname()[1],
            "own_zones": "".join(f'    local-zone: "{name}." transparent\n' for name in (*zones, "silent.test")),
        }
        fill_in(configuration.name, configuration, values)
        with configuration.open("a") as text:
            for name, records in zones.items():
                file = directory / f"{name}.zone"
                zone, anchor = _zone(name, records, signed=name in signed or name in bogus)
                if name in bogus:
                    _spoil(zone)
                zone.to_file(str(file), want_origin=True)
                anchors += [anchor] if anchor else []
                text.write(
                    f'auth-zone:\n    name: "{name}"\n    zonefile: "{file}"\n'
                    "    for-downstream: no\n    for-upstream: yes\n    fallback-enabled: no\n"
                )
        (directory / "anchors").write_text("".join(anchors))
        self._daemon = Daemon("unbound", ["unbound", "-d", "-c", str(configuration)], directory / "output")

    @property
    def resolver(self) -> Resolver:
        """Ours, asking this server and nobody else."""
        return Resolver([(HOST, self.port)])

    def start(self) -> None:
        """Start; answers when this returns."""
        self._daemon.start()
        # TCP is opened with UDP; a connection alone would be no proof that zones are read
        self._daemon.wait_for(self.port, None)
        query = dns.message.make_query("ready.test", "A")
        end = time.monotonic() + 10
        while True:
            with contextlib.suppress(dns.exception.Timeout, OSError):
                dns.query.udp(query, HOST, timeout=1, port=self.port)
                return
            if time.monotonic() > end:
                raise PortTaken("unbound does not answer by UDP")

    def kill(self) -> None:
        """End it at once."""
        self._daemon.kill()
        self._deaf.close()


@contextlib.contextmanager
def running_dns(
    directory: Path, zones: Mapping[str, str], *, signed: Collection[str] = (), bogus: Collection[str] = ()
) -> Iterator[Dns]:
    """The server started, and killed at the end."""
    server = Dns(directory, zones, signed=signed, bogus=bogus)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def _zone(name: str, records: str, *, signed: bool) -> tuple[dns.zone.Zone, str]:
    """A zone, and the trust anchor for it if it is signed."""
    zone = dns.zone.from_text(_HEAD + records, origin=f"{name}.", relativize=False)
    if not signed:
        return zone, ""
    private = ec.generate_private_key(ec.SECP256R1())
    key = dns.dnssec.make_dnskey(private.public_key(), dns.dnssec.Algorithm.ECDSAP256SHA256, flags=257)
    with zone.writer() as transaction:
        dns.dnssec.sign_zone(zone, transaction, keys=[(private, key)], dnskey_ttl=300, lifetime=86400)
    return zone, f"{name}. IN DNSKEY {key.to_text()}\n"


def _spoil(zone: dns.zone.Zone) -> None:
    """Changes what was signed, as somebody on the way would."""
    for kind, text in _SPOILT.items():
        for name, _ in list(zone.iterate_rdatasets(kind)):
            zone.replace_rdataset(name, dns.rdataset.from_text("IN", kind, 300, text))
