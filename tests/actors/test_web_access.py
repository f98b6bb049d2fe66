"""TLS and basic authentication, by a real client over real connections."""

from __future__ import annotations

import asyncio
import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import bcrypt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from support.loops import both_loops
from test_web_server import Site, serving

from mailprobe.errors import ConfigurationError
from mailprobe.web import access
from mailprobe.web.access import Gate, TooManyLogins

pytestmark = both_loops


def hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


ALICE = hashed("secret")


class Authority:
    """A CA and the certificates that it signs."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(name, self.key, name, authority=True)
        self.file = directory / f"{name}.pem"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, file: str) -> None:
        """Writes `file`.pem and `file`.key."""
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        certificate = self._sign(name, key, str(issuer), authority=False)
        (self.directory / f"{file}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (self.directory / f"{file}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    def _sign(self, name: str, key: ec.EllipticCurvePrivateKey, issuer: str, *, authority: bool) -> x509.Certificate:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(True, False, False, False, False, authority, authority, False, False), critical=True
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(self.key, hashes.SHA256())
        )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    authority = Authority(tmp_path, "test-ca")
    authority.issue("localhost", "server")
    return authority


def write(directory: Path, text: str) -> Path:
    path = directory / "web.yaml"
    path.write_text(text)
    return path


async def status(site: Site, user: str | None = None, password: str = "", path: str = "/-/healthy") -> int:
    headers = {"Authorization": aiohttp.encode_basic_auth(user, password)} if user is not None else {}
    return (await site.get(path, headers=headers))[0]


async def test_basic_auth(tmp_path: Path) -> None:
    file = write(tmp_path, f"basic_auth_users:\n  alice: {ALICE}\n")
    async with serving(web_config_file=file) as site:
        async with site.client.get(site.server.url + "metrics") as response:
            assert response.status == 401
            assert response.headers["WWW-Authenticate"].startswith("Basic ")
            assert "mailprobe_" not in await response.text()
        for path in ("/", "/metrics", "/probe?route=inbound", "/-/healthy", "/-/ready", "/api/v1/routes", "/no-such"):
            assert await status(site, path=path) == 401
        assert await status(site, "alice", "secret") == 200
        assert await status(site, "alice", "secret") == 200
        assert await status(site, "alice", "Secret") == 401
        assert await status(site, "alice", "") == 401
        assert await status(site, "bob", "secret") == 401
        assert await status(site, "alice", "s" * 100) == 401


async def test_users_are_read_again_and_a_broken_file_changes_nothing(tmp_path: Path) -> None:
    file = write(tmp_path, f"basic_auth_users:\n  alice: {ALICE}\n")
    async with serving(web_config_file=file) as site:
        assert await status(site, "alice", "secret") == 200
        file.write_text("basic_auth_users: [broken\n")
        assert await status(site, "alice", "secret") == 200
        assert await status(site) == 401
        file.write_text(f"basic_auth_users:\n  robert: {hashed('other')}\n")
        assert await status(site, "alice", "secret") == 401
        assert await status(site, "robert", "other") == 200


async def test_a_hash_is_computed_once_for_the_same_login(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[str] = []
    original = bcrypt.checkpw
    monkeypatch.setattr(access.bcrypt, "checkpw", lambda *given: computed.append("once") or original(*given))
    gate = Gate()
    header = aiohttp.encode_basic_auth("alice", "secret")
    for _ in range(3):
        assert await gate.admits({"alice": ALICE}, header)
    assert len(computed) == 1
    assert not await gate.admits({"alice": hashed("new")}, header)
    nobody = aiohttp.encode_basic_auth("nobody", "secret")
    assert not await gate.admits({"alice": ALICE}, nobody)
    assert len(computed) == 3


async def test_a_flood_of_logins_is_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    headers = [aiohttp.encode_basic_auth("alice", f"guess-{number}") for number in range(50)]
    answers = await asyncio.gather(
        *(gate.admits({"alice": ALICE}, header) for header in headers), return_exceptions=True
    )
    assert any(isinstance(answer, TooManyLogins) for answer in answers)
    assert not any(answer is True for answer in answers)
    assert await gate.admits({"alice": ALICE}, aiohttp.encode_basic_auth("alice", "secret"))


async def test_a_flood_of_one_peer_makes_nobody_else_wait_or_be_forgotten() -> None:
    gate = Gate()
    users = {"alice": ALICE, "robert": hashed("other")}
    alice, robert = aiohttp.encode_basic_auth("alice", "secret"), aiohttp.encode_basic_auth("robert", "other")
    assert await gate.admits(users, alice, "192.0.2.1")
    for number in range(120):
        guess = aiohttp.encode_basic_auth(f"guess-{number}", "x")
        assert not await gate.admits({"alice": ALICE}, guess, "192.0.2.2")
    guesses = [aiohttp.encode_basic_auth(f"other-{number}", "x") for number in range(100)]
    flood = asyncio.gather(*(gate.admits(users, each, "192.0.2.2") for each in guesses), return_exceptions=True)
    await asyncio.sleep(0)
    with pytest.raises(TooManyLogins):
        await gate.admits(users, aiohttp.encode_basic_auth("one-more", "x"), "192.0.2.2")
    assert await gate.admits(users, alice, "192.0.2.2")
    assert await gate.admits(users, robert, "192.0.2.3")
    await flood


async def test_an_unknown_user_costs_as_much_as_the_dearest(monkeypatch: pytest.MonkeyPatch) -> None:
    costs: list[bytes] = []
    original = bcrypt.checkpw
    monkeypatch.setattr(access.bcrypt, "checkpw", lambda *given: costs.append(given[1][4:6]) or original(*given))
    users = {"alice": ALICE, "robert": bcrypt.hashpw(b"other", bcrypt.gensalt(6)).decode()}
    assert not await Gate().admits(users, aiohttp.encode_basic_auth("nobody", "secret"))
    assert costs == [b"06"]


async def test_headers_of_the_web_configuration_win(tmp_path: Path) -> None:
    file = write(tmp_path, "http_server_config: {headers: {Strict-Transport-Security: max-age=9}}\n")
    async with serving(web_config_file=file) as site, site.client.get(site.server.url) as response:
        assert response.headers["Strict-Transport-Security"] == "max-age=9"
        assert response.headers["X-Content-Type-Options"] == "nosniff"


def client_context(authority: Authority, client: str | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.file))
    if client:
        context.load_cert_chain(authority.directory / f"{client}.pem", authority.directory / f"{client}.key")
    return context


TLS = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"


async def common_name(port: int, context: ssl.SSLContext) -> str:
    """Connects anew and answers whose certificate was shown."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    try:
        subject = dict(pair[0] for pair in writer.get_extra_info("peercert")["subject"])
        return str(subject["commonName"])
    finally:
        writer.close()
        await writer.wait_closed()


def port_of(site: Site) -> int:
    return int(site.server.url.rstrip("/").rpartition(":")[2])


async def test_tls(authority: Authority) -> None:
    file = write(authority.directory, TLS)
    async with serving(web_config_file=file) as site:
        assert site.server.url.startswith("https://127.0.0.1:")
        url = f"https://localhost:{port_of(site)}/-/healthy"
        async with site.client.get(url, ssl=client_context(authority)) as response:
            assert response.status == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await site.client.get(url, ssl=ssl.create_default_context())
        with pytest.raises(aiohttp.ClientError):
            await site.client.get(url.replace("https", "http"))


async def test_a_renewed_certificate_is_shown_at_the_next_handshake(authority: Authority) -> None:
    file = write(authority.directory, TLS)
    async with serving(web_config_file=file) as site:
        context = client_context(authority)
        assert await common_name(port_of(site), context) == "localhost"
        authority.issue("renewed", "server")
        assert await common_name(port_of(site), context) == "renewed"
        (authority.directory / "server.pem").write_text("half a certificate")
        assert await common_name(port_of(site), context) == "renewed"


async def test_tls_versions(authority: Authority) -> None:
    file = write(authority.directory, TLS + "  min_version: TLS13\n")
    async with serving(web_config_file=file) as site:
        context = client_context(authority)
        assert await common_name(port_of(site), context) == "localhost"
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await common_name(port_of(site), context)


async def test_client_certificates(authority: Authority, tmp_path: Path) -> None:
    authority.issue("prometheus", "client")
    os.mkdir(tmp_path / "other")
    stranger = Authority(tmp_path / "other", "other-ca")
    stranger.issue("stranger", "client")
    file = write(
        authority.directory,
        TLS + "  client_ca_file: test-ca.pem\n  client_auth_type: RequireAndVerifyClientCert\n",
    )
    async with serving(web_config_file=file) as site:
        url = f"https://localhost:{port_of(site)}/-/healthy"
        async with site.client.get(url, ssl=client_context(authority, "client")) as response:
            assert response.status == 200
        with pytest.raises(aiohttp.ClientError):
            await site.client.get(url, ssl=client_context(authority))
        strange = client_context(authority)
        strange.load_cert_chain(stranger.directory / "client.pem", stranger.directory / "client.key")
        with pytest.raises(aiohttp.ClientError):
            await site.client.get(url, ssl=strange)


async def test_a_web_configuration_that_is_wrong_is_said_at_the_start(tmp_path: Path) -> None:
    file = write(tmp_path, "tls_server_config: {cert_file: none.pem, key_file: none.key}\n")
    with pytest.raises(ConfigurationError, match="no such file"):
        async with serving(web_config_file=file):
            pass
