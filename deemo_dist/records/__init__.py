"""The nouns of the project as plain data: frozen dataclasses, and Arrow schemas for what is stored."""

from deemo_dist.records.clip import Clip, NfblEvent, plain_subject
from deemo_dist.records.example import Example, Length, LoadedExample, Media, Turn
from deemo_dist.records.receipt import Receipt, TarReceipt, Unit
from deemo_dist.records.sample import Annotation, Attestation, IndexRow, LedgerRow, Member

__all__ = [
    "Annotation",
    "Attestation",
    "Clip",
    "Example",
    "IndexRow",
    "LedgerRow",
    "Length",
    "LoadedExample",
    "Media",
    "Member",
    "NfblEvent",
    "Receipt",
    "TarReceipt",
    "Turn",
    "Unit",
    "plain_subject",
]
