"""The web configuration file in the format of Prometheus' exporter-toolkit: TLS, basic auth, headers.

What this server cannot do (HTTP/2, certificates inline, rate limits, client certificates that nobody verifies) is an
error if it would weaken what the user asked for, and ignored (`http2`) where it would not.
Source: exporter-toolkit, docs/web-configuration.md.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import yaml

from mailprobe.errors import ConfigurationError

T = TypeVar("T")

_HASH: Final = re.compile(r"\$2[aby]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}")
_SIZE_LIMIT: Final = 256 * 1024

_VERSIONS: Final = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
_CLIENT_AUTH: Final = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_HEADERS: Final[Mapping[str, tuple[str, ...]]] = {
    "Content-Security-Policy": (),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-Content-Type-Options": ("nosniff",),
    "X-XSS-Protection": (),
    "Strict-Transport-Security": (),
}
_UNSUPPORTED: Final = {
    "cert": "give a file: cert_file",
    "key": "give a file: key_file",
    "client_ca": "give a file: client_ca_file",
    "client_allowed_sans": "not supported here: let a CA of its own sign those clients' certificates",
    "cipher_suites": "not supported here: min_version TLS13 leaves none to choose",
    "curve_preferences": "not supported here",
    "rate_limit": "not supported here",
}
_CIPHERS: Final = "HIGH:!aNULL:!kRSA:!SHA1:!SHA256:!SHA384:!ARIA:!CCM"
"""What Go takes by default for TLS 1.2: forward secrecy and authenticated encryption only."""


@dataclass(frozen=True, slots=True)
class TlsServer:
    """How TLS is served."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = None
    client_auth: ssl.VerifyMode = ssl.CERT_NONE
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3

    @property
    def files(self) -> tuple[Path, ...]:
        """What is read for it."""
        return (self.cert_file, self.key_file, *((self.client_ca_file,) if self.client_ca_file else ()))

    def context(self) -> ssl.SSLContext:
        """A context from the files as they are now. Raises ConfigurationError if they cannot be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = self.minimum
        context.maximum_version = self.maximum
        context.set_ciphers(_CIPHERS)
        try:
            # a password here keeps OpenSSL from asking for one on the terminal
            context.load_cert_chain(self.cert_file, self.key_file, password=lambda: b"")
            if self.client_ca_file:
                context.load_verify_locations(self.client_ca_file)
        except (OSError, ssl.SSLError) as error:
            names = ", ".join(str(name) for name in self.files)
            raise ConfigurationError(f"{names}: not usable for TLS: {error}") from None
        context.verify_mode = self.client_auth
        return context


@dataclass(frozen=True, slots=True)
class WebConfig:
    """What the file says; nothing at all if there is no file."""

    tls: TlsServer | None = None
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)


def read_web_config(path: Path | None) -> WebConfig:
    """The web configuration, checked. Raises ConfigurationError with every problem as `file:line: ...`."""
    if path is None:
        return WebConfig()
    try:
        with path.open("rb") as file:
            octets = file.read(_SIZE_LIMIT + 1)
        if len(octets) > _SIZE_LIMIT:
            raise ConfigurationError(f"{path}: longer than {_SIZE_LIMIT // 1024} KiB")
        node = yaml.compose(octets.decode(), Loader=yaml.SafeLoader)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: not UTF-8") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigurationError(f"{path}:{_line_of(error)}: not YAML") from None
    return _Reader(path).read(node)


def _line_of(error: Exception) -> int:
    mark = getattr(error, "problem_mark", None)
    return mark.line + 1 if mark else 1


class _Reader:
    """Walks the nodes and gathers problems. Values are never repeated in them: some are secrets."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._problems: list[str] = []

    def read(self, node: yaml.Node | None) -> WebConfig:
        sections = self._mapping(node, "", ("tls_server_config", "http_server_config", "basic_auth_users"))
        tls = self._tls(sections["tls_server_config"]) if "tls_server_config" in sections else None
        users = self._users(sections.get("basic_auth_users"))
        headers = self._http(sections.get("http_server_config"))
        if self._problems:
            raise ConfigurationError(*self._problems)
        return WebConfig(tls, users, headers)

    def _problem(self, node: yaml.Node, text: str) -> None:
        self._problems.append(f"{self._path}:{node.start_mark.line + 1}: {text}")

    def _mapping(self, node: yaml.Node | None, where: str, known: tuple[str, ...] | None) -> dict[str, yaml.Node]:
        """The keys of a mapping; empty, with a problem, if it is none. `known` None: any key."""
        if node is None or (isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null")):
            return {}
        if not isinstance(node, yaml.MappingNode):
            self._problem(node, f"{where or 'the file'} must be a mapping")
            return {}
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
            path = f"{where}.{name}" if where else name
            if name in found:
                self._problem(key, f"{path} is there twice")
            elif known is not None and name not in known:
                hint = _UNSUPPORTED.get(name) or f"unknown; known are {', '.join(known)}"
                self._problem(key, f"{path}: {hint}")
            else:
                found[name] = value
        return found

    def _text(self, node: yaml.Node | None, where: str) -> str | None:
        if node is None:
            return None
        if not isinstance(node, yaml.ScalarNode) or node.tag.endswith(":null") or not node.value:
            self._problem(node, f"{where} must be text")
            return None
        return str(node.value)

    def _tls(self, node: yaml.Node) -> TlsServer | None:
        where = "tls_server_config"
        known = (
            "cert_file",
            "key_file",
            "client_ca_file",
            "client_auth_type",
            "min_version",
            "max_version",
            "prefer_server_cipher_suites",
        )
        keys = self._mapping(node, where, known)
        if not keys:
            return None
        cert, key, client_ca = (self._file(keys, where, name) for name in known[:3])
        for name in ("cert_file", "key_file"):
            if name not in keys:
                self._problem(node, f"{where}.{name} is missing")
        client_auth = self._choice(keys, where, "client_auth_type", _CLIENT_AUTH, ssl.CERT_NONE)
        minimum = self._choice(keys, where, "min_version", _VERSIONS, ssl.TLSVersion.TLSv1_2)
        maximum = self._choice(keys, where, "max_version", _VERSIONS, ssl.TLSVersion.TLSv1_3)
        if minimum > maximum:
            self._problem(node, f"{where}: min_version is above max_version")
        if client_ca and client_auth is ssl.CERT_NONE:
            self._problem(node, f"{where}.client_ca_file does nothing without client_auth_type")
        if client_auth is not ssl.CERT_NONE and "client_ca_file" not in keys:
            self._problem(node, f"{where}.client_auth_type needs client_ca_file")
        if cert is None or key is None:
            return None
        return TlsServer(cert, key, client_ca, client_auth, minimum, maximum)

    def _file(self, keys: Mapping[str, yaml.Node], where: str, name: str) -> Path | None:
        text = self._text(keys.get(name), f"{where}.{name}")
        if text is None:
            return None
        path = self._path.parent / text
        if not path.is_file():
            self._problem(keys[name], f"{where}.{name}: no such file: {path}")
        return path

    def _choice(self, keys: Mapping[str, yaml.Node], where: str, name: str, choices: Mapping[str, T], default: T) -> T:
        node = keys.get(name)
        text = self._text(node, f"{where}.{name}")
        if node is None or text is None:
            return default
        if text not in choices:
            self._problem(node, f"{where}.{name} must be one of {', '.join(choices)}")
        return choices.get(text, default)

    def _users(self, node: yaml.Node | None) -> dict[str, str]:
        where = "basic_auth_users"
        users: dict[str, str] = {}
        for name, value in self._mapping(node, where, None).items():
            text = self._text(value, f"{where}.{name}")
            if text is None:
                continue
            if ":" in name:
                self._problem(value, f"{where}: a user's name cannot hold a colon (RFC 7617 2)")
            if not _HASH.fullmatch(text):
                self._problem(value, f"{where}.{name} must be a bcrypt hash, as `htpasswd -nBC 10 NAME` makes it")
            users[name] = text
        return users

    def _http(self, node: yaml.Node | None) -> dict[str, str]:
        where = "http_server_config"
        keys = self._mapping(node, where, ("http2", "headers"))
        headers: dict[str, str] = {}
        for name, value in self._mapping(keys.get("headers"), f"{where}.headers", tuple(_HEADERS)).items():
            text = self._text(value, f"{where}.headers.{name}")
            if text is None:
                continue
            if not text.isprintable():
                self._problem(value, f"{where}.headers.{name} holds control characters")
            if _HEADERS[name] and text not in _HEADERS[name]:
                self._problem(value, f"{where}.headers.{name} must be one of {', '.join(_HEADERS[name])}")
            headers[name] = text
        return headers
