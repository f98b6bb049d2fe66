"""Token endpoints over real sockets and TLS: what is asked, recorded answers, what is wrong, how long it may take."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import quote, quote_plus

import dns.rcode
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID
from support.clocks import VirtualClock
from support.dns_script import SILENCE, DnsScript
from support.loops import both_loops
from support.smtp_attempts import certificates
from support.token_server import SHAPES, Shape, TokenServer, shape, token_shape

from mailprobe.auth import token_endpoint
from mailprobe.auth.grants import Asked, Grants
from mailprobe.auth.token_answer import LARGEST
from mailprobe.auth.token_endpoint import EndpointFetch
from mailprobe.clock import SystemClock
from mailprobe.errors import NoCredential, Reason, Stage
from mailprobe.net.resolve import Resolver
from mailprobe.plan import Grant, OAuth2, SecretReference

pytestmark = [both_loops, pytest.mark.usefixtures("nothing_blocks")]

SECRET = "s3cr3t-client~value.QxYz0123456789abcdef"
REFRESH = "1.AXkA-refresh-token-0123456789abcdefghijklmnop"
NAMES = sorted(path.stem for path in SHAPES.glob("*.yaml"))


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture
def oauth2(tmp_path: Path, key: rsa.RSAPrivateKey) -> OAuth2:
    """Everything that any grant needs, but for the grant and where to ask."""
    pem = _pem(key)
    account = {"client_email": "probe@project.example", "private_key": pem, "private_key_id": "k1"}
    texts = {"secret": SECRET, "refresh": REFRESH, "account": json.dumps(account), "pem": pem + _certificate(key)}
    for name, text in texts.items():
        (tmp_path / name).write_text(text + "\n")
    return OAuth2(
        client_id="app",
        client_secret=SecretReference(file=tmp_path / "secret"),
        refresh_token=SecretReference(file=tmp_path / "refresh"),
        service_account=SecretReference(file=tmp_path / "account"),
        subject="canary@contoso.example",
        scope="https://outlook.office365.com/.default",
        ca_file=certificates().ca_file,
    )


def _pem(key: rsa.RSAPrivateKey) -> str:
    encryption = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption).decode()


def _certificate(key: rsa.RSAPrivateKey) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mailprobe")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=30))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def asking(oauth2: OAuth2, server: TokenServer, grant: str = "client_credentials", **changes: object) -> EndpointFetch:
    fields = {name: getattr(oauth2, name) for name in OAuth2.__dataclass_fields__}
    settings = fields | {"token_url": server.url, "grant": Grant(grant)} | changes
    return EndpointFetch(OAuth2(**settings), SystemClock())


def decoded(jwt: str) -> tuple[dict[str, object], dict[str, object]]:
    header, claims, _ = jwt.split(".")
    parts = (json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in (header, claims))
    return next(parts), next(parts)


# ---- recorded answers


@pytest.mark.parametrize("name", NAMES)
async def test_a_recorded_answer(name: str, oauth2: OAuth2) -> None:
    recorded = shape(name)
    async with TokenServer(certificates().good, recorded) as server:
        fetch = asking(oauth2, server, recorded.grant)
        if recorded.reason is None:
            got = await fetch()
            assert got.text.reveal() == json.loads(recorded.body)["access_token"]
            assert got.life in (3599, 600)
            return
        with pytest.raises(NoCredential) as caught:
            await fetch()
    failure = caught.value
    assert (failure.stage, failure.reason) == (Stage.AUTH, Reason(recorded.reason))
    assert recorded.says in failure.detail
    assert failure.detail.startswith("token endpoint 127.0.0.1: ") or "of 127.0.0.1" in failure.detail
    assert failure.retry_after == (17 if name == "microsoft-throttled" else 0)
    assert failure.__cause__ is None
    assert SECRET[:12] not in str(failure)


@pytest.mark.parametrize("status", [200, 400, 429, 503])
@pytest.mark.parametrize("error", [{"code": 503}, ["slow_down"], 5, None, True, ""])
async def test_an_error_that_is_no_name(error: object, status: int, oauth2: OAuth2) -> None:
    said = json.dumps({"error": error, "error_description": 7, "error_codes": {}})
    async with TokenServer(certificates().good, Shape(said, status=status)) as server:
        with pytest.raises(NoCredential) as caught:
            await asking(oauth2, server)()
    means = {429: Reason.THROTTLED, 503: Reason.AUTH_UNAVAILABLE}
    assert caught.value.reason is means.get(status, Reason.AUTH_REJECTED)
    assert "slow_down" not in caught.value.detail


def test_every_shape_says_where_it_is_from() -> None:
    assert len(NAMES) >= 20
    assert all(len(shape(name).origin) > 5 for name in NAMES)


# ---- what is asked


async def test_client_credentials(oauth2: OAuth2) -> None:
    async with TokenServer(certificates().good, token_shape("t")) as server:
        await asking(oauth2, server)()
    assert server.asked == [
        {"grant_type": "client_credentials", "client_id": "app", "client_secret": SECRET, "scope": oauth2.scope}
    ]


async def test_a_secret_is_read_anew_for_each_request(oauth2: OAuth2, tmp_path: Path) -> None:
    async with TokenServer(certificates().good, shape("microsoft-wrong-secret"), token_shape("t")) as server:
        fetch = asking(oauth2, server)
        with pytest.raises(NoCredential):
            await fetch()
        (tmp_path / "secret").write_text("another\n")
        await fetch()
    assert [form["client_secret"] for form in server.asked] == [SECRET, "another"]


async def test_a_certificate_signs(oauth2: OAuth2, tmp_path: Path, key: rsa.RSAPrivateKey) -> None:
    pem = SecretReference(file=tmp_path / "pem")
    async with TokenServer(certificates().good, token_shape("t")) as server:
        await asking(oauth2, server, client_secret=None, certificate=pem)()
    (form,) = server.asked
    assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assert "client_secret" not in form
    header, claims = decoded(form["client_assertion"])
    certificate = x509.load_pem_x509_certificate((tmp_path / "pem").read_bytes())
    thumbprint = base64.urlsafe_b64encode(certificate.fingerprint(hashes.SHA256())).rstrip(b"=").decode()
    assert header == {"alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint}
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("app", "app", server.url)
    assert claims["exp"] - claims["iat"] == 600  # type: ignore[operator]
    signed, _, signature = form["client_assertion"].rpartition(".")
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    octets = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    key.public_key().verify(octets, signed.encode(), pss, hashes.SHA256())


async def test_a_service_account_signs(oauth2: OAuth2, key: rsa.RSAPrivateKey) -> None:
    async with TokenServer(certificates().good, token_shape("t")) as server:
        await asking(oauth2, server, "jwt_bearer")()
    (form,) = server.asked
    assert form.keys() == {"grant_type", "assertion"}
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    header, claims = decoded(form["assertion"])
    assert header == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
    assert claims["iss"] == "probe@project.example"
    assert (claims["sub"], claims["scope"], claims["aud"]) == (oauth2.subject, oauth2.scope, server.url)
    signed, _, signature = form["assertion"].rpartition(".")
    octets = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    key.public_key().verify(octets, signed.encode(), padding.PKCS1v15(), hashes.SHA256())


@pytest.mark.parametrize("text", ["no key", "{}", '{"client_email": "a", "private_key": "b"}', "[" * 3000])
async def test_a_key_that_is_none(oauth2: OAuth2, tmp_path: Path, text: str) -> None:
    (tmp_path / "account").write_text(text)
    (tmp_path / "pem").write_text(text)
    pem = SecretReference(file=tmp_path / "pem")
    async with TokenServer(certificates().good, token_shape("t")) as server:
        for fetch in (asking(oauth2, server, "jwt_bearer"), asking(oauth2, server, certificate=pem)):
            with pytest.raises(NoCredential) as caught:
                await fetch()
            assert caught.value.reason is Reason.AUTH_UNAVAILABLE
    assert server.asked == []


# ---- refresh tokens


async def test_a_new_refresh_token_is_kept_in_memory(oauth2: OAuth2, tmp_path: Path) -> None:
    async with TokenServer(certificates().good, shape("rotating-refresh-token"), token_shape("t")) as server:
        fetch = asking(oauth2, server, "refresh_token")
        await fetch()
        await fetch()
        (tmp_path / "refresh").write_text("somebody consented again\n")
        await fetch()
    asked = [form["refresh_token"] for form in server.asked]
    assert asked == [REFRESH, "tGzv3JOkF0XG5Qx2TlKWIA-the-next-one", "somebody consented again"]


@pytest.mark.parametrize("renewed", ["", "a\nb", "\ud800", "ä", "a\x7f", "x" * 8193, 5, None, ["a"], {"a": 1}])
async def test_a_new_refresh_token_that_is_none_costs_neither_token(
    oauth2: OAuth2, tmp_path: Path, renewed: object
) -> None:
    said = Shape(json.dumps({"access_token": "t", "refresh_token": renewed}))
    async with TokenServer(certificates().good, said) as server:
        fetch = asking(oauth2, server, "refresh_token", save_refresh_token=True)
        assert [(await fetch()).text.reveal() for _ in range(2)] == ["t", "t"]
    assert [form["refresh_token"] for form in server.asked] == [REFRESH, REFRESH]
    assert (tmp_path / "refresh").read_text() == f"{REFRESH}\n"


async def test_a_new_refresh_token_is_saved_where_that_is_asked_for(oauth2: OAuth2, tmp_path: Path) -> None:
    async with TokenServer(certificates().good, shape("rotating-refresh-token")) as server:
        await asking(oauth2, server, "refresh_token", save_refresh_token=True)()
        await asking(oauth2, server, "refresh_token", save_refresh_token=True)()  # as after a restart
    assert server.asked[1]["refresh_token"] == "tGzv3JOkF0XG5Qx2TlKWIA-the-next-one"
    file = tmp_path / "refresh"
    assert file.read_text() == "tGzv3JOkF0XG5Qx2TlKWIA-the-next-one\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["account", "pem", "refresh", "secret"]


async def test_a_new_refresh_token_is_saved_for_the_owner_of_the_old_one(
    oauth2: OAuth2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr("os.fchown", lambda descriptor, user, group: given.append((user, group)))
    monkeypatch.setattr("mailprobe.auth.grants._check_owner", lambda path: None)
    file, own_stat = tmp_path / "refresh", Path.stat

    def stat(path: Path, **options: bool) -> os.stat_result:
        found = own_stat(path, **options)
        return os.stat_result((*found[:4], 4242, 4343, *found[6:])) if path == file else found

    monkeypatch.setattr(Path, "stat", stat)
    async with TokenServer(certificates().good, shape("rotating-refresh-token")) as server:
        await asking(oauth2, server, "refresh_token", save_refresh_token=True)()
    assert given == [(4242, 4343)]
    assert file.read_text() == "tGzv3JOkF0XG5Qx2TlKWIA-the-next-one\n"


async def test_a_refresh_token_is_not_spent_where_the_new_one_would_be_anothers(
    oauth2: OAuth2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 4242)
    async with TokenServer(certificates().good, shape("rotating-refresh-token"), token_shape("t")) as server:
        with pytest.raises(NoCredential, match="another user owns the file"):
            await asking(oauth2, server, "refresh_token", save_refresh_token=True)()
        assert server.asked == []
        await asking(oauth2, server, "refresh_token")()
    assert len(server.asked) == 1


async def test_a_new_refresh_token_that_cannot_be_saved_is_used_all_the_same(
    oauth2: OAuth2, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mailprobe.auth.grants._replace", full)
    async with TokenServer(certificates().good, shape("rotating-refresh-token")) as server:
        fetch = asking(oauth2, server, "refresh_token", save_refresh_token=True)
        await fetch()
        await fetch()
    assert server.asked[1]["refresh_token"] == "tGzv3JOkF0XG5Qx2TlKWIA-the-next-one"
    assert "cannot be saved" in caplog.text
    assert "tGzv3JOkF0XG" not in caplog.text


# ---- clocks


async def test_a_clock_ten_minutes_off_is_named_and_then_reckoned_with(oauth2: OAuth2) -> None:
    clock = VirtualClock(wall=datetime.now(UTC).timestamp() - 600)
    async with TokenServer(certificates().good, shape("google-clock"), token_shape("t")) as server:
        settings = {name: getattr(oauth2, name) for name in OAuth2.__dataclass_fields__}
        fetch = EndpointFetch(OAuth2(**settings | {"token_url": server.url, "grant": Grant.JWT_BEARER}), clock)
        with pytest.raises(NoCredential) as caught:
            await fetch()
        await fetch()
    assert "this machine's clock is " in caught.value.detail
    assert "s behind" in caught.value.detail
    first, second = (decoded(form["assertion"])[1]["iat"] for form in server.asked)
    assert 540 < second - first < 700  # type: ignore[operator]


@pytest.mark.parametrize("date", ["Fri, 01 Jan 2100 00:00:00 GMT", "Sat, 01 Jan 2000 00:00:00 GMT", ",", "x"])
async def test_a_date_that_is_not_to_be_believed(oauth2: OAuth2, date: str) -> None:
    answers = Shape(json.dumps({"access_token": "t"}), headers={"Date": date}), token_shape("t")
    async with TokenServer(certificates().good, *answers) as server:
        fetch = asking(oauth2, server, "jwt_bearer")
        await fetch()
        await fetch()
    first, second = (decoded(form["assertion"])[1]["iat"] for form in server.asked)
    off = second - first  # type: ignore[operator]
    assert abs(off) < 86400 + 600
    assert (abs(off) > 86400 - 600) is date.endswith("GMT")


async def test_a_pause_that_is_asked_for_until_a_date(oauth2: OAuth2) -> None:
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=1800), usegmt=True)
    async with TokenServer(certificates().good, Shape("", status=503, headers={"Retry-After": until})) as server:
        with pytest.raises(NoCredential) as caught:
            await asking(oauth2, server)()
    assert 1200 < caught.value.retry_after <= 1800


# ---- what is wrong on the way


async def test_more_than_is_read(oauth2: OAuth2) -> None:
    async with TokenServer(certificates().good, Shape("{" + " " * 40 * LARGEST)) as server:
        with pytest.raises(NoCredential) as caught:
            await asking(oauth2, server)()
    assert f"more than {LARGEST} octets" in caught.value.detail


async def test_no_answer(oauth2: OAuth2, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_endpoint, "TIMEOUT", 0.2)
    async with TokenServer(certificates().good, token_shape("t")) as server:
        server.stalls = True
        with pytest.raises(NoCredential) as caught:
            await asking(oauth2, server)()
    assert (caught.value.reason, caught.value.detail) == (
        Reason.AUTH_UNAVAILABLE,
        "token endpoint 127.0.0.1: no answer within 0.2 s",
    )


@pytest.mark.parametrize(
    ("known", "says"), [(dns.rcode.SERVFAIL, "dns_servfail"), (SILENCE, "dns_timeout"), (None, "dns_nxdomain")]
)
async def test_a_name_that_is_not_found(
    known: dns.rcode.Rcode | str | None, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_endpoint, "TIMEOUT", 1.0)
    kinds = ("A", "AAAA")
    async with DnsScript({("idp.example.com", kind): known for kind in kinds if known is not None}) as server:
        resolver = Resolver([("127.0.0.1", server.port)])
        with pytest.raises(NoCredential) as caught:
            await token_endpoint.post("https://idp.example.com/token", Asked({}, ()), resolver)
    assert caught.value.reason is Reason.AUTH_UNAVAILABLE
    assert says in caught.value.detail


async def test_nobody_is_there(oauth2: OAuth2) -> None:
    async with TokenServer(certificates().good, token_shape("t")) as server:
        fetch = asking(oauth2, server)
    with pytest.raises(NoCredential) as caught:
        await fetch()
    assert "connection_refused" in caught.value.detail


@pytest.mark.parametrize(
    ("which", "says"),
    [("expired", "certificate_expired"), ("wrong_name", "certificate_name"), ("untrusted", "certificate_untrusted")],
)
async def test_a_certificate_that_is_not_good_is_told_nothing(oauth2: OAuth2, which: str, says: str) -> None:
    async with TokenServer(getattr(certificates(), which), token_shape("t")) as server:
        with pytest.raises(NoCredential) as caught:
            await asking(oauth2, server)()
    assert says in caught.value.detail
    assert server.asked == []


async def test_a_file_of_cas_that_is_gone_is_told_as_such(oauth2: OAuth2, tmp_path: Path) -> None:
    async with TokenServer(certificates().good, token_shape("t")) as server:
        with pytest.raises(NoCredential) as caught:
            await asking(oauth2, server, ca_file=tmp_path / "gone.pem")()
    assert caught.value.reason is Reason.AUTH_UNAVAILABLE
    assert "gone.pem" in caught.value.detail
    assert server.asked == []


async def test_no_secret_in_the_clear_to_another_machine() -> None:
    with pytest.raises(NoCredential) as caught:
        await token_endpoint.post("http://idp.example.com/token", Asked({}, ()), Resolver())
    assert "not encrypted" in caught.value.detail


@pytest.mark.parametrize("form", ["{}", "of {} and more", "{}xx"])
async def test_an_endpoint_that_repeats_the_secret(oauth2: OAuth2, form: str) -> None:
    said = json.dumps({"error": form.format(SECRET), "error_description": form.format(SECRET[4:])})
    async with TokenServer(certificates().good, Shape(said, status=400)) as server:
        with pytest.raises(NoCredential) as caught:
            await asking(oauth2, server)()
    dense = str(caught.value)
    assert not any(SECRET[at : at + 12] in dense for at in range(len(SECRET) - 11))


@pytest.mark.parametrize("encode", [str, quote_plus, quote, lambda secret: quote(secret, safe="")])
@pytest.mark.parametrize("secret", ["a+b/ c", "p=", "ää/öö+ü?ß & Co."])
async def test_an_endpoint_that_repeats_the_form_as_it_was_sent(
    oauth2: OAuth2, tmp_path: Path, secret: str, encode: Callable[[str], str]
) -> None:
    (tmp_path / "secret").write_text(secret)
    (tmp_path / "refresh").write_text(REFRESH * 30)  # beside which a short one must not be overlooked
    said = json.dumps({"error": "invalid_request", "error_description": f"client_secret={encode(secret)}&scope=a"})
    async with TokenServer(certificates().good, Shape(said, status=400)) as server:
        with pytest.raises(NoCredential) as caught:
            await asking(oauth2, server, "refresh_token")()
    assert "invalid_request: ***" in caught.value.detail


async def test_nothing_shows_what_is_sent(oauth2: OAuth2) -> None:
    asked = await asyncio.to_thread(Grants(oauth2).ask, 0.0)
    assert asked.form["client_secret"] == SECRET
    assert SECRET not in repr(asked)
