"""Which folder is the junk folder: by special use, by the usual names, or by the configured one. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from mailprobe.errors import ProbeFailure, Reason, Stage
from mailprobe.imap.parse import Folder

AUTO: Final = "auto"

_USUAL: Final = (
    "junk",
    "spam",
    "junk e-mail",
    "junk email",
    "junk-e-mail",
    "junk mail",
    "bulk mail",
    "bulk",
    "spamverdacht",
    "junk-e-mail-ordner",
    "werbung",
    "unerwünscht",
    "courrier indésirable",
    "pourriel",
    "indésirables",
    "posta indesiderata",
    "correo no deseado",
    "correo basura",
    "correio eletrônico não solicitado",
    "lixo eletrônico",
    "lixo electrónico",
    "ongewenste e-mail",
    "skräppost",
    "søppelpost",
    "uønsket e-mail",
    "uønsket e-post",
    "roskaposti",
    "roskapostit",
    "wiadomości-śmieci",
    "nevyžádaná pošta",
    "levélszemét",
    "önemsiz e-posta",
    "gereksiz e-posta",
    "нежелательная почта",
    "спам",
    "небажана пошта",
    "迷惑メール",
    "垃圾邮件",
    "垃圾郵件",
    "정크 메일",
    "스팸메일함",
)
"""Lower case, most usual first; with or without a prefix of `_PREFIX`."""

_PREFIX: Final = re.compile(r"(?:inbox|\[gmail\]|\[google mail\])[./\\]", re.IGNORECASE)


def find(name: str, folders: Sequence[Folder]) -> str:
    """A configured folder as the server writes it; INBOX in any case (RFC 3501 5.1).

    Raises ProbeFailure(SELECT, MAILBOX_MISSING) if there is none.
    """
    if name.upper() == "INBOX":  # always there, even where a server does not list it
        return "INBOX"
    if any(folder.name == name and folder.selectable for folder in folders):
        return name
    raise ProbeFailure(Stage.SELECT, Reason.MAILBOX_MISSING, f"no folder {name}")


def junk(setting: str | None, folders: Sequence[Folder]) -> str | None:
    """The junk folder's name: `auto` is special use `\\Junk` (RFC 6154), then the usual names; None: none.

    Raises ProbeFailure(SELECT, MAILBOX_MISSING) for a configured name that is not there.
    """
    if setting is None:
        return None
    if setting.lower() != AUTO:
        return find(setting, folders)
    selectable = sorted((folder for folder in folders if folder.selectable), key=lambda folder: folder.name)
    for folder in selectable:
        if "\\junk" in folder.attributes:
            return folder.name
    # of two with the same name the one without a prefix
    selectable.sort(key=lambda folder: _PREFIX.match(folder.name) is not None)
    by_usual_name = {_PREFIX.sub("", folder.name, count=1).casefold(): folder.name for folder in reversed(selectable)}
    return next((by_usual_name[name] for name in _USUAL if name in by_usual_name), None)
