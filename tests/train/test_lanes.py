"""Which stages go side by side, and on how many threads."""

import threading

import pytest

from talksplat.methods.catalogue import METHODS
from talksplat.methods.method import Stage
from talksplat.train.lanes import courses, phases, work_through
from talksplat.train.loop import projected_seconds

STAGES = (
    Stage("a1", 10, ("a",), False),
    Stage("b1", 30, ("b",), False),
    Stage("a2", 20, ("a",), True),
    Stage("c1", 20, ("c",), True, cost=2.0),
    Stage("all", 5, ("a", "b", "c"), True),
)


def names(found: list[list[list[Stage]]]) -> list[list[list[str]]]:
    return [[[stage.name for stage in lane] for lane in phase] for phase in found]


def test_stages_of_one_layer_are_a_lane_and_joint_ones_wait() -> None:
    assert names(phases(STAGES)) == [[["a1", "a2"], ["b1"], ["c1"]], [["all"]]]
    twice = (STAGES[4], STAGES[0], STAGES[4])
    assert names(phases(twice)) == [[["all"]], [["a1"]], [["all"]]]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_stage_is_in_one_lane_in_order(method: object) -> None:
    stages = method.stages(method.presets["quick"])  # type: ignore[attr-defined]
    lanes = [lane for phase in phases(stages) for lane in phase]
    assert sorted(stage.name for lane in lanes for stage in lane) == sorted(stage.name for stage in stages)
    for lane in lanes:
        assert [stage for stage in stages if stage in lane] == lane
        assert len({stage.layers for stage in lane}) == 1


def test_courses_are_of_like_cost_and_the_last_has_all_threads() -> None:
    lanes = phases(STAGES)[0]  # costs: a 30, b 30, c 40
    found = courses(lanes, 2, side_by_side=True)
    assert [[lane[0].layers for lane, _ in course] for course in found] == [[("c",)], [("a",), ("b",)]]
    ((_, c),), ((_, a), (_, b)) = found
    assert [c(0.0), c(39.0), a(0.0), b(0.0)] == [1, 1, 1, 1]
    assert [b(9.0), b(10.0), b(29.0)] == [1, 2, 2], "c has ended at 40, b began at 30"


@pytest.mark.parametrize(("side_by_side", "threads"), [(False, 2), (True, 1)])
def test_one_course_where_nothing_is_won(side_by_side: bool, threads: int) -> None:
    (course,) = courses(phases(STAGES)[0], threads, side_by_side=side_by_side)
    assert [lane[0].layers for lane, _ in course] == [("c",), ("a",), ("b",)]
    assert {share(cost) for _, share in course for cost in (0.0, 20.0)} == {threads}


def test_a_batch_takes_as_long_as_its_frames() -> None:
    batches = (Stage("one", 100, ("a",), False), Stage("many", 10, ("a",), True, frames=32))
    assert projected_seconds(batches, (0.5, 0.25)) == pytest.approx(50 + 80)


class Counter:
    """A lane that only counts, and can fail."""

    def __init__(self, fail: BaseException | None = None) -> None:
        self.gate, self.count, self.fail = threading.Lock(), 0, fail

    def work(self, turnstile: threading.Lock, stop: threading.Event) -> None:
        while not stop.wait(0.001) and self.count < 300:
            with turnstile:
                self.gate.acquire()
            try:
                self.count += 1
                if self.fail and self.count > 20:
                    raise self.fail
                stop.wait(0.001)
                self.count += 1
            finally:
                self.gate.release()


def test_saves_come_between_steps() -> None:
    lanes = [Counter(), Counter(), Counter()]
    seen: list[list[int]] = []
    work_through([lanes[:1], lanes[1:]], 0.02, lambda: seen.append([lane.count for lane in lanes]))
    assert [lane.count for lane in lanes] == [300, 300, 300]
    assert len(seen) > 3
    assert all(count % 2 == 0 for counts in seen for count in counts)


@pytest.mark.parametrize(("error", "saves"), [(KeyboardInterrupt(), 1), (ValueError("broken"), 0)])
def test_a_lane_that_ends_early_ends_all(error: BaseException, saves: int) -> None:
    lanes = [Counter(), Counter(error)]
    seen: list[int] = []
    with pytest.raises(type(error)):
        work_through([[lane] for lane in lanes], 60.0, lambda: seen.append(1))
    assert len(seen) == saves
    assert lanes[0].count < 300
