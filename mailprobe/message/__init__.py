"""Messages as bytes and as facts: composing, signing, recognising canaries; reading headers and reports. Pure."""

from mailprobe.message.authres import Authenticated, Authentication, authentication
from mailprobe.message.compose import Composed, Composer, check_address
from mailprobe.message.dsn import parse_report
from mailprobe.message.received import Hop, hops
from mailprobe.message.recognise import BounceCandidate, ForeignAgent, Ours, Recognised, Stranger, recognise
from mailprobe.message.replies import Category, Meaning, category_of, meaning_of
from mailprobe.message.report import Action, Report, category_of_bounce
from mailprobe.message.token import Key, Token, new_canary_id

__all__ = [
    "Action",
    "Authenticated",
    "Authentication",
    "BounceCandidate",
    "Category",
    "Composed",
    "Composer",
    "ForeignAgent",
    "Hop",
    "Key",
    "Meaning",
    "Ours",
    "Recognised",
    "Report",
    "Stranger",
    "Token",
    "authentication",
    "category_of",
    "category_of_bounce",
    "check_address",
    "hops",
    "meaning_of",
    "new_canary_id",
    "parse_report",
    "recognise",
]
