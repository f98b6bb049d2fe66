"""TLS contexts, shared because each costs 15 ms to build, and what TLS came to on a connection."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from mailprobe.errors import OUR_LIMITS, ProbeFailure, Reason, Stage, plain_text
from mailprobe.model import TlsFacts, TlsMode
from mailprobe.net.certificate import RecordingSSLObject, facts_of
from mailprobe.plan import Endpoint

_FRESH_SECONDS: Final = 5.0
_Version = tuple[int, int, int] | None
_contexts: Final[dict[tuple[bool, Path | None], tuple[_Version, ssl.SSLContext]]] = {}
_looked: Final[dict[tuple[bool, Path | None], float]] = {}


def must_verify(endpoint: Endpoint) -> bool:
    """True if a certificate that does not hold ends the connection.

    Opportunistic TLS takes any certificate, as it would take no TLS at all. Source: RFC 7435 3.
    """
    return endpoint.verify and endpoint.tls is not TlsMode.OPPORTUNISTIC


def context_for(endpoint: Endpoint) -> ssl.SSLContext:
    """The context for connections to an endpoint, shared by all that trust the same.

    Built when first asked for (about 15 ms) and again when the file of CAs has changed. Raises
    ProbeFailure(TLS, CERTIFICATE_UNTRUSTED) where that file cannot be used.
    """
    key = verify, ca_file = _key(endpoint)
    try:
        version = _version(ca_file) if verify else None
        cached = _contexts.get(key)
        if cached is None or cached[0] != version:
            cached = _contexts[key] = (version, _build(*key))
    except OSError as error:  # ssl.SSLError is one: no certificate in the file
        if error.errno in OUR_LIMITS:
            raise
        why = error.strerror or "not a file of certificates"
        raise ProbeFailure(
            Stage.TLS, Reason.CERTIFICATE_UNTRUSTED, f"ca_file cannot be used: {endpoint.ca_file}: {why}"
        ) from None
    return cached[1]


async def shared_context(endpoint: Endpoint) -> ssl.SSLContext:
    """As `context_for`, from an event loop: the file system is asked, and a context built, in a thread.

    Now and then only: a change of the file of CAs is seen within a few seconds.
    """
    key = _key(endpoint)
    cached = _contexts.get(key)
    if cached is None or time.monotonic() - _looked.get(key, -_FRESH_SECONDS) > _FRESH_SECONDS:
        context = await asyncio.to_thread(context_for, endpoint)
        _looked[key] = time.monotonic()
        return context
    return cached[1]


def tls_facts(ssl_object: ssl.SSLObject, verified: bool) -> TlsFacts:
    """Version, cipher and certificate of a connection; `verified` is what `must_verify` said of the endpoint."""
    cipher = ssl_object.cipher()
    der = ssl_object.getpeercert(binary_form=True)
    subject, issuer, not_after = _certificate(ssl_object, der) if der else ("", "", None)
    return TlsFacts(
        version=ssl_object.version() or "",
        cipher=cipher[0] if cipher else "",
        subject=subject,
        issuer=issuer,
        not_after=not_after,
        verified=verified,
    )


def _key(endpoint: Endpoint) -> tuple[bool, Path | None]:
    verify = must_verify(endpoint)
    return verify, endpoint.ca_file if verify else None


_seen: Final[dict[bytes, tuple[str, str, datetime | None]]] = {}


def _certificate(ssl_object: ssl.SSLObject, der: bytes) -> tuple[str, str, datetime | None]:
    if der not in _seen:
        if len(_seen) >= 256:  # a hostile server could show another one each time
            _seen.clear()
        _seen[der] = _from_verified(ssl_object) or _from_der(der)
    return _seen[der]


def _from_verified(ssl_object: ssl.SSLObject) -> tuple[str, str, datetime | None] | None:
    certificate: Any = ssl_object.getpeercert()
    if not certificate:
        return None
    seconds = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
    names = certificate.get("subjectAltName", ())
    subject = _joined(certificate.get("subject", ())) or (str(names[0][1]) if names else "")
    return subject, _joined(certificate.get("issuer", ())), datetime.fromtimestamp(seconds, UTC)


def _from_der(der: bytes) -> tuple[str, str, datetime | None]:
    facts = facts_of(der)
    if facts is None:
        return "", "", None
    subject = facts.subject or (facts.names[0] if facts.names else "")
    return plain_text(subject), plain_text(facts.issuer), facts.not_after


_SHORT: Final = {"commonName": "CN", "organizationName": "O", "organizationalUnitName": "OU", "countryName": "C"}


def _joined(name: Any) -> str:
    """A distinguished name as the standard library gives it, most specific part first as in RFC 4514."""
    parts = [f"{_SHORT.get(key, key)}={value}" for group in reversed(name) for key, value in group]
    return plain_text(",".join(parts))


def _version(ca_file: Path | None) -> _Version:
    path: str | Path | None = ca_file or ssl.get_default_verify_paths().cafile
    if path is None:  # the system has a directory of CAs only
        return None
    status = os.stat(path)
    return status.st_mtime_ns, status.st_size, status.st_ino


def _build(verify: bool, ca_file: Path | None) -> ssl.SSLContext:
    if verify:
        context = ssl.create_default_context(cafile=ca_file)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    # some Pythons leave this to the system's openssl.cnf. Source: RFC 8996
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslobject_class = RecordingSSLObject
    return context
