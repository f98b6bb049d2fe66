"""Configuration files made for tests and benchmarks."""

from __future__ import annotations

from pathlib import Path


def many_routes(directory: Path, routes: int, *, senders: int = 50, mailboxes: int = 50) -> Path:
    """A file of `routes` routes over some senders and mailboxes, with their secrets; commented as people do it."""
    secret = directory / "password"
    secret.write_text("a password\n")
    lines = ["agent: {name: bench, listen: '127.0.0.1:0'}", "defaults: {interval: 60s, deadline: 5m}", "senders:"]
    for number in range(senders):
        lines += [
            f"  sender-{number}:",
            f"    submission: smtp{number}.example.com:587   # the provider's",
            "    tls: starttls",
            f"    from: canary{number}@example.com",
            f"    auth: {{username: canary{number}@example.com, password_file: {secret.name}}}",
            "    limits: {connections: 4}",
        ]
    lines.append("mailboxes:")
    for number in range(mailboxes):
        lines += [
            f"  mailbox-{number}:",
            f"    address: canary{number}@example.org",
            f"    imap: imap{number}.example.org:993",
            f"    auth: {{username: canary{number}@example.org, password_file: {secret.name}}}",
        ]
    lines.append("routes:")
    for number in range(routes):
        sender, mailbox = number % senders, (number + number // senders) % mailboxes
        lines += [
            f"  route-{number}:",
            f"    from: sender-{sender}",
            f"    to: mailbox-{mailbox}",
            f"    interval: {60 + number % 30}s",
            "    deadline: 5m",
            "    retry: [1m, 2m]",
        ]
    path = directory / "mailprobe.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path
