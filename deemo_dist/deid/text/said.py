"""E-mail addresses and numbers that are said in words: "j smith eighty two at gmail dot com", "six fifty two twelve".

An address goes back from its "at" over all that can be of one: letters, number words, what stands around "dot" and
"underscore", and two words at most, up to a word that leads to it ("my e-mail is") or a pause. Of a number the digits
are counted that its words stand for.
"""

import re
from collections.abc import Iterator

DIGIT = r"(?:zero|oh|nought|one|two|three|four|five|six|seven|eight|nine)"
TEEN = r"(?:ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen)"
TENS = r"(?:(?:twen|thir|for|fif|six|seven|eigh|nine)ty)"
ENOUGH, ENOUGH_ANNOUNCED = 7, 4  # digits: of a telephone, and after "my number is"
PLAIN_WORDS = 2
FURTHEST = 160  # characters before an "at"
NEAR = 60  # characters before a number
Place = tuple[int, int]

_JOINT = r"(?:dot|point|dash|hyphen|minus|underscore)"
_TOP = (
    r"(?:com|org|net|edu|gov|io|tv|co|uk|us|de|fr|es|it|eu|info|biz|me|app|dev|at|ch|nl|be|se|no|dk|fi|pl|cz|ru|cn|jp|kr|"
    r"in|au|ca|br|mx|ie|pt|gr|hu|ro|tr|za|nz|hk|sg|online|mail)"
)
_HOSTS = r"(?:gmail|googlemail|hotmail|gmx|icloud|protonmail|outlook)"
_DOMAIN = re.compile(
    rf"\bat\s+(?:[^\W_]+(?:(?:\s+{_JOINT}\s+|[\s.-])(?!at\b)[^\W_]+){{0,4}}?(?:\s+dot\s+|\.){_TOP}(?:(?:\s+dot\s+|\.){_TOP})*\b"
    rf"|{_HOSTS}\b)",
    re.IGNORECASE,
)
_PART = re.compile(r"[^\W_](?:[\w.+'’-]*[^\W_])?")
_IS_JOINT = re.compile(_JOINT)
_IS_NUMBER = re.compile(rf"(?:\d+|{DIGIT}|{TEEN}|{TENS}(?:-{DIGIT})?|hundred|double|triple)")
_LEADS = frozenset(
    ("is", "it's", "its", "at", "to", "me", "my", "on", "by", "and", "or", "so", "the", "was", "are", "be", "as", "us",
     "him", "her", "them", "you", "your", "his", "their", "our", "with", "from", "for", "of", "in", "that", "that's",
     "this", "i'm", "an", "e-mail", "email", "mail", "address", "write", "reach", "contact", "via", "under", "then")
)  # fmt: skip

_SPOKEN = rf"(?:(?:double|triple)\s+{DIGIT}|{TENS}(?:[\s-]{DIGIT}\b)?|{TEEN}|{DIGIT}|o|hundred)"
_ROW = re.compile(
    rf"\b(?:plus\s+)?(?:{_SPOKEN}|\d{{1,4}})\b(?:(?:[\s,–-]+|(?<=hundred)\s+and\s+)(?:{_SPOKEN}|\d{{1,4}})\b)*",
    re.IGNORECASE,
)
_ONE = re.compile(rf"{_SPOKEN}\b|\d+", re.IGNORECASE)
_ANNOUNCED = re.compile(
    r"\b(?:number|phone|mobile|cell|pin|code|extension|passport|account|zip|postcode|licen[cs]e|plate|card)"
    r"(?:\W+(?:is|was|it|it['’]?s|the|my|plate|number|code)\b){0,3}\W+$",
    re.IGNORECASE,
)


def emails(text: str) -> Iterator[Place]:
    """Where e-mail addresses are said in ``text``: (start, end) in characters, ascending."""
    for domain in _DOMAIN.finditer(text):
        yield _begin(text, domain.start()), domain.end()


def _begin(text: str, at: int) -> int:
    """Where the address begins whose "at" stands at ``at``."""
    least = max(0, at - FURTHEST)
    parts = list(_PART.finditer(text, least, at))
    begin, after, plain = at, "", 0
    for number in range(len(parts) - 1, -1, -1):
        part, before = parts[number], parts[number - 1][0].lower() if number else ""
        word = part[0].lower()
        small = len(word) == 1 or bool(_IS_NUMBER.fullmatch(word))
        pause = text[part.end() : begin].strip(" \t\n_-." if len(word) == 1 else " \t\n_-")
        if pause and not (small and (len(after) == 1 or _IS_NUMBER.fullmatch(after))):
            break
        joint = bool(_IS_JOINT.fullmatch(word))
        joined = bool(_IS_JOINT.fullmatch(after))
        alone = word in ("a", "i") and len(after) != 1 and len(before) != 1
        if not joined and (alone or word in _LEADS):
            break
        plain = 0 if joint else plain + (not small)
        if plain > PLAIN_WORDS:
            break
        begin, after = part.start(), word
    return begin


def numbers(text: str) -> Iterator[Place]:
    """Where numbers of many digits are said in ``text``, at least in part by words."""
    for row in _ROW.finditer(text):
        parts = [part[0].lower() for part in _ONE.finditer(row[0])]
        if all(part.isdigit() for part in parts):
            continue
        hundreds = parts.count("hundred")
        digits = sum(_digits(part, hundreds) for part in parts)
        announced = (
            not hundreds
            and digits >= ENOUGH_ANNOUNCED
            and _ANNOUNCED.search(text, max(0, row.start() - NEAR), row.start())
        )
        if digits >= ENOUGH or announced:
            yield row.span()


def _digits(part: str, hundreds: int) -> int:
    """How many digits a part of a number stands for; several hundreds count things (two hundred, three hundred)."""
    if part.isdigit():
        return len(part)
    if part == "hundred":
        return 2 if hundreds == 1 else 0
    if part.startswith(("double", "triple")):
        return 2 if part.startswith("double") else 3
    return 1 if re.fullmatch(rf"{DIGIT}|o", part) else 2
