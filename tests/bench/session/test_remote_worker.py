"""Test workers on a node, whose journals are written here line by line."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench import records
from bench.machine.writing import running_writer
from bench.session.cluster import ASK_EVERY, SILENCE, RemoteExecutor, RemoteWorker, WorkerNews
from bench.session.session import Goal, Work
from bench.session.workers import LostError, settle_all
from bench.worker.order import CANNOT_WRITE
from tests.bench.made_texts import PAYLOADS
from tests.bench.session.made_answers import Clock, Given, make_found_session
from tests.bench.session.made_sessions import A5, B5, make_run, reported, session


class Node:
    """An ``AgentHandle`` that gives made-up answers."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.requests: list[str] = []

    def ask(self, method: str, *words: Any) -> Given:
        self.requests.append(method)
        return Given(self.answers.pop(0) if self.answers else None)


HEADER = {"schema": 1, "run": make_run(1).to_dict() | {"finished": None, "complete": False}}
NAME = "mine-20260101T000000Z-12345678"
JOURNAL = f"{NAME}.journal.jsonl"


def refused(case: Any) -> dict[str, object]:
    data = {"outcome": "refused", "reason": "why", "advice": ""}
    return {"outcome": {"case": case.to_dict(), "case_id": case.id, **data}}


def worker(folder: Path, node: Node, clock: Clock) -> RemoteWorker:
    made = session(cases=(A5, B5), goal=Goal(processes=1), case_limit=60.0)
    return RemoteExecutor(node, made, folder, clock).start(Work(1, (A5, B5), 0))


def looked(found: RemoteWorker, clock: Clock, times: int) -> list[Any]:
    lines: list[Any] = []
    for _ in range(times):
        clock.time += ASK_EVERY
        assert found.poll() is None
        lines += found.lines()
    return lines


def test_remote_worker_writes_lines_to_disk_as_they_come(tmp_path: Path) -> None:
    clock = Clock()
    node = Node(
        WorkerNews(),
        WorkerNews(),
        WorkerNews((HEADER, {"begun": [A5.id]}), JOURNAL),
        WorkerNews((refused(A5),)),
    )
    found = worker(tmp_path, node, clock)
    lines = looked(found, clock, 8)
    assert lines == [HEADER, {"begun": [A5.id]}, refused(A5)]
    (journal,) = tmp_path.iterdir()
    assert journal.name == JOURNAL
    written = [json.loads(line) for line in journal.read_text().splitlines()]
    assert written[1:] == lines[1:]
    assert "process" in running_writer(journal)  # this one, so that no other deletes it


def test_remote_worker_of_a_dead_node_keeps_what_came(tmp_path: Path) -> None:
    clock = Clock()
    died = LostError("its node died")
    node = Node(WorkerNews((HEADER,), JOURNAL), WorkerNews((refused(A5), {"begun": [B5.id]})), died)
    found = worker(tmp_path, node, clock)
    looked(found, clock, 4)
    with pytest.raises(LostError, match="its node died"):
        looked(found, clock, 4)
    assert node.requests == ["start", "look", "look"]
    file = found.settle([])
    assert file is not None
    assert [each.case.id for each in file.outcomes] == [A5.id]
    assert [path.name for path in tmp_path.iterdir()] == [f"{NAME}.json"]


def test_remote_worker_of_a_silent_node_is_lost_without_blame(tmp_path: Path) -> None:
    clock = Clock()
    found = worker(tmp_path, Node(WorkerNews()), clock)
    looked(found, clock, 2)
    clock.time += SILENCE - 1.0
    assert found.poll() is None
    clock.time += 2.0
    with pytest.raises(LostError, match="has not answered for 120 s") as caught:
        found.poll()
    assert not caught.value.blame


def test_remote_worker_of_a_killed_manager_leaves_a_journal_to_resume(tmp_path: Path) -> None:
    clock = Clock()
    found = worker(tmp_path, Node(WorkerNews((HEADER, refused(A5)), JOURNAL)), clock)
    looked(found, clock, 2)
    assert found._journal is not None
    found._journal.close()  # as the system does for a process that is killed
    journal = tmp_path / JOURNAL
    head, rest = journal.read_text().split("\n", 1)
    dead = json.loads(head)
    dead["writer"] |= {"started": 1}
    journal.write_text(f"{json.dumps(dead)}\n{rest}")
    settle_all(make_found_session(), tmp_path, exclusive=False)
    (file,) = records.collect([tmp_path]).files
    assert [each.case.id for each in file.outcomes] == [A5.id]


@pytest.mark.parametrize(
    "name",
    [
        *PAYLOADS,
        "/etc/passwd",
        f"../{JOURNAL}",
        f"other-{JOURNAL}",
        f"mine-/../../{JOURNAL}",
        "mine-\0.journal.jsonl",
        f"mine-{'x' * 300}.journal.jsonl",
    ],
)
def test_remote_worker_refuses_file_names_outside_the_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    found = worker(folder, Node(WorkerNews((HEADER,), name)), Clock())
    with pytest.raises(LostError, match="the node names a file"):
        found.poll()
    ended = WorkerNews((), "", 0, "", f"{name}.json", b"{}")
    found = worker(folder, Node(ended), Clock())
    with pytest.raises(LostError, match="the node names a file"):
        found.poll()
    assert found.settle([]) is None
    assert [path.name for path in tmp_path.rglob("*")] == ["results"]


def test_remote_worker_killed_returns_what_it_had(tmp_path: Path) -> None:
    clock = Clock()
    head = json.dumps(HEADER).encode()
    ended = WorkerNews((refused(A5),), JOURNAL, -9, "", f"{NAME}.json", head)
    node = Node(WorkerNews((HEADER,), JOURNAL), ended)
    executor = RemoteExecutor(node, make_found_session(), tmp_path, clock)
    found = executor.start(Work(1, (A5,), 0))
    looked(found, clock, 1)
    found.kill()
    assert node.requests == ["start", "kill"]
    file = found.settle([])
    assert file is not None
    assert [each.case.id for each in file.outcomes] == [A5.id]


def test_remote_worker_with_a_broken_file_rebuilds_it_from_lines(tmp_path: Path) -> None:
    clock = Clock()
    ended = WorkerNews((refused(A5),), JOURNAL, 0, "", f"{NAME}.json", b"{ half of it")
    found = worker(tmp_path, Node(WorkerNews((HEADER,), JOURNAL), ended), clock)
    looked(found, clock, 2)
    clock.time += ASK_EVERY
    assert found.poll() == 0
    file = found.settle([])
    assert file is not None
    assert [each.case.id for each in file.outcomes] == [A5.id]


def test_remote_worker_with_a_full_disk_is_lost_without_blame(tmp_path: Path) -> None:
    words = reported(CANNOT_WRITE, "/tmp/x cannot be written: No space")
    found = worker(tmp_path, Node(WorkerNews((), "", 3, words)), Clock())
    with pytest.raises(LostError, match="on that machine /tmp/x cannot be written: No space") as e:
        found.poll()
    assert not e.value.blame


# -- a hand, with workers of this machine
