"""Which tests stay with one process when several share the work (``pytest -n 2 --dist loadgroup``).

A file's tests stay together, for its fixtures; and so do the files below, which share addresses or what is made once.
"""

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
TOGETHER = {
    "integration/test_launch_ray.py": "ray",  # nodes at the same loopback addresses, workers at the same ports
    "system/test_chaos.py": "ray",
    "system/test_clusters.py": "ray",
    "system/test_no_names.py": "ray",
    "unit/execution/test_ray.py": "ray",
    "system/test_audit.py": "project",  # one project is made and trained for all
    "system/test_chain.py": "project",
    "system/test_faults.py": "project",
    "system/test_smollm2.py": "project",
}


def group_of(path: Path) -> str:
    """The name of the group whose tests run in one process, one after the other."""
    place = path.relative_to(TESTS).as_posix()
    return TOGETHER.get(place, place)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group_of(item.path)))
