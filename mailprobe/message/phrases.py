"""What canaries chat about, so that no two are alike: spam filters cluster messages that are.

Harmless, human, without links, offers or numbers that a filter might score; each at most 76 characters of ASCII.
"""

from __future__ import annotations

from typing import Final

SUBJECTS: Final = (
    "Is the mail getting through? ({})",
    "Routine delivery check {}",
    "A small note from the mail monitor, {}",
    "Mail flow check, reference {}",
    "Just checking that mail arrives ({})",
    "Delivery check {}, nothing to do",
    "Hello from the mail monitor ({})",
    "Checking the post: {}",
    "Automatic mail check {}",
    "Testing the way from here to you ({})",
    "Another little mail, number {}",
    "How long does this one take? ({})",
    "The mail monitor says hello, {}",
)

GREETINGS: Final = ("Hello,", "Good day,", "Hello there,", "Greetings,", "Dear reader,", "Hi,", "Hello again,")

SENTENCES: Final = (
    "A letter that arrives is rarely noticed; one that does not, always is.",
    "The postman in our street still rings twice when there is a parcel.",
    "Somewhere between here and there, several computers have said hello.",
    "Good mail systems are like good plumbing: nobody talks about them.",
    "The first mail between two computers was sent a few metres far.",
    "Pigeons were once faster than the road, and they never bounced.",
    "This morning the kettle took longer than this message, we hope.",
    "Queues are places where patience is kept until somebody needs it.",
    "A lighthouse does its work best on the nights when no ship needs it.",
    "The library closes early on Fridays, but the letter box never does.",
    "Every hop adds a line at the top, like stamps in an old passport.",
    "Rain is expected in some places and sunshine in the others.",
    "A quiet inbox may mean a quiet day, or a loud problem far away.",
    "Clocks disagree a little, which is why one of them should do the timing.",
    "The shortest way between two mailboxes is seldom a straight line.",
    "Someone once measured the sea with a rope and got it nearly right.",
    "Bread takes an hour in the oven; a message should need much less.",
    "In a small harbour the mail boat came once a week, weather permitting.",
    "The garden is doing well, thank you, and so are the tomatoes.",
    "Old maps had monsters at the edges; new ones have spinning wheels.",
    "A good question to ask of any machine is how it would tell us it broke.",
    "The stage coach kept better time than the legends about it say.",
    "When the wind is from the west, the church bells can be heard here.",
    "Canaries used to work in mines, where their singing was the message.",
    "There is a tunnel under the old town through which letters once flew.",
    "The cat sleeps on the warm machine and knows nothing of its load.",
    "A chain of small checks is stronger than one big promise.",
    "The train is on time today, or at least nobody has said otherwise.",
    "Ink dries in about a minute; copper and glass are quicker.",
    "A bridge is inspected most carefully in the years when it is fine.",
    "Tea is being made while this message is on its way.",
    "The mountain hut keeps a book in which every visitor writes a line.",
    "Two neighbours with one fence between them can share a good many letters.",
    "Echoes were the first round trip that anybody measured.",
    "The river is high this week, and the ferry goes on as it always did.",
    "A kind word costs nothing and fits into a single packet.",
    "The night shift likes it best when there is nothing to report.",
    "Snow muffles the street, and yet the newspaper was there at six.",
    "A spare key is useful only as long as one remembers where it is.",
    "The orchestra tunes before every concert, however well the last one went.",
    "Bicycles and mail have in common that they fall over when they stop.",
)
"""A prime number of them, so that any step through them visits different ones (`compose`)."""
