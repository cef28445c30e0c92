"""Every message once, whatever SQS gives; and all of them back in the end."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from startonce.redrive import failure_queue
from startonce.redrive.failure_queue import HIDDEN, FailureQueue


def error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": ""}}, "ReceiveMessage")


class Sqs:
    """Answers each receive with the next of ``answers``, then with nothing."""

    def __init__(self, *answers: list[str] | Exception) -> None:
        self.answers = list(answers)
        self.receives = 0
        self.deleted: list[str] = []
        self.hidden: list[tuple[str, int]] = []
        self.batches: list[int] = []

    def receive_message(self, **asked: Any) -> dict[str, Any]:
        assert asked["WaitTimeSeconds"] > 0
        self.receives += 1
        answer = self.answers.pop(0) if self.answers else []
        if isinstance(answer, Exception):
            raise answer
        messages = [
            {
                "MessageId": one,
                "ReceiptHandle": f"{one}-{self.receives}",
                "Body": "x",
                "Attributes": {"SentTimestamp": "1795428000000"},
            }
            for one in answer
        ]
        return {"Messages": messages} if messages else {}

    def delete_message(self, QueueUrl: str, ReceiptHandle: str) -> None:  # noqa: N803
        self.deleted.append(ReceiptHandle)

    def change_message_visibility_batch(
        self,
        QueueUrl: str,  # noqa: N803
        Entries: list[dict[str, Any]],  # noqa: N803
    ) -> None:
        self.batches.append(len(Entries))
        self.hidden += [(one["ReceiptHandle"], one["VisibilityTimeout"]) for one in Entries]


def ids(queue: FailureQueue) -> list[str]:
    return [one.message_id for batch in queue.batches() for one in batch]


def test_an_empty_answer_is_not_an_empty_queue() -> None:
    sqs = Sqs(["a"], [], ["b"], [], ["c"])
    with FailureQueue(sqs, "url") as queue:
        assert ids(queue) == ["a", "b", "c"]
    assert sqs.hidden == [("a-1", 0), ("b-3", 0), ("c-5", 0)]


def test_each_message_comes_once_and_goes_back_with_its_last_handle() -> None:
    sqs = Sqs(["a", "b"], ["b", "c"], ["a"])
    with FailureQueue(sqs, "url") as queue:
        assert ids(queue) == ["a", "b", "c"]
    assert set(sqs.hidden) == {("a-3", 0), ("b-2", 0), ("c-2", 0)}


def test_it_ends_where_messages_only_come_round_again() -> None:
    names = [f"{number}" for number in range(25)]
    rounds = [names[start : start + 10] for start in (0, 10, 20)] * 10
    sqs = Sqs(*rounds)
    with FailureQueue(sqs, "url") as queue:
        assert sorted(ids(queue)) == sorted(names)
    assert sqs.receives < 10


def test_what_was_deleted_and_comes_again_is_deleted_again() -> None:
    sqs = Sqs(["a"], ["a"])
    with FailureQueue(sqs, "url") as queue:
        for batch in queue.batches():
            for message in batch:
                queue.delete(message)
    assert sqs.deleted == ["a-1", "a-2"]
    assert sqs.hidden == []


def test_long_queues_are_given_back_ten_at_a_time() -> None:
    sqs = Sqs(*([f"{start}-{number}" for number in range(10)] for start in range(3)), ["last"])
    with FailureQueue(sqs, "url") as queue:
        ids(queue)
    assert sqs.batches == [10, 10, 10, 1]


def test_it_is_given_back_whatever_goes_wrong() -> None:
    sqs = Sqs(["a"])

    def stop() -> None:
        with FailureQueue(sqs, "url") as queue:
            next(queue.batches())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        stop()
    assert sqs.hidden == [("a-1", 0)]


def test_messages_at_work_are_hidden_for_longer() -> None:
    sqs = Sqs(["a", "b"])
    with FailureQueue(sqs, "url") as queue:
        [a, b] = next(queue.batches())
        queue.delete(b)
        queue.hold([a, b])
        assert sqs.hidden == [("a-1", HIDDEN)]


@pytest.mark.parametrize("code", ["OverLimit", "AWS.SimpleQueueService.OverLimit"])
def test_when_no_more_can_be_hidden_it_ends_with_what_it_has_and_knows_it(code: str) -> None:
    sqs = Sqs(["a"], error(code), error(code), ["b"])
    with FailureQueue(sqs, "url") as queue:
        assert ids(queue) == ["a"]
        assert queue.may_hold_more


def test_what_could_not_be_hidden_for_a_moment_only_is_not_missing() -> None:
    sqs = Sqs(["a"], error("OverLimit"), ["b"])
    with FailureQueue(sqs, "url") as queue:
        assert ids(queue) == ["a", "b"]
        assert not queue.may_hold_more


def test_a_long_poll_does_not_say_that_no_more_can_be_hidden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(failure_queue, "_ABOUT_ALL_THAT_CAN_BE_HIDDEN", 2)
    with FailureQueue(Sqs(["a"], ["b"]), "url") as queue:
        assert ids(queue) == ["a", "b"]
        assert queue.may_hold_more
    with FailureQueue(Sqs(["a"], ["b"]), "url") as queue:
        for batch in queue.batches():
            queue.delete(batch[0])
        assert not queue.may_hold_more


def test_other_errors_are_the_caller_s() -> None:
    with FailureQueue(Sqs(error("AccessDenied")), "url") as queue, pytest.raises(ClientError):
        ids(queue)
