"""More executions than there can be threads wait their turn, and none is forgotten."""

from __future__ import annotations

import threading

from startonce.local.states.running import Running
from tests.conftest import wait_for


def test_so_many_run_at_a_time_and_the_others_follow_in_their_order() -> None:
    running, doors = Running(most=2), [threading.Event() for _ in range(5)]
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        doors[number].wait(10)

    for number in range(5):
        running.start(lambda number=number: work(number))  # type: ignore[misc]
    wait_for(lambda: sorted(begun) == [0, 1])
    for number in range(5):
        doors[number].set()
        wait_for(lambda number=number: len(begun) >= min(number + 3, 5))  # type: ignore[misc]
    assert begun[2:] == [2, 3, 4]


def test_one_that_fails_leaves_its_room_to_the_next() -> None:
    running, begun = Running(most=1), threading.Event()

    def fail() -> None:
        raise ValueError("on purpose")

    running.start(fail)
    running.start(begun.set)
    assert begun.wait(10)


def test_one_that_pauses_leaves_its_room_and_comes_back_before_new_ones() -> None:
    running, door, order = Running(most=1), threading.Event(), list[str]()
    resumed = threading.Event()

    def pausing() -> None:
        with running.pause():
            order.append("pauses")
            door.wait(10)
        order.append("goes on")
        resumed.set()

    def quick() -> None:
        order.append("quick")

    def slow() -> None:
        order.append("slow")
        door.set()
        wait_for(lambda: not resumed.wait(0.1))

    running.start(pausing)
    running.start(quick)
    wait_for(lambda: order == ["pauses", "quick"])
    running.start(slow)
    running.start(quick)
    wait_for(lambda: len(order) == 5)
    assert order == ["pauses", "quick", "slow", "goes on", "quick"]


def test_what_waits_is_forgotten_at_the_end() -> None:
    running, door, begun = Running(most=1), threading.Event(), threading.Event()
    running.start(lambda: bool(door.wait(10)) or None)
    running.start(begun.set)
    running.stop()
    door.set()
    assert not begun.wait(0.2)
