"""mailprobe: canary messages out by SMTP, confirmed over IMAP, every delay and deferral code recorded."""

__version__ = "0.1.0"
