"""exporter-toolkit's web configuration: what is taken, and every mistake with its line."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from mailprobe.errors import ConfigurationError
from mailprobe.web.web_config import WebConfig, read_web_config

HASH = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in ("cert.pem", "key.pem", "ca.pem"):
        (tmp_path / name).write_text("")
    return tmp_path


def read(directory: Path, text: str) -> WebConfig:
    path = directory / "web.yaml"
    path.write_text(text)
    return read_web_config(path)


def test_no_file_is_no_restriction() -> None:
    assert read_web_config(None) == WebConfig()


@pytest.mark.parametrize("text", ["", "# nothing\n", "basic_auth_users:\n", "tls_server_config: {}\n"])
def test_empty_sections_are_nothing(directory: Path, text: str) -> None:
    assert read(directory, text) == WebConfig()


def test_everything(directory: Path) -> None:
    config = read(
        directory,
        f"""
tls_server_config:
  cert_file: cert.pem
  key_file: {directory}/key.pem
  client_ca_file: ca.pem
  client_auth_type: RequireAndVerifyClientCert
  min_version: TLS13
  prefer_server_cipher_suites: true
http_server_config:
  http2: true
  headers:
    Strict-Transport-Security: max-age=600
    X-Frame-Options: deny
basic_auth_users:
  prometheus: {HASH}
""",
    )
    assert config.tls is not None
    assert config.tls.files == (directory / "cert.pem", directory / "key.pem", directory / "ca.pem")
    assert config.tls.client_auth is ssl.CERT_REQUIRED
    assert (config.tls.minimum, config.tls.maximum) == (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3)
    assert config.users == {"prometheus": HASH}
    assert config.headers == {"Strict-Transport-Security": "max-age=600", "X-Frame-Options": "deny"}
    assert HASH not in repr(config)


TLS = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n"


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("- a\n", ["1: the file must be a mapping"]),
        (
            "basic_auth_user: {}\n",
            ["1: basic_auth_user: unknown; known are tls_server_config, http_server_config, basic_auth_users"],
        ),
        ("rate_limit: {burst: 1}\n", ["1: rate_limit: not supported here"]),
        ("basic_auth_users: {}\nbasic_auth_users: {}\n", ["2: basic_auth_users is there twice"]),
        ("tls_server_config:\n  cert_file: cert.pem\n", ["2: tls_server_config.key_file is missing"]),
        (
            "tls_server_config: {cert: x, key_file: no.pem, cert_file: [a]}\n",
            [
                "1: tls_server_config.cert: give a file: cert_file",
                "1: tls_server_config.cert_file must be text",
                "1: tls_server_config.key_file: no such file: {directory}/no.pem",
            ],
        ),
        (
            TLS + "  client_auth_type: RequireAnyClientCert\n",
            [
                "4: tls_server_config.client_auth_type must be one of NoClientCert, VerifyClientCertIfGiven, "
                "RequireAndVerifyClientCert"
            ],
        ),
        (
            TLS + "  client_ca_file: ca.pem\n",
            ["2: tls_server_config.client_ca_file does nothing without client_auth_type"],
        ),
        (
            TLS + "  client_auth_type: RequireAndVerifyClientCert\n",
            ["2: tls_server_config.client_auth_type needs client_ca_file"],
        ),
        (
            TLS + "  min_version: TLS14\n",
            ["4: tls_server_config.min_version must be one of TLS10, TLS11, TLS12, TLS13"],
        ),
        (
            TLS + "  min_version: TLS13\n  max_version: TLS12\n",
            ["2: tls_server_config: min_version is above max_version"],
        ),
        (
            "basic_auth_users:\n  ok: " + HASH + "\n  alice: secret\n",
            ["3: basic_auth_users.alice must be a bcrypt hash, as `htpasswd -nBC 10 NAME` makes it"],
        ),
        (
            f'basic_auth_users:\n  "a:b": {HASH}\n',
            ["2: basic_auth_users: a user's name cannot hold a colon (RFC 7617 2)"],
        ),
        (
            "http_server_config:\n  headers:\n    Server: x\n    X-Frame-Options: maybe\n",
            [
                "3: http_server_config.headers.Server: unknown; known are Content-Security-Policy, X-Frame-Options, "
                "X-Content-Type-Options, X-XSS-Protection, Strict-Transport-Security",
                "4: http_server_config.headers.X-Frame-Options must be one of deny, sameorigin",
            ],
        ),
        (
            'http_server_config:\n  headers:\n    X-XSS-Protection: "a\\r\\nSet-Cookie: b"\n',
            ["3: http_server_config.headers.X-XSS-Protection holds control characters"],
        ),
        ("a: [\n", ["2: not YAML"]),
    ],
)
def test_mistakes_are_all_said_with_their_lines(directory: Path, text: str, problems: list[str]) -> None:
    with pytest.raises(ConfigurationError) as error:
        read(directory, text)
    expected = {f"{directory}/web.yaml:{problem}".replace("{directory}", str(directory)) for problem in problems}
    assert set(error.value.problems) == expected


def test_a_secret_is_never_repeated(directory: Path) -> None:
    with pytest.raises(ConfigurationError) as error:
        read(directory, "basic_auth_users: {alice: hunter2}\n")
    assert "hunter2" not in str(error.value)


def test_files_that_cannot_be_read(directory: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        read_web_config(directory / "none.yaml")
    with pytest.raises(ConfigurationError, match="Is a directory"):
        read_web_config(directory)
    (directory / "web.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        read_web_config(directory / "web.yaml")


def test_certificates_that_are_none(directory: Path) -> None:
    config = read(directory, TLS)
    assert config.tls
    with pytest.raises(ConfigurationError, match="not usable for TLS"):
        config.tls.context()


def test_a_file_that_is_too_long_is_refused_and_not_cut(directory: Path) -> None:
    with pytest.raises(ConfigurationError, match="longer than 256 KiB"):
        read(directory, "#" * 256 * 1024 + "\nbasic_auth_users: {}\n")
