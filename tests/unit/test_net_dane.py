"""DANE: TLSA records against chains of certificates; the rules of RFC 7672 as a table."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_der_x509_certificate

from mailprobe.lab.certificates import Authority
from mailprobe.model import DaneFacts, DaneStatus
from mailprobe.net.chain import refusal, refusal_by_authorities
from mailprobe.net.dane import Tlsa, judged, with_verdict

HOST = "mx.lab.test"
NAMES = (HOST, "lab.test")


@dataclass(frozen=True)
class Shown:
    """Chains that a server may show, DER."""

    ca_file: Path
    good: tuple[bytes, ...]
    expired: tuple[bytes, ...]
    wrong_name: tuple[bytes, ...]
    of_domain: tuple[bytes, ...]
    forged: tuple[bytes, ...]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    directory, elsewhere = tmp_path_factory.mktemp("ca"), tmp_path_factory.mktemp("other")
    authority, other = Authority(directory), Authority(elsewhere)

    def chain(label: str, *names: str, by: Authority = authority, **how: timedelta) -> tuple[bytes, ...]:
        leaf = ssl.PEM_cert_to_DER_cert(by.issue(label, names, **how).certificate.read_text())
        return leaf, ssl.PEM_cert_to_DER_cert(authority.ca_file.read_text())

    return Shown(
        authority.ca_file,
        chain("good", HOST),
        chain("expired", HOST, begins=timedelta(days=-30), ends=timedelta(days=-2)),
        chain("wrong", "other.test"),
        chain("domain", "lab.test"),
        chain("forged", HOST, by=other),
    )


def tlsa(certificate: bytes, usage: int, selector: int = 1, matching: int = 1) -> Tlsa:
    data = certificate
    if selector == 1:
        key = load_der_x509_certificate(certificate).public_key()
        data = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = {0: data, 1: hashlib.sha256(data).digest(), 2: hashlib.sha512(data).digest()}
    return Tlsa(usage, selector, matching, digest.get(matching, b"?"))


@pytest.mark.parametrize("usage", [2, 3])
@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching", [0, 1, 2])
def test_each_form_of_a_record(shown: Shown, usage: int, selector: int, matching: int) -> None:
    certificate = shown.good[3 - usage]
    record = tlsa(certificate, usage, selector, matching)
    assert judged([record], shown.good, NAMES, encrypted=True) == (True, "")
    other = tlsa(shown.expired[0], usage, selector, matching)
    passed, why = judged([other], shown.good, NAMES, encrypted=True)
    assert (passed, why) == (False, "no record matches what was shown")
    assert judged([other, record], shown.good, NAMES, encrypted=True) == (True, "")


def test_an_end_entity_needs_neither_name_nor_date(shown: Shown) -> None:
    for chain in (shown.expired, shown.wrong_name, shown.forged):
        assert judged([tlsa(chain[0], 3)], chain, NAMES, encrypted=True) == (True, "")
        assert judged([tlsa(chain[0], 3)], chain[:1], NAMES, encrypted=True) == (True, "")


@pytest.mark.parametrize("kind", ["expired", "wrong_name", "forged"])
def test_a_trust_anchor_vouches_only_for_what_it_has_signed_and_is_good(shown: Shown, kind: str) -> None:
    chain = getattr(shown, kind)
    passed, why = judged([tlsa(chain[1], 2)], chain, NAMES, encrypted=True)
    assert not passed
    assert HOST in why


def test_a_trust_anchor_vouches_for_the_domain_too(shown: Shown) -> None:
    assert judged([tlsa(shown.of_domain[1], 2)], shown.of_domain, NAMES, encrypted=True) == (True, "")


def test_a_trust_anchor_is_no_leaf(shown: Shown) -> None:
    assert not judged([tlsa(shown.good[0], 2)], shown.good, NAMES, encrypted=True)[0]
    assert not judged([tlsa(shown.good[1], 3)], shown.good, NAMES, encrypted=True)[0]


@pytest.mark.parametrize(("usage", "selector", "matching"), [(0, 1, 1), (1, 1, 1), (3, 2, 1), (3, 1, 3), (255, 0, 0)])
def test_records_that_mail_does_not_know_ask_for_tls_alone(
    shown: Shown, usage: int, selector: int, matching: int
) -> None:
    record = Tlsa(usage, selector, matching, b"x" * 32)
    assert not record.is_usable
    assert judged([record], shown.good, NAMES, encrypted=True) == (True, "")
    assert judged([record], (), NAMES, encrypted=False) == (False, "no TLS was used")
    assert not judged([record, tlsa(shown.expired[0], 3)], shown.good, NAMES, encrypted=True)[0]


def test_without_tls_or_with_nonsense(shown: Shown) -> None:
    record = tlsa(shown.good[0], 3)
    assert judged([record], (), NAMES, encrypted=False) == (False, "no TLS was used")
    assert judged([record], (), NAMES, encrypted=True) == (False, "no certificate was shown")
    passed, why = judged([record, tlsa(shown.good[1], 2)], (b"\x30\x03nonsense", b"more"), NAMES, encrypted=True)
    assert not passed
    assert "cannot be read" in why


def test_what_is_absent_asks_for_nothing_and_what_cannot_be_had_fails(shown: Shown) -> None:
    absent, error = DaneFacts(DaneStatus.ABSENT), DaneFacts(DaneStatus.ERROR, detail="SERVFAIL")
    assert with_verdict(absent, (), shown.good, NAMES, encrypted=False) == absent
    failed = with_verdict(error, (), shown.good, NAMES, encrypted=True)
    assert (failed.passed, failed.detail) == (False, "SERVFAIL")


def test_a_record_as_text() -> None:
    assert str(Tlsa(3, 1, 1, bytes(range(4)))) == "3 1 1 00010203"
    assert len(str(Tlsa(3, 0, 0, bytes(60_000)))) < 150


# ---- chains


def test_chains_and_the_authorities_of_a_file(shown: Shown, tmp_path: Path) -> None:
    assert refusal_by_authorities(shown.good, shown.ca_file, HOST) is None
    assert refusal_by_authorities(shown.good[:1], shown.ca_file, HOST) is None
    for chain, name in ((shown.good, "mx2.lab.test"), (shown.expired, HOST), (shown.forged, HOST), ((), HOST)):
        why = refusal_by_authorities(chain, shown.ca_file, name)
        assert why
        assert name in why
    assert "cannot be read" in (refusal_by_authorities(shown.good, tmp_path / "missing", HOST) or "")
    (tmp_path / "empty.pem").write_text("nothing\n")
    assert "cannot be read" in (refusal_by_authorities(shown.good, tmp_path / "empty.pem", HOST) or "")


def test_the_systems_authorities_do_not_know_ours(shown: Shown) -> None:
    assert refusal_by_authorities(shown.good, None, HOST)


def test_an_anchor_that_cannot_be_read(shown: Shown) -> None:
    assert "cannot be read" in (refusal(shown.good, [b"nonsense"], HOST) or "")
