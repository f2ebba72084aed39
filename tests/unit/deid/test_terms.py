"""Terms that are released as they stand name nobody."""

import pytest

from deemo_dist.deid.terms import refuse_names
from deemo_dist.errors import DatasetError
from deemo_dist.records import Clip, NfblEvent


def clip(number: int = 0, **changes: object) -> Clip:
    values = {
        "uri": f"file:///raw/press_day{number}.mp4",
        "subject": "Zora Zamboni",
        "split": "train",
        "source": "press",
    }
    return Clip(**{"size_bytes": 1, **values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("source", {"source": "interviews of zora-ZAMBONI, 2021"}),
        ("source", {"source": "press day0"}),
        ("source", {"source": "file:///x"}),
        ("source", {"source": "a\nb"}),
        ("source", {"source": "long " * 20}),
        ("source", {"subject": "Zamboni", "source": "zamboni set"}),
        ("source", {"uri": "file:///raw/Press%20of%20Zora.mp4", "source": "press of zora"}),
        ("source", {"uri": "file:///raw/Jose\u0301_Zamboni.mp4", "source": "Jos\xe9 Zamboni"}),
        ("source", {"uri": "file:///raw/Jos%C3%A9_Zamboni.mp4", "source": "Jose Zamboni"}),
        ("source", {"subject": "Zu\u0308ra Zamboni", "source": "Z\xfcra Zamboni"}),
        *(
            ("source", {"subject": subject, "source": source})
            for subject, source in (
                ("\u0141ukasz M\xf8ller", "lukasz"),
                ("\u0141ukasz M\xf8ller", "moller interviews"),
                ("S\xf8ren Kj\xe6r", "soeren"),
                ("J\xfcrgen Gr\xf6\xdfe", "juergen groesse"),
                ("Ju\u0308rgen", "Juergen"),
                ("Soren Moller", "M\xf8ller set"),
                ("\u0110uro \xc5s", "duro aas"),
            )
        ),
        ("labels", {"uri": "file:///raw/M\xf8ller.mp4", "subject": "7", "labels": {"who": "moeller"}}),
        ("source", {"source": "ZoraZamboni"}),
        ("source", {"source": "Zamboni, Zora"}),
        ("source", {"source": "zamboni_interviews"}),
        ("source", {"subject": "ZoraZamboni", "source": "Zora Zamboni 2011"}),
        ("source", {"uri": "file:///raw/ZoraLopez.mp4", "subject": "7", "source": "Lopez Zora"}),
        ("source", {"uri": "file:///raw/Zora_Lopez_01.mp4", "subject": "7", "source": "Zora Lopez"}),
        ("source", {"uri": "file:///raw/Zora%20Lopez/1.mp4", "subject": "7", "source": "zoralopez"}),
        (
            "source",
            {
                "subject": "\u0930\u093e\u091c\u0947\u0936 \u0915\u0941\u092e\u093e\u0930",
                "source": "set \u0930\u093e\u091c\u0947\u0936",
            },
        ),
        ("source", {"source": "write to m.lopez@example.org"}),
        *(
            (field, {"subject": code, field: value})
            for code in ("P0042", "s11", "NDAR11", "subject11")
            for field, value in (("source", f"set {code}"), ("labels", {"session": code}), ("subgroup", {"id": code}))
        ),
        ("source", {"subject": "1001", "source": "1001"}),
        ("source", {"uri": "file:///raw/Zora Zamboni", "subject": "7", "source": "zora zamboni"}),
        ("source", {"uri": "file:///raw/zora.zamboni", "subject": "7", "source": "zora zamboni"}),
        ("source", {"uri": "file:///raw/day.ruiz", "subject": "7", "source": "ruiz"}),
        ("source", {"uri": "file:///raw/ruiz.MP4", "subject": "7", "source": "ruiz"}),
        ("source", {"uri": "file:///raw/mnikathi.mp4", "subject": "7", "source": "mnikathi"}),
        ("labels", {"uri": "file:///raw/Mnikathi", "subject": "7", "labels": {"who": "mnikathi"}}),
        ("labels", {"labels": {"contact": "+49 176 1234567"}}),
        ("labels", {"labels": {"contact": "m dot lopez at gmail dot com"}}),
        ("labels", {"labels": {"annotator": "Dr Zamboni"}}),
        ("subgroup", {"subgroup": {"id": "zorazamboni"}}),
        ("subgroup", {"subgroup": {"coach": "Zora Zamboni"}}),
        ("subgroup", {"subgroup": {"zora_zamboni": "yes"}}),
        ("labels", {"labels": {"winner": "Zora Zamboni"}}),
        ("texts", {"texts": {"zora zamboni says": "fine"}}),
        ("nfbl", {"nfbl": (NfblEvent(start=0, end=1, type="hug by zora zamboni"),)}),
    ],
)
def test_a_name_among_the_terms_is_refused_and_not_repeated(field: str, change: dict[str, object]) -> None:
    with pytest.raises(DatasetError, match=f"row 2 of the manifest: its '{field}'") as caught:
        refuse_names([clip(1), clip(0, **change)])
    said = str(caught.value).lower()
    assert "zora" not in said
    assert "zamboni" not in said
    assert "\n" not in said


def test_terms_that_name_nobody_pass() -> None:
    joy = clip(2, subject="Joy", labels={"emotion": "joy"}, nfbl=(NfblEvent(start=0, end=1, type="joy jump"),))
    ordinary = [
        clip(1, uri="file:///raw/interviews/a.mp4", source="interviews", labels={"emotion": "happy"}),
        clip(1, uri="file:///raw/press day/b.mp4", source="press day 2019-2021", labels={"valence": "-0.3333333"}),
        *(clip(1, subject=f"iemocap_0{n}", uri=f"file:///raw/iemocap/{n}.mp4", source="iemocap") for n in range(3)),
        *(clip(1, subject=f"{n}", uri=f"file:///home/anna/{n}.mp4", source="anna") for n in range(3)),
        clip(1, subject="happy_3", labels={"emotion": "happy"}, source="day 2021-03-04"),
    ]
    numbered = clip(3, subject="7", source="set 7", subgroup={"sex": "f", "age": "20-29"}, texts={"reasoning": "..."})
    fine = [
        clip(1),
        *ordinary,
        joy,
        numbered,
        clip(4, subject="Zora", labels={"emotion": "positive"}),
        clip(4, uri="file:///raw/day.avi", source="avi"),
        clip(4, subject="1001", labels={"valence": "1001"}),
        clip(4, uri="file:///raw/clapping.mp4", subject="8", labels={"act": "clapping"}),
        *(clip(4, uri=f"file:///raw/{n}/ravdess.mp4", subject=f"{n}", source="ravdess") for n in range(3)),
        clip(5, subject=""),
    ]
    refuse_names(fine)
    with pytest.raises(
        DatasetError, match=f"row {len(fine) + 1} of the manifest"
    ):  # each of them was looked at, and passed
        refuse_names([*fine, clip(6, source="Zora Zamboni")])
