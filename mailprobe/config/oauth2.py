"""What an `oauth2` section comes to: which grant, which endpoint, which scope; and what in it cannot be meant. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mailprobe.config.providers import SCOPES, TOKEN_URLS, IdentityProvider
from mailprobe.config.schema import OAuth2Settings
from mailprobe.config.secrets_dir import Secrets
from mailprobe.plan import Grant, OAuth2, SecretReference

SECRETS: Final = {Grant.CLIENT_CREDENTIALS: "client_secret", Grant.REFRESH_TOKEN: "refresh_token"}
"""What `<secrets_dir>/<section>/<name>/` has to have for a grant, where nothing else is said."""
_NEED: Final = "does not say where tokens come from; write provider, token_url, token_file or token_command"


def grant_of(own: OAuth2Settings) -> Grant:
    """The grant that is named, or that what is given is good for."""
    if own.grant:
        return own.grant
    if own.service_account_file:
        return Grant.JWT_BEARER
    refreshes = own.refresh_token_file or own.refresh_token_env
    return Grant.REFRESH_TOKEN if refreshes else Grant.CLIENT_CREDENTIALS


def has_secret(own: OAuth2Settings) -> bool:
    """Whether the secret that the grant needs is named in the section itself."""
    match grant_of(own):
        case Grant.CLIENT_CREDENTIALS:
            return bool(own.client_secret_file or own.client_secret_env or own.certificate_file)
        case Grant.REFRESH_TOKEN:
            return bool(own.refresh_token_file or own.refresh_token_env)
        case Grant.JWT_BEARER:
            return bool(own.service_account_file)


def asks_endpoint(own: OAuth2Settings) -> bool:
    """Whether tokens come from a token endpoint."""
    return not (own.token_file or own.token_command)


def oauth2_of(username: str, own: OAuth2Settings, secrets: Secrets | None, directory: Path) -> OAuth2:
    """The checked section, as the actors are given it; `secrets`: where `secrets_dir` has this login's."""
    if own.token_file:
        return OAuth2(token_file=directory / own.token_file)
    if own.token_command:
        return OAuth2(token_command=own.token_command)
    grant = grant_of(own)
    key = SECRETS.get(grant)
    from_directory = SecretReference(file=secrets.file(key)) if secrets and key and not has_secret(own) else None

    def reference(file: Path | None, env: str | None, name: str) -> SecretReference | None:
        if env:
            return SecretReference(env=env)
        return SecretReference(file=directory / file) if file else from_directory if key == name else None

    return OAuth2(
        token_url=own.token_url or (TOKEN_URLS[own.provider].format(tenant=own.tenant) if own.provider else ""),
        grant=grant,
        client_id=own.client_id or "",
        client_secret=reference(own.client_secret_file, own.client_secret_env, "client_secret"),
        certificate=reference(own.certificate_file, None, ""),
        refresh_token=reference(own.refresh_token_file, own.refresh_token_env, "refresh_token"),
        service_account=reference(own.service_account_file, None, ""),
        subject=(own.subject or username) if grant is Grant.JWT_BEARER else "",
        scope=own.scope or (SCOPES.get((own.provider, grant), "") if own.provider else ""),
        save_refresh_token=own.save_refresh_token,
        ca_file=directory / own.ca_file if own.ca_file else None,
    )


def contradictions(own: OAuth2Settings, *, from_directory: bool) -> Iterator[tuple[str, str]]:
    """What is wrong in the section as a whole, as (key, text); the key is empty for the section itself.

    `from_directory`: the grant's secret may come from `secrets_dir`.
    """
    given = {key for key in OAuth2Settings.model_fields if getattr(own, key)}
    if not asks_endpoint(own):
        first = "token_file" if own.token_file else "token_command"
        for key in OAuth2Settings.model_fields:
            if key in given - {first}:
                yield key, f"does not go with {first}; remove one of them"
        return
    if not (own.provider or own.token_url):
        yield "", _NEED
        return
    yield from _missing(own, from_directory)
    for one, other in (
        ("client_secret_file", "client_secret_env"),
        ("refresh_token_file", "refresh_token_env"),
        ("client_secret_file", "certificate_file"),
        ("client_secret_env", "certificate_file"),
    ):
        if {one, other} <= given:
            yield other, f"give either {one} or {other}, not both"
    if own.save_refresh_token and not own.refresh_token_file:
        yield "save_refresh_token", "needs a refresh_token_file, into which the new one is written"


def _missing(own: OAuth2Settings, from_directory: bool) -> Iterator[tuple[str, str]]:
    grant = grant_of(own)
    if own.provider is IdentityProvider.MICROSOFT365 and not own.token_url and not own.tenant:
        yield "", "needs tenant: the directory's id, or a domain of it, such as contoso.onmicrosoft.com"
    if grant is not Grant.JWT_BEARER and not own.client_id:
        yield "", "needs client_id: the application's id"
    if own.provider is IdentityProvider.GOOGLE and grant is Grant.CLIENT_CREDENTIALS:
        yield "", "Google gives tokens for service_account_file or refresh_token_file, not for a client secret alone"
    elif not has_secret(own) and not (from_directory and grant in SECRETS):
        yield "", _WANTED[grant]


_WANTED: Final = {
    Grant.CLIENT_CREDENTIALS: "needs client_secret_file, client_secret_env or certificate_file",
    Grant.REFRESH_TOKEN: "needs refresh_token_file or refresh_token_env",
    Grant.JWT_BEARER: "needs service_account_file",
}
