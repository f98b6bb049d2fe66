"""Which folder is the junk folder."""

from __future__ import annotations

import pytest

from mailprobe.errors import ProbeFailure, Reason, Stage
from mailprobe.imap import folders
from mailprobe.imap.parse import Folder


def listed(*names: str) -> list[Folder]:
    return [Folder("INBOX"), Folder("Sent", frozenset({"\\sent"})), *map(Folder, names)]


def test_special_use_comes_before_the_usual_names() -> None:
    assert folders.junk("auto", [*listed("Spam", "Junk"), Folder("Quarantäne", frozenset({"\\junk"}))]) == "Quarantäne"


def test_a_special_use_folder_that_holds_no_messages_is_passed_over() -> None:
    noselect = Folder("A", frozenset({"\\junk", "\\noselect"}))
    assert folders.junk("auto", [noselect, *listed("Spam")]) == "Spam"


@pytest.mark.parametrize(
    "name",
    [
        "Junk",
        "Spam",
        "SPAM",
        "Junk E-mail",
        "Junk Email",
        "Junk-E-Mail",
        "Bulk Mail",
        "[Gmail]/Spam",
        "[Google Mail]/Spam",
        "INBOX.Junk",
        "INBOX/Spam",
        "Courrier indésirable",
        "Posta indesiderata",
        "Correo no deseado",
        "Нежелательная почта",
        "迷惑メール",
    ],
)
def test_usual_names(name: str) -> None:
    assert folders.junk("auto", listed("Archive", name)) == name


def test_the_most_usual_name_wins() -> None:
    assert folders.junk("auto", listed("Bulk Mail", "Spam", "Junk")) == "Junk"
    assert folders.junk("auto", listed("INBOX.Junk", "Junk")) == "Junk"


def test_none_is_found_or_wanted() -> None:
    assert folders.junk("auto", listed("Junkyard", "My Spam")) is None
    assert folders.junk(None, listed("Junk")) is None


def test_a_configured_folder() -> None:
    assert folders.junk("Quarantine", listed("Junk", "Quarantine")) == "Quarantine"
    assert folders.find("inbox", []) == "INBOX"
    for find in (lambda: folders.junk("Quarantine", listed("Junk")), lambda: folders.find("in", listed())):
        with pytest.raises(ProbeFailure) as caught:
            find()
        assert (caught.value.stage, caught.value.reason) == (Stage.SELECT, Reason.MAILBOX_MISSING)
