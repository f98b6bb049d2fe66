"""The kinds of value a setting may have: parsed once, refused with what would be right, shown in the JSON Schema."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from mailprobe.config import durations
from mailprobe.config.host import pod_ordinal
from mailprobe.plan import Family, is_loopback

NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9-]{0,62}$"
"""Names of agents, senders, mailboxes, routes: safe as a label, a file name, part of a token."""

DNS_PORT: Final = 53

_HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_LOCAL_PART: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}")
_ADDRESS_LIMIT: Final = 254
"""Octets of the longest address that fits into an SMTP path. Source: RFC 5321 4.5.3.1.3."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class HostPort(NamedTuple):
    """A server and its port, `mail.example.com:587` or `[2001:db8::1]:587`."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def refuse(text: str) -> PydanticCustomError:
    """What a validator raises; `text` says what is wrong and what would be right, and never holds the value."""
    return PydanticCustomError("mailprobe", "{text}", {"text": text})


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise refuse("must be text; put it in quotes if it is a number")
    if not value.strip():
        raise refuse("is empty")
    if _CONTROL.search(value):
        raise refuse("has a control character or a line break in it; remove it")
    if len(value) > 1000:
        raise refuse("is longer than 1000 characters")
    return value


def is_host(text: str) -> bool:
    """Whether it has the form of a host name or an IP address."""
    return is_address(text) or (len(text) <= 253 and all(_HOST.fullmatch(label) for label in text.split(".")))


def is_address(text: str) -> bool:
    """Whether it is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _duration(value: Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise refuse("has no unit; write a whole number and a unit, such as 250ms, 90s, 5m, 24h or 7d")
    if not isinstance(value, str):
        raise refuse("must be a duration, such as 250ms, 90s, 5m, 24h or 7d")
    try:
        seconds = durations.seconds_of(value)
    except ValueError as error:
        raise refuse(str(error)) from None
    if not seconds:
        raise refuse("must be longer than 0s")
    return seconds


def _host_port(example: str, lowest: int = 1) -> Callable[[Any], HostPort]:
    def parse(value: Any) -> HostPort:
        text = _text(value)
        host, colon, port = text.rpartition(":")
        if not colon or not port.isascii() or not port.isdigit():
            raise refuse(f"must be a server and a port, such as {example}")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host and is_address(host):
            raise refuse("must have its IPv6 address in brackets, such as [2001:db8::1]:587")
        if not host.isascii():
            raise refuse("must have its host name in ASCII; write an international name in its xn-- form")
        if not is_host(host):
            raise refuse(f"must be a host name or address and a port, such as {example}")
        if len(port) > 5 or not lowest <= int(port) <= 65535:
            raise refuse(f"must have a port from {lowest} to 65535, such as {example}")
        return HostPort(host, int(port))

    return parse


def _nameserver(value: Any) -> HostPort:
    text = _text(value)
    if is_address(text):
        return HostPort(text, DNS_PORT)
    try:
        server = _host_port("")(text)
    except PydanticCustomError:
        server = HostPort("", DNS_PORT)
    if not is_address(server.host):
        raise refuse("must be the IP address of a DNS server, with or without a port, such as 127.0.0.1:5353")
    return server


def _host_name(value: Any) -> str:
    text = _text(value)
    if not is_host(text):
        raise refuse("must be a host name, such as probe.example.net")
    return text


def _greeting_name(value: Any) -> str:
    text = _text(value)
    literal = text[1:-1].removeprefix("IPv6:") if text.startswith("[") and text.endswith("]") else None
    if not (is_address(literal) if literal is not None else is_host(text)):
        raise refuse("must be a host name or an address in brackets, such as probe.example.net or [192.0.2.1]")
    return text


def _ip_address(value: Any) -> str:
    text = _text(value)
    if not is_address(text):
        raise refuse("must be an IP address of this machine, such as 192.0.2.1")
    return text


def _token_url(value: Any) -> str:
    text = _text(value)
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise refuse("is not a URL; write https://idp.example.com/token") from None
    if parts.username is not None or parts.query or parts.fragment:
        raise refuse("must have no user, question mark or # in it; secrets are given by client_secret_file")
    secure = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
    if not secure or not parts.hostname or not text.isascii() or " " in text:
        raise refuse("must be a URL that begins with https:// (http:// only on this machine)")
    return text


def _tenant(value: Any) -> str:
    text = _text(value)
    if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,250}[A-Za-z0-9])?", text):
        raise refuse("must be the directory's id, or a domain of it, such as contoso.onmicrosoft.com")
    return text


def _mail_address(value: Any) -> str:
    text = _text(value)
    local_part, at, domain = text.rpartition("@")
    if not at:
        raise refuse("must be a mail address, such as canary@example.net")
    if not text.isascii():
        raise refuse("must be in ASCII; write an international domain in its xn-- form")
    if not _LOCAL_PART.fullmatch(local_part) or not is_host(domain) or is_address(domain):
        raise refuse("must be one bare mail address, such as canary@example.net, without a name or <>")
    if len(text) > _ADDRESS_LIMIT or "" in local_part.split("."):
        raise refuse(
            f"must have at most {_ADDRESS_LIMIT} characters, and before the @ no dot at an end or two in a row"
        )
    return text


def _web_address(value: Any) -> str:
    """The address is not repeated where it is wrong: it may hold a password."""
    text = _text(value)
    wrong = refuse("must be a web address, such as https://status.example.com")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("https", "http") or not host or not is_host(host) or port == 0 or " " in text:
        raise wrong
    if "@" in parts.netloc:
        raise refuse("must be without user name and password")
    if not text.isascii() or parts.fragment:
        raise refuse("must be in ASCII and without #")
    return text


def _shard(value: Any) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,4}|ordinal)/([0-9]{1,4})", _text(value))
    if match and match[1] == "ordinal":
        return _shard_of_this_pod(int(match[2]))
    if not match or not int(match[2]) or int(match[1]) > int(match[2]):
        raise refuse('must be a part and the number of parts, such as "2/5" or "ordinal/5"')
    return int(match[1]), int(match[2])


def _shard_of_this_pod(parts: int) -> tuple[int, int]:
    """Ordinals count from 0; a pod more than there are parts would probe the routes of another one a second time."""
    ordinal = pod_ordinal()
    if ordinal is None:
        raise refuse("ordinal is the number at the end of the host name, as in mailprobe-3, and this host has none")
    if ordinal >= parts:
        raise refuse("the ordinal of this host is not below the number of parts; there are more pods than parts")
    return ordinal, parts


def _word(value: Any) -> Any:
    """A number where a word is expected, as in `ip_family: 4`."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _schema(description: str = "", **more: object) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", **({"description": description} if description else {}), **more})


_DURATION_SCHEMA: Final = _schema("a whole number and a unit: ms, s, m, h, d", pattern=durations.PATTERN)
_HOST_PORT_SCHEMA: Final = _schema(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+):[0-9]{1,5}$")

Duration = Annotated[
    float, BeforeValidator(_duration), PlainSerializer(durations.duration_text, return_type=str), _DURATION_SCHEMA
]
Text = Annotated[str, BeforeValidator(_text)]
FilePath = Annotated[Path, BeforeValidator(_text), _schema()]
Server = Annotated[HostPort, PlainValidator(_host_port("smtp.example.com:587")), _HOST_PORT_SCHEMA]
ImapServer = Annotated[HostPort, PlainValidator(_host_port("imap.example.com:993")), _HOST_PORT_SCHEMA]
Listen = Annotated[
    HostPort,
    PlainValidator(_host_port("127.0.0.1:10587 or [::]:10587", lowest=0)),
    PlainSerializer(str),
    _HOST_PORT_SCHEMA,
]
Nameserver = Annotated[HostPort, PlainValidator(_nameserver), _schema()]
WebAddress = Annotated[str, BeforeValidator(_web_address), _schema(pattern=r"^https?://[^\s@#]+$")]
HostName = Annotated[str, BeforeValidator(_host_name)]
GreetingName = Annotated[str, BeforeValidator(_greeting_name)]
IpAddress = Annotated[str, BeforeValidator(_ip_address)]
MailAddress = Annotated[str, BeforeValidator(_mail_address), _schema(pattern=r"^[^\s<>@]+@[^\s<>@]+$")]
TokenUrl = Annotated[str, BeforeValidator(_token_url), _schema(pattern=r"^https?://[^\s?#@]+$")]
Tenant = Annotated[str, BeforeValidator(_tenant)]
Shard = Annotated[tuple[int, int], PlainValidator(_shard), _schema(pattern=r"^([0-9]{1,4}|ordinal)/[0-9]{1,4}$")]
Port = Annotated[int, Field(ge=1, le=65535)]
IpFamily = Annotated[Family, BeforeValidator(_word), WithJsonSchema({"enum": ["any", "4", "6", 4, 6]})]
Reference = Annotated[str, BeforeValidator(_word), AfterValidator(_text)]
