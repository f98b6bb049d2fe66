"""What is sent to a token endpoint for each grant. Reads files: from an event loop, call it in a thread.

Secrets are read anew for each request, so that they can be changed without a restart.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mailprobe.auth.passwords import Secret, read_secret
from mailprobe.errors import NoCredential, Reason
from mailprobe.plan import Grant, OAuth2

LOG: Final = logging.getLogger(__name__)
JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_CLIENT_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTION_LIFE: Final = 600
"""Seconds. Source: Microsoft's advice, 5 to 10 minutes; Google takes an hour at most."""
_BEFORE: Final = 30
"""Seconds before now from which on an assertion is good: two clocks are never the same."""


@dataclass(frozen=True, slots=True, repr=False)
class Asked:
    """A form as it is sent, and which of its values nobody may see."""

    form: Mapping[str, str]
    secrets: tuple[Secret, ...]


class Grants:
    """Makes the requests of one source; remembers a refresh token that came in place of the configured one."""

    def __init__(self, oauth2: OAuth2) -> None:
        self._oauth2 = oauth2
        self._configured: Secret | None = None
        self._renewed: Secret | None = None

    def ask(self, now: float) -> Asked:
        """The request as of now, in Unix seconds by the endpoint's clock. Raises NoCredential, OSError."""
        match self._oauth2.grant:
            case Grant.CLIENT_CREDENTIALS:
                return self._asked({"grant_type": "client_credentials"}, now)
            case Grant.REFRESH_TOKEN:
                token = self._refresh_token()
                return self._asked({"grant_type": "refresh_token", "refresh_token": token.reveal()}, now, token)
            case Grant.JWT_BEARER:
                return self._service_account(now)

    def keep(self, renewed: Secret) -> None:
        """A new refresh token, in force from now on: until the process ends or the file of the old one changes.

        With `save_refresh_token` it is written into that file; where that cannot be, the log says so.
        """
        self._renewed = renewed
        reference = self._oauth2.refresh_token
        if not self._oauth2.save_refresh_token or reference is None or reference.file is None:
            return
        try:
            _replace(reference.file, renewed.reveal() + "\n")
        except (OSError, ValueError) as error:  # the text of the latter could quote it
            why = error.strerror if isinstance(error, OSError) else type(error).__name__
            LOG.error("the new refresh token cannot be saved: %s: %s", reference.file, why)
            return
        self._configured = renewed

    def _refresh_token(self) -> Secret:
        reference = self._oauth2.refresh_token
        configured = read_secret(reference, "refresh token")
        if self._oauth2.save_refresh_token and reference and reference.file:
            _check_owner(reference.file)  # while the one that we have is still good
        if configured != self._configured:  # somebody gave us another one
            self._configured, self._renewed = configured, None
        return self._renewed or configured

    def _asked(self, form: dict[str, str], now: float, *hidden: Secret) -> Asked:
        own = self._oauth2
        form |= {"client_id": own.client_id} if own.client_id else {}
        form |= {"scope": own.scope} if own.scope else {}
        if own.certificate:
            assertion = self._client_assertion(now)
            form |= {"client_assertion_type": _CLIENT_ASSERTION, "client_assertion": assertion.reveal()}
            return Asked(form, (*hidden, assertion))
        if own.client_secret:
            secret = read_secret(own.client_secret, "client secret")
            return Asked(form | {"client_secret": secret.reveal()}, (*hidden, secret))
        return Asked(form, hidden)

    def _client_assertion(self, now: float) -> Secret:
        """Source: RFC 7523 2.2, and Microsoft's "certificate credentials"."""
        from mailprobe.auth.assertion import signed_by_certificate

        own = self._oauth2
        pem = read_secret(own.certificate, "certificate")
        claims = {"iss": own.client_id, "sub": own.client_id, "aud": own.token_url, "jti": secrets.token_hex(16)}
        return signed_by_certificate(_timed(claims, now) | {"nbf": int(now) - _BEFORE}, pem)

    def _service_account(self, now: float) -> Asked:
        """Source: RFC 7523 2.1, and Google's "OAuth 2.0 for server to server applications"."""
        from mailprobe.auth.assertion import signed_by_key

        own = self._oauth2
        account = _account(read_secret(own.service_account, "service account's key"))
        claims = {"iss": account["client_email"], "scope": own.scope, "aud": own.token_url}
        claims |= {"sub": own.subject} if own.subject else {}
        key, key_id = Secret(account["private_key"]), account.get("private_key_id")
        assertion = signed_by_key(_timed(claims, now), key, key_id if isinstance(key_id, str) else None)
        return Asked({"grant_type": JWT_BEARER, "assertion": assertion.reveal()}, (assertion, key))


def _timed(claims: Mapping[str, object], now: float) -> dict[str, object]:
    begins = int(now) - _BEFORE
    return {**claims, "iat": begins, "exp": begins + _ASSERTION_LIFE}


def _account(key_file: Secret) -> dict[str, Any]:
    account: Any = None
    with suppress(ValueError, RecursionError):
        account = json.loads(key_file.reveal())
    if not isinstance(account, dict) or not all(
        isinstance(account.get(k), str) for k in ("client_email", "private_key")
    ):
        raise NoCredential(
            Reason.AUTH_UNAVAILABLE, "the service account's key file is no JSON with client_email and private_key"
        )
    return account


def _check_owner(path: Path) -> None:
    """A file that is replaced stays its owner's, which only root can see to for somebody else."""
    if os.geteuid() not in (0, path.stat().st_uid):
        raise NoCredential(
            Reason.AUTH_UNAVAILABLE, f"a new refresh token cannot be saved, another user owns the file: {path}"
        )


def _replace(path: Path, text: str) -> None:
    """The whole file or nothing of it, readable by nobody but the owner of the one before."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            _give(file.fileno(), path.stat())
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _give(descriptor: int, like: os.stat_result) -> None:
    """Gives a file to the owner of another: root may try a login, and the agent be somebody else."""
    if os.fstat(descriptor).st_uid != like.st_uid:
        os.fchown(descriptor, like.st_uid, like.st_gid)


def _sync(directory: Path) -> None:
    """What was renamed there is still so after a power failure."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
