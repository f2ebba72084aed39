"""What everybody who uses a model must have read. In full: docs/USE.md."""

NOTICE = (
    "The samples are pseudonymous personal data (GDPR 4(5)), not anonymous: protect them, and what is made of them.",
    "In the EU it is forbidden to infer emotions of people at work or in education but for medical or safety reasons "
    "(AI Act 5(1)(f)); elsewhere such a system is high-risk (Annex III 1(c)), and those exposed to it must be told "
    "(50(3)).",
    "A label is of an expression as somebody annotated it, not of an inner state; it says nothing about one person.",
)
