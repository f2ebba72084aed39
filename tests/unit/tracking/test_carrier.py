"""What waits for MLflow on the run's storage: carried, taken by another node, removed once it was sent."""

import itertools
import json
import logging
import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.local.s3 import LocalS3
from deemo_dist.config import StorageConfig, TrackingConfig
from deemo_dist.errors import StorageError
from deemo_dist.storage import open_store
from deemo_dist.storage.local import LocalStore
from deemo_dist.tracking import Tracker
from deemo_dist.tracking import carriage as carrying
from deemo_dist.tracking import carrier as carriers
from deemo_dist.tracking import tracker as trackers
from deemo_dist.tracking.carriage import Carriage
from deemo_dist.tracking.carrier import Carrier, Depot
from deemo_dist.tracking.drain import Drain
from deemo_dist.tracking.pieces import origin, piece_name
from deemo_dist.tracking.segment import new_segments
from deemo_dist.tracking.spool import pending, readers, sending
from tests.unit.tracking.conftest import Fake, seconds_of_steps

PREFIX = "runs/r/spool"


class Unsteady(LocalStore):
    """A store that can be away, or so slow that nobody hears of it again."""

    away, hangs = False, False

    def _check(self) -> None:
        if self.hangs:
            time.sleep(30)
        if self.away:
            raise StorageError("the store cannot be reached", hint="wait")

    def entries(self, prefix):
        self._check()
        return super().entries(prefix)

    def put(self, key, data):
        self._check()
        super().put(key, data)

    def delete(self, key):
        self._check()
        super().delete(key)


class Limited(Fake):
    """An MLflow that takes so many records and is away then."""

    left = 0

    def deliver(self, header, event) -> None:
        if self.left <= 0:
            raise ConnectionError("away")
        super().deliver(header, event)
        self.left -= 1

    def deliver_metrics(self, header, events) -> None:
        for event in events:
            self.deliver(header, event)


class Node:
    """One machine with its spool, and an MLflow that it may not reach."""

    def __init__(self, place, store) -> None:
        self.spool, self.carrier = place, Carrier(place, Depot(store, PREFIX))
        self.mlflow = Limited(place)
        self.drain = Drain(place, self.mlflow)
        self.start()

    def start(self) -> None:
        """A life begins; the one before was killed, so that nobody writes its segments any more."""
        self.facts, self.files = new_segments(self.spool, {"key": "k", "folder": "/scratch/anna"})

    def write(self, *names) -> None:
        for name in names:
            self.facts.append({"kind": "tags", "name": name, "run": "parent", "time": 1})
        self.facts.sync()

    def write_file(self, name) -> None:
        copy = self.spool / "files" / name / "report.html"
        copy.parent.mkdir(parents=True)
        copy.write_text(name)
        path = str(copy.relative_to(self.spool))
        self.files.append({"kind": "artifact", "name": name, "run": "parent", "time": 1, "path": path, "copied": True})
        self.files.sync()

    def send(self, number=1000) -> None:
        self.mlflow.left = number
        self.drain.round()

    def take(self) -> int:
        return self.carrier.take("facts") + self.carrier.take("files")

    def close(self) -> None:
        self.facts.close()
        self.files.close()


@pytest.fixture
def store(tmp_path):
    return Unsteady(f"file://{tmp_path}/store")


@pytest.fixture
def here(tmp_path, store):
    return Node(tmp_path / "here", store)


@pytest.fixture
def there(tmp_path, store):
    return Node(tmp_path / "there", store)


def _segments(node) -> list:
    return sorted(node.spool.glob("*.jsonl"))


def test_a_name_tells_where_a_piece_was_cut(tmp_path) -> None:
    segment = tmp_path / "00000000017-node.p000000000009.site-12.files.jsonl"
    name = piece_name(segment, 4711)
    assert origin(name) == (segment.name, 4711, "files") and origin(segment.name) is None


def test_what_waits_is_a_legal_segment_in_the_store(here, store) -> None:
    here.write("one", "two", "three")
    here.send(1)
    assert here.carrier.carry() == 1
    (key,) = store.list(PREFIX)
    header, *lines = [json.loads(line) for line in store.get(key).splitlines()]
    assert header["kind"] == "open" and header["key"] == "k" and "folder" not in header
    assert [line["name"] for line in lines] == ["two", "three"]
    before = store.stat(key).modified
    assert here.carrier.carry() == 0 and store.stat(key).modified == before  # nothing new: nothing is written


def test_another_node_sends_it_with_its_files_and_leaves_nothing(here, there, store) -> None:
    here.write("one", "two")
    here.write_file("page")
    assert here.carrier.carry() == 2
    assert there.take() == 2 and pending(there.spool) == 3
    assert there.take() == 0
    there.send(1)
    assert there.carrier.settle() == 0 and len(store.list(PREFIX)) == 3
    there.send()
    assert there.mlflow.taken == ["one", "two", "page"]
    assert there.carrier.settle() == 2
    assert store.list(PREFIX) == [] and _segments(there) == [] and not list((there.spool / "files").iterdir())
    assert not list(there.spool.glob("*.carried")) and not list(there.spool.glob("*.sent"))


def test_the_node_that_comes_back_removes_it_when_it_has_sent_it(here, store) -> None:
    here.write("one")
    here.write_file("page")
    here.carrier.carry()
    here.close()
    again = Node(here.spool, store)
    assert again.take() == 0
    again.send()
    assert again.mlflow.taken == ["one", "page"] and len(_segments(again)) == 2  # kept for the store's sake
    assert again.carrier.settle() == 2
    assert store.list(PREFIX) == [] and _segments(again) == []


def test_a_life_that_was_killed_before_its_note_finds_its_piece(here, store) -> None:
    here.write("one")
    here.carrier.carry()
    for note in here.spool.glob("*.carried"):
        note.unlink()
    again = Node(here.spool, store)
    assert again.take() == 0
    again.send()
    assert again.carrier.settle() == 1 and store.list(PREFIX) == []


def test_a_piece_that_grows_is_taken_again_and_sent_once(here, there, store) -> None:
    here.write("one")
    here.carrier.carry()
    there.take()
    there.send()
    here.write("two")
    assert here.carrier.carry() == 1 and len(store.list(PREFIX)) == 1
    for _ in range(2):
        assert there.carrier.settle() == 0  # it is longer than what was sent: the rest is here now
    there.send()
    assert there.mlflow.taken == ["one", "two"]
    assert there.carrier.settle() == 1 and store.list(PREFIX) == []


def test_a_long_segment_is_cut_and_no_piece_is_written_for_ever(here, there, store, monkeypatch) -> None:
    monkeypatch.setattr(carriers, "PIECE_BYTES", 150)
    names = [f"n{number}" for number in range(20)]
    here.write(*names)
    assert here.carrier.carry() > 4
    sizes = [entry.size for entry in store.entries(PREFIX)]
    assert max(sizes) < 500
    here.write("more")
    assert here.carrier.carry() <= 2
    there.take()
    there.send()
    assert there.mlflow.taken == [*names, "more"]


def test_what_let_others_go_first_is_carried_too_and_alone(here, there, store) -> None:
    for name in ("one", "two", "three"):
        here.write_file(name)
    here.mlflow.wrong = {"one": ConnectionError("no")}
    for _ in range(8):
        here.send()
    assert here.mlflow.taken == ["two", "three"] and pending(here.spool) == 1
    assert here.carrier.carry() == 1
    assert here.carrier.carry() == 0
    there.take()
    there.send()
    assert there.mlflow.taken == ["one"] and not (there.spool / "refused.jsonl").exists()


def test_a_piece_of_a_newer_version_stays_for_who_can_read_it(here, there, store, caplog) -> None:
    logging.getLogger("deemo_dist").propagate = True
    store.put(f"{PREFIX}/1-n-1.p000000000030.facts.jsonl", b'{"v":9,"kind":"open","key":"k"}\n{"kind":"x"}\n')
    assert there.take() == 0
    there.send()
    assert there.carrier.settle() == 0 and len(store.list(PREFIX)) == 1
    assert "newer version" in caplog.text and not (there.spool / "refused.jsonl").exists()


def test_a_path_that_leads_out_of_the_spool_is_not_followed(there, store, tmp_path) -> None:
    precious = tmp_path / "precious" / "a" / "b.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("mine")
    event = {"kind": "artifact", "name": "n", "run": "parent", "time": 1, "copied": True}
    lines = [json.dumps({"v": 1, "kind": "open", "key": "k"})]
    lines += [json.dumps({**event, "path": path}) for path in ("../precious/a/b.txt", str(precious), "files/../x")]
    store.put(f"{PREFIX}/1-n-1.p000000000030.files.jsonl", "".join(f"{line}\n" for line in lines).encode())
    assert there.take() == 1
    there.send()
    assert there.carrier.settle() == 1
    assert precious.read_text() == "mine" and store.list(PREFIX) == []


def test_a_segment_that_was_sent_goes_when_nobody_writes_it(here) -> None:
    here.write("one")
    here.send()
    (living,) = _segments(here)
    assert here.mlflow.taken == ["one"]
    here.close()
    here.send()
    assert _segments(here) == [] and not list(here.spool.glob("*.sent"))
    here.write("two")  # the same segment, opened again
    assert living.is_file() and readers(here.spool, "facts")[0].header()["key"] == "k"
    here.send()
    assert here.mlflow.taken == ["one", "two"] and living.is_file()


def test_a_child_that_was_forked_keeps_no_lock_of_a_segment(here) -> None:
    here.write("one")
    kept = [os.dup(here.facts._file)]  # what a child inherits
    here.close()
    here.write("two")  # opened again at once
    kept.append(os.dup(here.facts._file))
    here.close()
    here.send()
    assert here.mlflow.taken == ["one", "two"] and _segments(here) == []
    for file in kept:
        os.close(file)


def _ends_with(node, text):
    """A closed segment of one record, after which something else stands; its path."""
    node.write("one")
    node.close()
    (path,) = _segments(node)
    with path.open("a") as file:
        file.write(text)
    return path


def test_a_segment_with_half_a_line_of_a_killed_writer_goes_and_one_without_a_header_stays(here) -> None:
    _ends_with(here, '{"kind":"ta')
    odd = here.spool / "0-odd-1.facts.jsonl"
    odd.write_text('{"kind":"tags","run":"parent"}\n')
    (here.spool / "0-none-1.facts.jsonl").write_text("")
    here.send()
    here.send()
    assert here.mlflow.taken == ["one"] and _segments(here) == [odd, here.spool / "refused.jsonl"]


def test_a_line_that_is_none_is_kept_with_what_is_refused(here) -> None:
    path = _ends_with(here, "not json\n")
    here.send()
    here.send()
    assert not path.exists()
    (row,) = [json.loads(line) for line in (here.spool / "refused.jsonl").read_text().splitlines()]
    assert row["line"] == "not json" and row["event"] is None


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 4)),
        st.tuples(st.just("send"), st.integers(0, 3)),
        st.tuples(st.just("other sends"), st.integers(0, 3)),
        st.tuples(st.sampled_from(["carry", "settle", "other takes", "other settles", "killed", "store"]), st.just(0)),
    ),
    max_size=16,
)


@settings(deadline=None, max_examples=60)
@given(steps=_STEPS, piece=st.sampled_from([1, 150, 4 * 2**20]))
def test_what_was_written_before_a_carry_is_taken_or_carried(tmp_path_factory, steps, piece) -> None:
    place = tmp_path_factory.mktemp("law")
    store = Unsteady(f"file://{place}/store")
    here, there = Node(place / "here", store), Node(place / "there", store)
    written: list[str] = []
    covered: set[str] = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(carriers, "PIECE_BYTES", piece)
        for step, number in steps:
            if step == "write":
                names = [f"n{len(written) + n}" for n in range(number)]
                written += names
                here.write(*names)
            else:
                _do(step, number, here, there, store)
                if step == "carry" and not store.away:
                    assert here.carrier.is_kept()
                    covered = set(written)
            assert covered <= {*here.mlflow.taken, *there.mlflow.taken, *_names_in(store)}
        store.away = False
        here.close()
        for node in (here, there, here):
            node.take()
            node.send()
            node.carrier.settle()
            node.send()
            node.carrier.settle()
    assert set(here.mlflow.taken) == set(written)
    assert _names_in(store) == set() and store.list(PREFIX) == []
    assert _segments(here) == _segments(there) == []
    assert len(here.mlflow.taken) == len(written)


def _do(step, number, here, there, store) -> None:
    work = {
        "send": lambda: here.send(number),
        "other sends": lambda: there.send(number),
        "carry": here.carrier.carry,
        "settle": here.carrier.settle,
        "other takes": there.take,
        "other settles": there.carrier.settle,
        "killed": lambda: (here.close(), here.start()),
        "store": lambda: setattr(store, "away", not store.away),
    }[step]
    try:
        work()
    except StorageError:
        assert store.away


def _names_in(store) -> set[str]:
    lines = [json.loads(line) for path in store.folder.rglob("*.jsonl") for line in path.read_text().splitlines()]
    return {line["name"] for line in lines if "name" in line}


@pytest.fixture
def told(caplog):
    logging.getLogger("deemo_dist").propagate = True
    return lambda: [record.getMessage() for record in caplog.records if "cannot be used" in record.getMessage()]


def _until(condition, seconds=5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_the_first_failure_carries_at_once_and_the_next_ones_at_a_bounded_rate(here, store, monkeypatch) -> None:
    monkeypatch.setattr(carrying, "_TURN_SECONDS", 0.5)
    carried: list[float] = []
    monkeypatch.setattr(here.carrier, "carry", lambda: carried.append(time.monotonic()) or 0)
    carriage = Carriage(here.carrier)
    carriage.start()
    assert carriage.ready.wait(5) and not carried
    started = time.monotonic()
    carriage.told("facts", away=True)
    assert _until(lambda: carried) and carried[0] - started < 0.4
    for _ in range(100):
        carriage.told("facts", away=False)
        carriage.told("files", away=True)
        time.sleep(0.01)
    assert 2 <= len(carried) <= 4 and all(b - a > 0.4 for a, b in itertools.pairwise(carried))
    carriage.told("files", away=False)
    before = len(carried)
    time.sleep(0.7)
    assert len(carried) == before
    assert carriage.finish(5.0) and len(carried) == before + 1  # what is left goes at the end


def test_nobody_says_that_the_store_has_what_another_process_holds_back(here) -> None:
    here.write("one")
    assert not here.carrier.is_kept()
    with sending(here.spool, "carried"):  # another process of this machine, in the midst of an upload
        assert here.carrier.carry() == 0
        carriage = Carriage(here.carrier)
        carriage.start()
        assert not carriage.finish(5.0)
    assert here.carrier.carry() == 1 and here.carrier.is_kept()
    here.write("two")
    assert not here.carrier.is_kept()
    here.send()
    assert here.carrier.is_kept()


def test_a_store_that_is_away_costs_one_warning(here, store, told, monkeypatch) -> None:
    monkeypatch.setattr(carrying, "_TURN_SECONDS", 0.05)
    store.away = True
    here.write("one")
    carriage = Carriage(here.carrier)
    carriage.start()
    assert carriage.ready.wait(5)
    carriage.told("facts", away=True)
    time.sleep(0.5)
    assert len(told()) == 1 and "on this machine alone" in told()[0]
    store.away = False
    assert _until(lambda: store.list(PREFIX))
    assert carriage.finish(5.0)


def test_a_store_that_hangs_is_not_waited_for(here, store) -> None:
    here.write("one")
    carriage = Carriage(here.carrier)
    carriage.start()
    assert carriage.ready.wait(5)
    store.hangs = True
    started = time.monotonic()
    assert not carriage.finish(0.5)
    assert time.monotonic() - started < 2


def test_neither_an_mlflow_that_is_away_nor_a_store_that_hangs_is_felt_in_a_step(tmp_path, store, monkeypatch) -> None:
    monkeypatch.setattr(trackers, "CARRY_SECONDS", 0.5)
    store.hangs = True
    config = TrackingConfig(uri="http://127.0.0.1:9")
    places = {"spool_dir": tmp_path / "spool", "folder": tmp_path, "depot": Depot(store, PREFIX)}
    tracker = Tracker.open(config, run_name="felt", patience=0.1, **places)
    took = seconds_of_steps(tracker.stage("tune"), 300)
    started = time.monotonic()
    assert tracker.close(0.5) == 301
    assert time.monotonic() - started < 4
    assert took[150] < 0.0002 and took[270] < 0.001


@pytest.mark.slow
def test_the_storage_may_be_a_bucket(tmp_path, monkeypatch) -> None:
    with LocalS3() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        store = open_store(StorageConfig(root=f"{server.root}/project", timeout_seconds=10.0))
        here, there = Node(tmp_path / "here", store), Node(tmp_path / "there", store)
        here.write("one")
        here.write_file("page with a + and an ä")
        assert here.carrier.carry() == 2 and here.carrier.is_kept()
        here.write("two")
        assert here.carrier.carry() == 1 and len(store.list(PREFIX)) == 3
        assert there.take() == 2
        there.send()
        assert there.mlflow.taken == ["one", "two", "page with a + and an ä"]
        assert there.carrier.settle() == 2 and store.list("runs") == []
        here.close()
        here.send()
        assert here.carrier.settle() == 2 and _segments(here) == []
