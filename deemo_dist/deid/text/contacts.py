"""Addresses and numbers as they are written: patterns of ``re``, to be read without regard to case."""

import re

from deemo_dist.deid.text.said import emails, numbers

WEB = r"(?:com|org|net|edu|gov|io|tv|co|uk|us|de|fr|es|it|eu|info|biz|me|app|dev)"
EMAIL = r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b"
BRACKETED = r"[\w.+-]+\s*[(\[]\s*at\s*[)\]]\s*[\w-]+(?:\s*(?:[(\[]\s*dot\s*[)\]]|\.)\s*[\w-]+)+"
DIGITS = r"(?<![\w.])\+?\(?\d(?:[\s().-]?\d){6,}(?!\w)"
_HEAD = r"(?<![\w-])(?<![\w-]\.)"  # of a row of labels: where it is no address, no rest of it is one
_HOST = rf"{_HEAD}[\w-]+(?:\.[\w-]+)*?\.{WEB}(?:(?:\.[\w-]+)*\.{WEB})?"
URL = rf"(?:\bhttps?://\S+|\bwww\.\S+|{_HOST}(?:/\S*)?)\b"
HANDLE = r"(?<![\w.])@\w[\w.]*\w"
_ANY = re.compile("|".join((EMAIL, BRACKETED, DIGITS, URL, HANDLE)), re.IGNORECASE)
_FIGURE = re.compile(r"[+-]?\d{1,6}(?:\.\d*)?(?:e[+-]?\d+)?", re.IGNORECASE)
_DATE = re.compile(r"(?<!\d)(?:19|20)\d{2}(?:[-._/]?\d{2}){0,2}(?!\d)")


def leads_to_somebody(term: str) -> bool:
    """Whether a term holds an address, a telephone's number or the like, written or said. Figures (0.3333333), years
    and days (2019-2021, 2021-03-04) are none."""
    term = _DATE.sub(" x ", term.strip())
    if _FIGURE.fullmatch(term):
        return False
    return bool(_ANY.search(term)) or any(emails(term)) or any(numbers(term))
