"""What leads to somebody, and figures that do not."""

import pytest

from deemo_dist.deid.text.contacts import leads_to_somebody


@pytest.mark.parametrize(
    "term",
    ["m.lopez@example.org", "+49 176 1234567", "m lopez at gmail", "www.lopez.org", "@lopez", "six fifty two ten ten"],
)
def test_addresses_numbers_and_handles_lead_to_somebody(term: str) -> None:
    assert leads_to_somebody(term)


@pytest.mark.parametrize(
    "term",
    ["0.3333333", "-1.25e-07", "2019-2021", "2021-03-04", "sample_00000012", "20-29", "happy at work", "AU12", ""],
)
def test_figures_days_and_words_do_not(term: str) -> None:
    assert not leads_to_somebody(term)
