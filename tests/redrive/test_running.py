"""Many messages: each is done for itself, and what concerns all stops the whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from startonce.redrive import running
from startonce.redrive.failure_messages import Failure, Received
from startonce.redrive.redriving import Outcome, Redriver, Result
from startonce.redrive.running import Asked, Tally, discard_messages, list_failures, redrive_all
from tests.redrive.messages import execution_arn, lambda_record, received, report
from tests.redrive.step_functions import FIRST_RUN, Machines, error, failed, redriver


class Queue:
    """Gives out batches, and writes down what becomes of the messages."""

    def __init__(self, *batches: list[Received]) -> None:
        self._batches = batches
        self.held: set[str] = set()
        self.deleted: list[str] = []
        self.extended = 0
        self.delete_error: ClientError | None = None

    def __enter__(self) -> Queue:
        return self

    def __exit__(self, *_: object) -> None:
        self.held.clear()

    def batches(self) -> Any:
        for batch in self._batches:
            self.held |= {one.message_id for one in batch}
            yield batch

    def delete(self, message: Received) -> None:
        if self.delete_error is not None:
            raise self.delete_error
        self.deleted.append(message.message_id)

    def hold(self, messages: list[Received]) -> None:
        self.extended += len(messages)


def records(*names: str) -> list[Received]:
    return [
        received(lambda_record(context={"requestId": name}, requestPayload={}), message_id=name)
        for name in names
    ]


def reports(name: str, *counts: int) -> list[Received]:
    return [
        received(
            report(execution_name=name, execution_arn=execution_arn(name), redrive_count=count),
            message_id=f"{name}-{count}",
        )
        for count in counts
    ]


def run(
    queue: Any, here: Redriver, ids: tuple[str, ...] = (), dry_run: bool = False
) -> dict[str, Result]:
    shown: dict[str, Result] = {}

    def show(failure: Failure, result: Result) -> None:
        shown[failure.message.message_id] = result

    redrive_all(queue, here, Asked(ids), dry_run, show)
    return shown


def test_what_is_done_leaves_the_queue_and_the_rest_stays() -> None:
    queue = Queue([*records("a", "b"), received("hello", message_id="c")], records("d"))
    shown = run(queue, redriver(Machines()))
    assert sorted(queue.deleted) == ["a", "b", "d"]
    assert shown["c"].outcome is Outcome.LEFT_ALONE


def test_a_dry_run_deletes_nothing() -> None:
    queue = Queue(records("a"))
    assert run(queue, redriver(Machines()), dry_run=True)["a"].may_leave
    assert queue.deleted == []


def test_only_what_is_asked_for() -> None:
    queue, machines = Queue(records("a", "b"), records("c")), Machines()
    run(queue, redriver(machines), ids=("b", "nobody"))
    assert queue.deleted == ["b"]
    assert [name for name, _ in machines.starts] == ["b"]


def test_asked_ids_that_no_message_has() -> None:
    asked = Asked(["a", "x"])
    list(filter(asked.wants, map(running.parse, records("a", "b"))))
    assert asked.missing == ["x"]


def refusing(name: str, code: str) -> Callable[..., Any]:
    machines = Machines()

    def start_execution(**asked: Any) -> Any:
        if asked["name"] == name:
            raise error(code=code)
        return machines.start_execution(**asked)

    return start_execution


@pytest.mark.parametrize(
    ("code", "deleted", "stops"),
    [("ThrottlingException", ["a", "c", "d"], False), ("AccessDenied", ["a", "c"], True)],
)
def test_one_message_that_fails_does_not_stop_the_others(
    code: str, deleted: list[str], stops: bool
) -> None:
    queue, here = Queue(records("a", "b", "c"), records("d")), Machines()
    here.start_execution = refusing("b", code)  # type: ignore[method-assign]
    if stops:
        with pytest.raises(ClientError, match=code):
            run(queue, redriver(here))
    else:
        assert run(queue, redriver(here))["b"].outcome is Outcome.FAILED
    assert sorted(queue.deleted) == deleted
    assert queue.held == set()


def test_what_cannot_be_deleted_is_told() -> None:
    queue = Queue(records("a"))
    queue.delete_error = error(code="ReceiptHandleIsInvalid")
    result = run(queue, redriver(Machines()))["a"]
    assert (result.outcome, "run this again" in result.reason) == (Outcome.FAILED, True)
    queue.delete_error = error(code="AccessDenied")
    with pytest.raises(ClientError):
        run(queue, redriver(Machines()))


def test_what_fails_again_in_the_same_run_is_not_redriven_again() -> None:
    arn = execution_arn("a")
    machines = Machines({arn: failed()}, {arn: [*FIRST_RUN]})
    # The same failure reported twice is no failure of the redrive.
    queue = Queue(reports("a", 0), reports("a", 0, 1), reports("a", 2))
    shown = run(queue, redriver(machines))
    assert len(machines.redrives) == 1
    assert "failed again" in shown["a-1"].reason
    assert "failed again" in shown["a-2"].reason
    assert queue.deleted == ["a-0", "a-0"]


def test_an_event_that_is_started_and_fails_in_the_same_run_is_left_alone() -> None:
    machines = Machines()
    queue = Queue(records("a"), reports("a", 0))
    assert "failed again" in run(queue, redriver(machines))["a-0"].reason
    assert machines.redrives == []


def test_an_event_that_turns_out_to_be_wrong_is_told_so() -> None:
    useless = received(
        report(execution_name="a", execution_arn=execution_arn("a"), redrive="useless")
    )
    shown = run(Queue(records("a"), [useless]), redriver(Machines()))
    assert "the event itself is wrong" in shown["m-1"].reason


def test_messages_at_work_are_hidden_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_HOLD_EVERY", 0.05)
    arn = execution_arn("a")
    machines = Machines({arn: failed() | {"status": "RUNNING"}})  # so that it is waited for
    queue = Queue(reports("a", 0))
    run(queue, redriver(machines))
    assert queue.extended


def test_listing_keeps_no_events(monkeypatch: pytest.MonkeyPatch) -> None:
    queue: Any = Queue([*records("a"), *reports("b", 0)])
    listed = list(list_failures(queue, redriver(Machines())))
    assert [one.expected.outcome for one in listed] == [Outcome.REDRIVEN] * 2
    assert all(one.failure.message.body == "" for one in listed)
    assert queue.deleted == []


def test_only_what_is_named_is_discarded() -> None:
    queue: Any = Queue([*records("a", "b"), received("x", message_id="c")])
    shown: list[str] = []
    asked = Asked(["a", "c"])
    discard_messages(queue, asked, True, lambda failure, _: shown.append("dry"))
    assert queue.deleted == []
    discard_messages(queue, asked, False, lambda failure, _: shown.append(str(queue.deleted)))
    assert queue.deleted == ["a", "c"]
    assert shown == ["dry", "dry", "[]", "['a']"]


def test_the_exit_code_follows_the_tally() -> None:
    tally = Tally()
    for outcome in (Outcome.REDRIVEN, Outcome.STARTED_BEFORE, Outcome.REDRIVEN_BEFORE):
        tally.add(Result(outcome, "x"))
    assert tally.is_all_done
    for outcome in (Outcome.LEFT_ALONE, Outcome.FAILED):
        other = Tally()
        other.add(Result(outcome, "x"))
        assert not other.is_all_done
