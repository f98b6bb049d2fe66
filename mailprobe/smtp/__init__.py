"""Handing a message in by SMTP: a thin adapter on aiosmtplib."""

from mailprobe.smtp.attempt import submit
from mailprobe.smtp.dialogue import Message

__all__ = ("Message", "submit")
