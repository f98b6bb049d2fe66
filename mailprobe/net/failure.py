"""The one map from what the operating system, TLS and DNS raise to a `ProbeFailure`.

Decided by type, errno, verify code or OpenSSL's symbolic reason; never by words in a message.
"""

from __future__ import annotations

import errno
import os
import ssl
from typing import Final

from mailprobe.errors import OUR_LIMITS, ProbeFailure, Reason, Stage
from mailprobe.net.certificate import describe

_BY_ERRNO: Final = {
    errno.ECONNREFUSED: Reason.CONNECTION_REFUSED,
    errno.EHOSTUNREACH: Reason.UNREACHABLE,
    errno.ENETUNREACH: Reason.UNREACHABLE,
    errno.EHOSTDOWN: Reason.UNREACHABLE,
    errno.ENETDOWN: Reason.UNREACHABLE,
    errno.EADDRNOTAVAIL: Reason.UNREACHABLE,
    errno.EAFNOSUPPORT: Reason.UNREACHABLE,
    errno.EACCES: Reason.UNREACHABLE,  # a local packet filter that rejects
    errno.EPERM: Reason.UNREACHABLE,
    errno.ETIMEDOUT: Reason.TIMEOUT,
}

_BY_VERIFY_CODE: Final = {
    # OpenSSL x509_vfy.h
    2: Reason.CERTIFICATE_UNTRUSTED,  # unable to get issuer certificate
    9: Reason.CERTIFICATE_EXPIRED,  # not yet valid
    10: Reason.CERTIFICATE_EXPIRED,
    18: Reason.CERTIFICATE_UNTRUSTED,  # self-signed leaf
    19: Reason.CERTIFICATE_UNTRUSTED,  # self-signed in chain
    20: Reason.CERTIFICATE_UNTRUSTED,  # unable to get local issuer certificate
    21: Reason.CERTIFICATE_UNTRUSTED,  # unable to verify the first certificate
    27: Reason.CERTIFICATE_UNTRUSTED,  # not trusted
    62: Reason.CERTIFICATE_NAME,
    64: Reason.CERTIFICATE_NAME,  # IP address mismatch
}
_PLAINTEXT: Final = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST"}
"""What OpenSSL calls an answer that is no TLS record; which one depends on its version and the bytes."""

_DNS: Final = {
    "dns.resolver.NXDOMAIN": Reason.DNS_NXDOMAIN,
    "dns.resolver.NoAnswer": Reason.DNS_NO_ADDRESS,
    "dns.resolver.LifetimeTimeout": Reason.DNS_TIMEOUT,
    "dns.exception.Timeout": Reason.DNS_TIMEOUT,
    "dns.resolver.NoNameservers": Reason.DNS_SERVFAIL,
    "dns.exception.DNSException": Reason.DNS_SERVFAIL,
}
"""By name, so that dnspython (0.05 s) is imported only where a name is looked up."""


def failure_of(error: BaseException, stage: Stage) -> ProbeFailure | None:
    """The fact that an exception of the network is; None if it is none, but a bug or a limit of ours."""
    if isinstance(error, ProbeFailure):
        return error
    if reason := _dns_reason(error):
        return ProbeFailure(stage, reason, str(error))
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = _BY_VERIFY_CODE.get(error.verify_code, Reason.CERTIFICATE_INVALID)
        return ProbeFailure(stage, reason, describe(error))
    if isinstance(error, ssl.SSLError):
        return _tls_failure(error, stage)
    if isinstance(error, UnicodeError) and stage is Stage.TLS:
        # a host name of the DNS that TLS has no way to say, so that no certificate can be for it
        return ProbeFailure(stage, Reason.CERTIFICATE_NAME, "the server's name is no host name")
    if isinstance(error, TimeoutError) and error.errno is None:
        return ProbeFailure(stage, Reason.DNS_TIMEOUT if stage is Stage.RESOLVE else Reason.TIMEOUT)
    if isinstance(error, OSError) and error.errno not in OUR_LIMITS:
        reason = _BY_ERRNO.get(error.errno or 0, Reason.CONNECTION_LOST)
        return ProbeFailure(stage, reason, os.strerror(error.errno) if error.errno else str(error))
    return ProbeFailure(stage, Reason.CONNECTION_LOST, str(error)) if isinstance(error, EOFError) else None


def _dns_reason(error: BaseException) -> Reason | None:
    for class_ in type(error).__mro__:
        if reason := _DNS.get(f"{class_.__module__}.{class_.__qualname__}"):
            return reason
    return None


def _tls_failure(error: ssl.SSLError, stage: Stage) -> ProbeFailure:
    if error.reason in _PLAINTEXT:
        detail = "the server answered in plain text: it wants starttls or plaintext, not implicit TLS"
        return ProbeFailure(stage, Reason.WRONG_TLS_MODE, detail)
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return ProbeFailure(stage, Reason.CONNECTION_LOST, "the server closed the connection within TLS")
    return ProbeFailure(stage, Reason.TLS_HANDSHAKE, error.reason or error.strerror or str(error))
