"""Every refusal of the collection, said by a server at its stage, and what an attempt makes of it."""

from __future__ import annotations

import pytest
from support.loops import both_loops
from support.reply_samples import Refused, refusals
from support.smtp_attempts import LOGIN, PASSWORD, attempt, certificates, sender_to
from support.smtp_script import SmtpScript

from mailprobe.errors import Stage
from mailprobe.model import TlsMode

pytestmark = both_loops

VERBS = {Stage.END_OF_DATA: "dot"}


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILPROBE_TEST_PASSWORD", PASSWORD)


@pytest.mark.parametrize("refused", refusals(), ids=str)
async def test_refused(refused: Refused) -> None:
    tls = TlsMode.STARTTLS if refused.stage is Stage.STARTTLS else TlsMode.PLAINTEXT
    context = certificates().good if tls is TlsMode.STARTTLS else None
    async with SmtpScript(tls=context, **{VERBS.get(refused.stage, str(refused.stage)): refused.wire}) as server:
        login = LOGIN if refused.stage is Stage.AUTH else None
        got = await attempt(sender_to(server, tls, login))

    assert (got.stage, got.reason, got.outcome) == (refused.stage, refused.reason, refused.outcome)
    assert got.last_reply
    assert (got.last_reply.reply.code, got.last_reply.reply.enhanced) == (refused.code, refused.enhanced)
