"""What takes the place of a version has a name that storage takes."""

import pytest

from deemo_dist.dataset.layout import LONGEST_NAME, dataset_prefix
from deemo_dist.dataset.lifecycle.erasure import successor_name


@pytest.mark.parametrize("length", [1, 97, 98, LONGEST_NAME])
def test_the_name_of_a_successor_is_legal_and_free(length: int) -> None:
    versions = ["v" * length, "v" * (length - 1) + "w"]
    taken = {f"demo/{version}" for version in versions}
    before = set(taken)
    for version in versions * 12:
        new = successor_name(f"demo/{version}", taken)
        assert new not in before and new in taken
        before.add(new)
        dataset_prefix(*new.split("/"))
    assert len(taken) == 26


def test_successors_are_counted() -> None:
    taken = {"demo/v1"}
    assert [successor_name("demo/v1", taken), successor_name("demo/v1-e1", taken)] == ["demo/v1-e1", "demo/v1-e2"]
