"""Whether a chain of certificates that was shown leads to an authority, judged when the connection is long over.

An attempt with opportunistic TLS takes any certificate; what a stricter sender would have said of it is found here.
`cryptography` is imported when it is first needed.
"""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cryptography.x509.verification import Store

_LONGEST: Final = 10
"""Certificates of a chain that are looked at."""


def refusal(chain: Sequence[bytes], anchors: Sequence[bytes], name: str) -> str | None:
    """Why a chain (DER, the server's first) does not prove `name` to who trusts only these; None if it does."""
    from cryptography.x509 import load_der_x509_certificate
    from cryptography.x509.verification import Store

    try:
        return _refusal(chain, Store([load_der_x509_certificate(one) for one in anchors]), name)
    except Exception as error:  # as in `_refusal`
        return f"a certificate cannot be read: {error}"


def refusal_by_authorities(chain: Sequence[bytes], ca_file: Path | None, name: str) -> str | None:
    """As `refusal`, for who trusts the CAs of a file, or the system's. Reads the file: not for an event loop."""
    try:
        store = _authorities(ca_file, _version(ca_file))
    except (OSError, ValueError) as error:
        return f"the certificate authorities cannot be read: {error}"
    return _refusal(chain, store, name)


def _refusal(chain: Sequence[bytes], store: Store, name: str) -> str | None:
    from cryptography.x509 import DNSName, load_der_x509_certificate
    from cryptography.x509.verification import PolicyBuilder

    try:
        leaf, *others = [load_der_x509_certificate(one) for one in chain[:_LONGEST]]
        PolicyBuilder().store(store).build_server_verifier(DNSName(name)).verify(leaf, others)
    except Exception as error:  # the parser's, of many kinds: a certificate that OpenSSL takes may be none to it
        return f"the certificate does not prove {name}: {error}"
    return None


@lru_cache(maxsize=8)
def _authorities(ca_file: Path | None, version: object) -> Store:
    from cryptography.x509 import Certificate, load_der_x509_certificate
    from cryptography.x509.verification import Store

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for file in _files(ca_file):
        with suppress(ssl.SSLError):  # a file without any certificate
            context.load_verify_locations(cafile=file)
    certificates: list[Certificate] = []
    with warnings.catch_warnings():
        # of some old authority's serial number: nobody who reads it here could change it
        warnings.simplefilter("ignore")
        for authority in context.get_ca_certs(binary_form=True):
            with suppress(Exception):  # OpenSSL takes what this reader does not
                certificates.append(load_der_x509_certificate(authority))
    return Store(certificates)


def _files(ca_file: Path | None) -> list[Path]:
    if ca_file:
        return [ca_file]
    places = ssl.get_default_verify_paths()
    if places.cafile:
        return [Path(places.cafile)]
    # what OpenSSL looks up by the hash of a name when it needs it
    return sorted(Path(places.capath).glob("*.[0-9]")) if places.capath else []


def _version(ca_file: Path | None) -> tuple[int, int] | None:
    places = ssl.get_default_verify_paths()
    path: Path | str | None = ca_file or places.cafile or places.capath
    if path is None:
        return None
    status = Path(path).stat()
    return status.st_mtime_ns, status.st_size
