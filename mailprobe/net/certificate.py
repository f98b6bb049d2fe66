"""What a certificate says, for people: also of one that was refused or that nobody checked.

The standard library parses certificates only after it has verified them; everything here is from the DER by
`cryptography`, imported when it is first needed.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, Name

_NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """A certificate's subject, issuer, the names it is good for, and its period in UTC."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime


class RecordingSSLObject(ssl.SSLObject):
    """Attaches the certificates that were refused to the error, as `peer_chain` (DER).

    Otherwise nobody could say which names it has: the handshake is over, and another one would be another
    connection. For `ssl.SSLContext.sslobject_class`.
    """

    def do_handshake(self) -> None:
        """As the base class."""
        try:
            super().do_handshake()
        except ssl.SSLCertVerificationError as error:
            error.peer_chain = chain_of(self)  # type: ignore[attr-defined]
            raise


def chain_of(ssl_object: ssl.SSLObject) -> tuple[bytes, ...]:
    """The certificates that the other side has shown, DER, its own first; whether they hold is another matter."""
    # the public get_unverified_chain() is of Python 3.13; before, the C object has the same
    certificates: Any = ssl_object._sslobj.get_unverified_chain()  # type: ignore[attr-defined]
    return tuple(ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in certificates or ())


@lru_cache(maxsize=64)
def facts_of(der: bytes) -> CertificateFacts | None:
    """What a certificate says; None where it cannot be parsed. The last ones are remembered."""
    from cryptography import x509

    try:
        certificate = x509.load_der_x509_certificate(der)
        return CertificateFacts(
            subject=_text(certificate.subject),
            issuer=_text(certificate.issuer),
            names=_names(certificate),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
        )
    except Exception:  # its parser has errors of many kinds for what OpenSSL takes; to us all are one fact
        return None


def describe(error: ssl.SSLCertVerificationError) -> str:
    """What is wrong with a refused certificate: what was found and what would be right."""
    chain: tuple[bytes, ...] = getattr(error, "peer_chain", ())
    facts = facts_of(chain[0]) if chain else None
    message = error.verify_message.rstrip(".")
    if facts is None:
        return message
    if error.verify_code in (62, 64):
        return f"{message}; it is for {_shown(facts.names) or facts.subject}"
    if error.verify_code in (9, 10):
        return f"{message}: valid from {_day(facts.not_before)} to {_day(facts.not_after)}; {facts.subject}"
    return f"{message}; {facts.subject}, issued by {facts.issuer}: its CA is not in ca_file or the system's CAs"


def _text(name: Name) -> str:
    return name.rfc4514_string()


def _names(certificate: Certificate) -> tuple[str, ...]:
    from cryptography import x509

    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except Exception:  # an extension twice, a kind of name that the parser does not know: the rest can be said
        return ()
    named = extension.value.get_values_for_type(x509.DNSName)
    return (*named, *map(str, extension.value.get_values_for_type(x509.IPAddress)))


def _shown(names: tuple[str, ...]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _day(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
