"""Machines that are lost with the process that they ran, and who is blamed."""

from __future__ import annotations

from collections import Counter

from bench.case.cases import Case
from bench.session.manager import Manager
from bench.session.session import Goal, Work
from bench.session.workers import LostError
from tests.bench.session.made_sessions import A5, A6, B5, B6, Told, World, session


class Doomed(Told):
    """A worker whose machine goes while it measures what it is told to."""

    def __init__(self, world: Clinic, work: Work) -> None:
        super().__init__(world, work)
        self.clinic = world

    def poll(self) -> int | None:
        if self.code == -9:
            self.clinic.lost += 1
            raise LostError("its node died", blame=self.clinic.blame)
        return super().poll()


class Clinic(World):
    """``Told``'s world, in which what dies takes its machine with it."""

    lost = 0
    blame = True

    def start(self, work: Work) -> Doomed:
        self.started.append(work)
        return Doomed(self, work)

    def to_the_end(self, cases: list[Case], processes: int = 2) -> Manager:
        """A session whose machines are replaced as often as they are lost, up to fifty."""
        found = self.manager(session(cases=tuple(cases), goal=Goal(processes=processes)))
        found.begin()
        for _ in range(50):
            try:
                while found.step():
                    pass
                break
            except LostError:
                continue
        return found


def test_a_case_that_takes_two_machines_down_is_not_tried_again() -> None:
    world = Clinic(behaviour={B5.id: "die"})
    found = world.to_the_end([A5, B5, A6, B6])
    assert found.schedule.finished
    assert world.lost == 2
    assert world.outcomes == {B5.id: "crashed"}
    assert world.counts == {A5.id: 2, B5.id: 0, A6.id: 2, B6.id: 2}
    (reason,) = {each.reason for file in world.files for each in file.outcomes}
    assert "its node died" in reason


def test_of_cases_timed_in_turn_the_one_that_takes_machines_down_is_found_alone() -> None:
    world = Clinic(behaviour={B5.id: "timed die"})
    found = world.to_the_end([A5, B5])
    assert found.schedule.finished
    assert world.lost == 3  # together, together again, and alone
    assert world.outcomes == {B5.id: "crashed"}
    assert found.schedule.medians[A5.id] == [1.0, 1.0]


def test_a_machine_that_its_owner_takes_back_is_no_case_s_fault() -> None:
    world = Clinic(behaviour={B5.id: "die"})
    world.blame = False
    found = world.to_the_end([B5])
    assert world.lost == 50
    assert world.outcomes == {}
    assert not found.schedule.given_up(B5.id)


def test_what_a_lost_machine_had_finished_is_kept() -> None:
    world = Clinic(behaviour={B6.id: "die"})
    world.to_the_end([A5, B5, A6, B6], processes=1)
    counts = Counter(each.case.id for file in world.files for each in file.measurements)
    assert counts == {A5.id: 1, B5.id: 1, A6.id: 1}
    assert any("was lost: its node died; tried again elsewhere" in told for told in world.told)
