"""Looking into a mailbox: a session on aioimaplib that ends when its connection does, and what is new on top of it."""

from mailprobe.imap.parse import Folder
from mailprobe.imap.session import Fetched, Removal, Selected, Session, Status
from mailprobe.imap.view import Found, Look, MailboxView, Place, Watermark
from mailprobe.imap.waiting import IdleEnd

__all__ = [
    "Fetched",
    "Folder",
    "Found",
    "IdleEnd",
    "Look",
    "MailboxView",
    "Place",
    "Removal",
    "Selected",
    "Session",
    "Status",
    "Watermark",
]
