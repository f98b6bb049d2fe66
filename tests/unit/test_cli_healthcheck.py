"""`mailprobe healthcheck`: what is asked, and what each answer means."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.servers_certificates import write_certificates

from mailprobe.cli import main
from mailprobe.cli.healthcheck import default_url


@contextmanager
def answering(answer: bytes, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server that says this to one client; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(20)

        def serve() -> None:
            with suppress(OSError):
                connection, _ = listening.accept()
                with context.wrap_socket(connection, server_side=True) if context else connection as wire:
                    wire.recv(4096)
                    wire.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            thread.join()


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 0, "answered 200"),
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", 0, "answered 401"),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", 1, "answered 503"),
        (b"220 mail.example.net ESMTP\r\n", 1, "no answer: not HTTP"),
        (b"", 1, "no answer: "),
    ],
)
def test_answers(answer: bytes, status: int, said: str) -> None:
    with answering(answer) as port:
        result = CliRunner().invoke(main, ["healthcheck", "--url", f"http://127.0.0.1:{port}"])
    assert result.exit_code == status
    assert said in result.output
    assert len(result.output.splitlines()) == 1


def test_a_certificate_for_another_name(tmp_path: Path) -> None:
    write_certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "wrongname.pem", tmp_path / "wrongname.key")
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", context) as port:
        environment = {"MAILPROBE_HEALTHCHECK_URL": f"https://127.0.0.1:{port}/-/healthy"}
        result = CliRunner().invoke(main, ["healthcheck"], env=environment)
    assert (result.exit_code, result.output) == (0, "answered 200\n")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "127.0.0.1:10587", "http://:1", "http://127.0.0.1:x/"])
def test_a_url_that_is_none(url: str) -> None:
    result = CliRunner().invoke(main, ["healthcheck", "--url", url])
    assert result.exit_code == 1
    assert result.output.startswith("no answer: ")


@pytest.mark.parametrize(
    ("listen", "asked"),
    [
        ("", "http://127.0.0.1:10587/-/healthy"),
        ("[::]:10587", "http://127.0.0.1:10587/-/healthy"),
        ("0.0.0.0:80", "http://127.0.0.1:80/-/healthy"),
        (":8080", "http://127.0.0.1:8080/-/healthy"),
        ("[2001:db8::1]:9", "http://[2001:db8::1]:9/-/healthy"),
        ("192.0.2.1:10587", "http://192.0.2.1:10587/-/healthy"),
    ],
)
def test_where_is_asked(listen: str, asked: str) -> None:
    assert default_url({"MAILPROBE_AGENT__LISTEN": listen}) == asked
