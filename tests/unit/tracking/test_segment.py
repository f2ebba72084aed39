"""A process's own segments on a disk that is full for a while."""

import json
import subprocess
import sys

WRITER = """
import resource, signal, sys
from pathlib import Path
from deemo_dist.tracking.segment import Segment

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # beyond the limit a write is short, and the next one refused
path, free = Path(sys.argv[1]), resource.RLIM_INFINITY
segment = Segment(path, {"key": "k"})
whole = 0
if sys.argv[2] == "line":
    segment.append({"n": 0})
    assert segment.sync()
    whole = path.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (whole + 7, free))
segment.append({"n": 1, "text": "x" * 50})
assert not segment.sync()
assert segment.waiting
assert path.stat().st_size == whole
resource.setrlimit(resource.RLIMIT_FSIZE, (free, free))
if sys.argv[3] == "more":
    segment.append({"n": 2})
    assert segment.sync()
segment.close()
"""


def written(path, cut, then):
    subprocess.run([sys.executable, "-c", WRITER, str(path), cut, then], check=True, timeout=60)
    header, *lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert header["kind"] == "open"
    return [line["n"] for line in lines]


def test_a_line_that_the_disk_took_half_of_is_written_whole_later(tmp_path):
    assert written(tmp_path / "a.jsonl", "line", "more") == [0, 1, 2]


def test_so_is_the_header(tmp_path):
    assert written(tmp_path / "a.jsonl", "header", "more") == [1, 2]


def test_what_was_refused_is_tried_again_at_the_end(tmp_path):
    assert written(tmp_path / "a.jsonl", "line", "nothing") == [0, 1]
