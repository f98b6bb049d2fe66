"""Contexts are shared and follow the file of CAs; exceptions of TLS become facts by their codes."""

from __future__ import annotations

import asyncio
import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID, ObjectIdentifier

from mailprobe.errors import ProbeFailure, Reason, Stage
from mailprobe.lab.certificates import Authority
from mailprobe.model import TlsMode
from mailprobe.net import tls
from mailprobe.net.certificate import RecordingSSLObject, facts_of
from mailprobe.net.chain import refusal, refusal_by_authorities
from mailprobe.net.dane import Tlsa, judged
from mailprobe.net.failure import failure_of
from mailprobe.net.tls import context_for, shared_context
from mailprobe.plan import Endpoint


def endpoint(ca_file: Path | None = None, verify: bool = True, mode: TlsMode = TlsMode.STARTTLS) -> Endpoint:
    return Endpoint("mail.test", 587, mode, verify=verify, ca_file=ca_file)


def test_one_context_for_all_that_trust_the_same(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    ca, other_ca = Authority(one).ca_file, Authority(other).ca_file
    assert context_for(endpoint(ca)) is context_for(endpoint(ca, mode=TlsMode.IMPLICIT))
    assert context_for(endpoint(ca)) is not context_for(endpoint(other_ca))
    assert context_for(endpoint()) is context_for(endpoint())
    unchecked = context_for(endpoint(ca, verify=False))
    assert unchecked is context_for(endpoint(other_ca, verify=False))
    assert unchecked is context_for(endpoint(mode=TlsMode.OPPORTUNISTIC))


def test_what_a_context_insists_on(tmp_path: Path) -> None:
    checked = context_for(endpoint(Authority(tmp_path).ca_file))
    assert (checked.verify_mode, checked.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert checked.minimum_version >= ssl.TLSVersion.TLSv1_2
    unchecked = context_for(endpoint(verify=False))
    assert (unchecked.verify_mode, unchecked.check_hostname) == (ssl.CERT_NONE, False)
    assert unchecked.minimum_version >= ssl.TLSVersion.TLSv1_2


async def test_a_changed_file_of_cas_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ca_file = Authority(tmp_path).ca_file
    before = await shared_context(endpoint(ca_file))
    assert await shared_context(endpoint(ca_file)) is before
    Authority(tmp_path, "its successor")
    os.utime(ca_file, ns=(1, 1))
    assert await shared_context(endpoint(ca_file)) is before, "not looked at again so soon"
    monkeypatch.setattr(tls, "_FRESH_SECONDS", -1.0)
    after = await shared_context(endpoint(ca_file))
    assert after is not before
    names = [dict(part[0] for part in ca["subject"])["commonName"] for ca in after.get_ca_certs()]
    assert names == ["its successor"]


@pytest.mark.usefixtures("nothing_blocks")
async def test_nothing_blocks_the_loop() -> None:
    await asyncio.gather(*(shared_context(endpoint()) for _ in range(3)))


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nxx\n"])
def test_a_file_of_cas_that_cannot_be_used(content: bytes | None, tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    if content is not None:
        ca_file.write_bytes(content)
    with pytest.raises(ProbeFailure) as raised:
        context_for(endpoint(ca_file))
    assert (raised.value.stage, raised.value.reason) == (Stage.TLS, Reason.CERTIFICATE_UNTRUSTED)
    assert str(ca_file) in raised.value.detail


def test_facts_of_what_is_no_certificate() -> None:
    assert facts_of(b"") is None
    assert facts_of(b"\x30\x03\x02\x01\x01") is None


def odd_certificate(kind: str) -> bytes:
    """A certificate (DER) that OpenSSL takes and `cryptography` does not, or not all of it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.test")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 5, now, now + timedelta(days=9))
    oids = [ObjectIdentifier("1.2.3.4.6"), ObjectIdentifier("1.2.3.4.7")]
    for oid in oids:
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, b"\x05\x00"), False)
    other = x509.SubjectAlternativeName([x509.OtherName(oids[0], b"\x05\x00")])
    der = builder.add_extension(other, False).sign(key, SHA256()).public_bytes(Encoding.DER)
    match kind:
        case "an extension twice":
            return der.replace(b"\x06\x04\x2a\x03\x04\x07", b"\x06\x04\x2a\x03\x04\x06")
        case "a name of X.400":
            at = der.index(b"\xa0", der.index(b"\x06\x03\x55\x1d\x11"))
            return der[:at] + b"\xa3" + der[at + 1 :]
        case _:
            return der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05", 1)


@pytest.mark.parametrize(
    ("kind", "subject"),
    [("an extension twice", "CN=mail.test"), ("a name of X.400", "CN=mail.test"), ("version 6", None)],
)
def test_a_certificate_that_is_one_to_openssl_alone(kind: str, subject: str | None, tmp_path: Path) -> None:
    der = odd_certificate(kind)
    facts = facts_of(der)
    assert (facts and facts.subject, facts.names if facts else ()) == (subject, ())
    error = verification_error(20)
    error.peer_chain = (der,)  # type: ignore[attr-defined]
    failure = failure_of(error, Stage.TLS)
    assert failure
    assert failure.reason is Reason.CERTIFICATE_UNTRUSTED
    authority = ssl.PEM_cert_to_DER_cert(Authority(tmp_path).ca_file.read_text())
    odd = tmp_path / "odd.pem"
    odd.write_text(ssl.DER_cert_to_PEM_cert(der))
    for why in (
        refusal((der,), (authority,), "mail.test"),
        refusal((authority,), (der,), "mail.test"),
        refusal_by_authorities((authority,), odd, "mail.test"),
        judged([Tlsa(3, 1, 1, b"x")], (der,), ("mail.test",), encrypted=True)[1],
    ):
        assert why


def test_facts_of_a_certificate(tmp_path: Path) -> None:
    files = Authority(tmp_path).issue("x", ("mail.test", "192.0.2.1"))
    facts = facts_of(ssl.PEM_cert_to_DER_cert(files.certificate.read_text()))
    assert facts
    assert facts.names == ("mail.test", "192.0.2.1")
    assert facts.not_before < facts.not_after


def test_the_refused_certificate_is_kept_with_the_error(tmp_path: Path) -> None:
    """On the C object's own method before Python 3.13; a test because it is private."""
    files = Authority(tmp_path).issue("x", ("mail.test",))
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(files.certificate, files.key)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context_for(endpoint()).wrap_bio(to_client, to_server, server_hostname="mail.test")
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    assert isinstance(client, RecordingSSLObject)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    with pytest.raises(ssl.SSLWantReadError):
        server.do_handshake()
    with pytest.raises(ssl.SSLCertVerificationError) as raised:
        client.do_handshake()
    assert raised.value.peer_chain[0] == ssl.PEM_cert_to_DER_cert(files.certificate.read_text())


def verification_error(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "what OpenSSL says"
    return error


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (9, Reason.CERTIFICATE_EXPIRED),
        (10, Reason.CERTIFICATE_EXPIRED),
        (18, Reason.CERTIFICATE_UNTRUSTED),
        (19, Reason.CERTIFICATE_UNTRUSTED),
        (20, Reason.CERTIFICATE_UNTRUSTED),
        (21, Reason.CERTIFICATE_UNTRUSTED),
        (62, Reason.CERTIFICATE_NAME),
        (64, Reason.CERTIFICATE_NAME),
        (23, Reason.CERTIFICATE_INVALID),
        (66, Reason.CERTIFICATE_INVALID),
    ],
)
def test_verify_codes(code: int, reason: Reason) -> None:
    failure = failure_of(verification_error(code), Stage.TLS)
    assert failure
    assert (failure.stage, failure.reason, failure.detail) == (Stage.TLS, reason, "what OpenSSL says")


def test_what_is_no_fact_about_the_world() -> None:
    for bug in (ValueError("x"), KeyError("x"), AssertionError(), asyncio.CancelledError()):
        assert failure_of(bug, Stage.TLS) is None


def test_time_outs() -> None:
    for stage, reason in ((Stage.MAIL, Reason.TIMEOUT), (Stage.RESOLVE, Reason.DNS_TIMEOUT)):
        failure = failure_of(TimeoutError(), stage)
        assert failure
        assert (failure.stage, failure.reason) == (stage, reason)
