"""JSON Web Tokens that we sign, to show who we are. Imports cryptography, which takes a while: call it in a thread.

Sources: RFC 7515, RFC 7518 3.3 (RS256) and 3.5 (PS256).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from mailprobe.auth.passwords import Secret
from mailprobe.errors import NoCredential, Reason


def signed_by_certificate(claims: Mapping[str, object], pem: Secret) -> Secret:
    """PS256, the certificate named by its SHA-256, as Microsoft wants it. `pem`: private key and certificate."""
    try:
        certificate = x509.load_pem_x509_certificate(pem.reveal().encode())
    except ValueError:
        raise NoCredential(Reason.AUTH_UNAVAILABLE, "certificate_file has no certificate in PEM form") from None
    thumbprint = _base64url(certificate.fingerprint(hashes.SHA256()))
    header = {"alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint}
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    return _signed(header, claims, _key(pem, "certificate_file"), pss)


def signed_by_key(claims: Mapping[str, object], key: Secret, key_id: str | None) -> Secret:
    """RS256, as Google wants it."""
    header = {"alg": "RS256", "typ": "JWT"} | ({"kid": key_id} if key_id else {})
    return _signed(header, claims, _key(key, "the service account's key file"), padding.PKCS1v15())


def _key(pem: Secret, where: str) -> RSAPrivateKey:
    """The RSA key. What the library says of a wrong one is not repeated."""
    try:
        key = serialization.load_pem_private_key(pem.reveal().encode(), None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise NoCredential(Reason.AUTH_UNAVAILABLE, f"{where} has no RSA private key in PEM form, without a password")
    return key


def _signed(
    header: Mapping[str, str], claims: Mapping[str, object], key: RSAPrivateKey, how: padding.AsymmetricPadding
) -> Secret:
    content = f"{_base64url(json.dumps(header).encode())}.{_base64url(json.dumps(claims).encode())}"
    return Secret(f"{content}.{_base64url(key.sign(content.encode(), how, hashes.SHA256()))}")


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
