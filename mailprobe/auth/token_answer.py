"""What a token endpoint's answer means. Pure; everything in it is hostile. Source: RFC 6749 5."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from mailprobe.auth.bearer import checked_token, seconds_of
from mailprobe.auth.giveaways import Scrubber, token_giveaways
from mailprobe.auth.grants import Asked
from mailprobe.auth.mistakes import of_token_refusal
from mailprobe.errors import NoCredential, Reason, plain_text
from mailprobe.net.http_times import retry_after
from mailprobe.plan import Grant

LARGEST: Final = 65536
"""Octets of an answer that are read."""
_REFRESH_TOKEN: Final = re.compile(r"[\x20-\x7e]{1,8192}")
"""Source: RFC 6749 A.17."""
_TRY_LATER: Final = frozenset({"temporarily_unavailable", "server_error", "internal_failure"})
_TOO_MANY: Final = frozenset({"slow_down", "rate_limit_exceeded", "quota_exceeded"})
_EXPIRED: Final = frozenset({70008, 700082, 50173})
"""AADSTS numbers of a grant that was good once: the refresh token is too old, unused for too long, or withdrawn."""
_OFF: Final = 60.0
"""Seconds by which this machine's clock may be wrong without being the reason."""


def fetched(
    host: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes | None,
    asked: Asked,
    grant: Grant,
    clock_is_off: float = 0.0,
) -> tuple[str, float | None, str | None]:
    """The token, its life in seconds if it is said, and a new refresh token if there is one. Raises NoCredential.

    `body` is None if it is longer than LARGEST.
    """
    where = f"token endpoint {host}: HTTP {status}"
    said = _object(body)
    code, pause = _code(said), retry_after(headers.get("retry-after", ""))
    if status == 429 or code in _TOO_MANY:
        raise NoCredential(Reason.THROTTLED, f"{where}: too many requests", pause)
    if status >= 500 or code in _TRY_LATER:
        raise NoCredential(Reason.AUTH_UNAVAILABLE, f"{where}{_error(said, asked)}", pause)
    if said is None:
        kind = plain_text(headers.get("content-type", "no type").partition(";")[0], 60)
        what = f"more than {LARGEST} octets" if body is None else f"{kind}, which is no JSON object"
        raise NoCredential(Reason.AUTH_UNAVAILABLE, f"{where}: {what}; check token_url, and proxies on the way")
    if "error" in said or status >= 400:
        raise _refusal(where, said, asked, grant, clock_is_off)
    if not isinstance(said.get("access_token"), str):
        raise NoCredential(Reason.AUTH_UNAVAILABLE, f"{where}: no access_token in the answer")
    token = checked_token(said["access_token"], f"the access_token of {host}")
    return token, seconds_of(said.get("expires_in")), _renewed(said)


def _renewed(said: Mapping[str, Any]) -> str | None:
    """A new refresh token, if it is one: what is not would cost us the one that we have."""
    token = said.get("refresh_token")
    return token if isinstance(token, str) and _REFRESH_TOKEN.fullmatch(token) else None


def _refusal(where: str, said: Mapping[str, Any], asked: Asked, grant: Grant, clock_is_off: float) -> NoCredential:
    codes = _codes(said)
    means = of_token_refusal(codes, _code(said), grant)
    if abs(clock_is_off) > _OFF:
        means += f"; this machine's clock is {abs(clock_is_off):.0f} s {'behind' if clock_is_off > 0 else 'ahead'}"
    reason = Reason.TOKEN_EXPIRED if _EXPIRED & set(codes) else Reason.AUTH_REJECTED
    # nothing of what the endpoint wrote where we know better what its code means
    return NoCredential(reason, f"{where}{_error(said, asked, described=not means)}" + (f": {means}" if means else ""))


def _error(said: Mapping[str, Any] | None, asked: Asked, *, described: bool = True) -> str:
    """The error, its numbers and, if `described`, what the endpoint wrote to it, without anything that we sent."""
    if said is None:
        return ""
    scrub = Scrubber(form for secret in asked.secrets for form in token_giveaways(secret.reveal()))
    words = [plain_text(scrub(_code(said) or "no error named"), 60)]
    words += [f"AADSTS{code}" for code in _codes(said)]
    text = " " + " ".join(words)
    if described and isinstance(said.get("error_description"), str):
        text += ": " + plain_text(scrub(said["error_description"].partition("\n")[0]), 160)
    return text


def _code(said: Mapping[str, Any] | None) -> str:
    """The error's name, empty where there is none; what stands in front of an endpoint writes other things there."""
    code = said.get("error") if said else None
    return code if isinstance(code, str) else ""


def _codes(said: Mapping[str, Any]) -> tuple[int, ...]:
    """Microsoft's numbers, which it writes beside the text."""
    codes = said.get("error_codes")
    return tuple(code for code in codes[:3] if type(code) is int) if isinstance(codes, list) else ()


def _object(body: bytes | None) -> dict[str, Any] | None:
    if body is None:
        return None
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None
