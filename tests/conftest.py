"""Which tests stay with one process when several share the work (``pytest -n 2``).

A file's tests stay together, for its fixtures; and so do the files below, which share addresses or what is made once.
(Not by xdist's own marks of groups: they need an attribute of tests that pytest 9.2 has no longer.)
"""

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

TOGETHER = {
    "tests/integration/test_launch_ray.py": "ray",  # nodes at the same loopback addresses, workers at the same ports
    "tests/system/test_chaos.py": "ray",
    "tests/system/test_clusters.py": "ray",
    "tests/system/test_no_names.py": "ray",
    "tests/unit/execution/test_ray.py": "ray",
    "tests/system/test_audit.py": "project",  # one project is made and trained for all
    "tests/system/test_chain.py": "project",
    "tests/system/test_faults.py": "project",
    "tests/system/test_smollm2.py": "project",
}


class ByFile(LoadScopeScheduling):
    """Hands out whole files, or the files that belong together."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return TOGETHER.get(path, path)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    """xdist's question how tests are to be shared."""
    return ByFile(config, log)
