"""docs/failures.md, "The failure queue itself": the last place to put an event fails too."""

from __future__ import annotations

import json
import uuid

from tests.conftest import wait_for
from tests.failures.matrix import Row, shows
from tests.failures.trouble import Event, Trouble
from tests.service import all_messages, operation

LARGEST_INPUT = 262_144 - 1_024
QUEUE_FAILS = "sqs.SendMessage:service-error"


def struck(trouble: Trouble) -> int:
    return trouble.cloud.struck().get(QUEUE_FAILS, 0)


@shows("a step failed, and the queue is away for a while")
def test_the_queue_is_away_for_a_while(trouble: Trouble, row: Row) -> None:
    trouble.fail("recordOperation:exception")
    trouble.fail(f"{QUEUE_FAILS}:5")
    event = trouble.publish()
    trouble.end(event, row)
    assert trouble.failure(event)["event"]["Records"][0]["Sns"]["MessageId"] == event.message_id
    trouble.put_right(event, row)


@shows("a step failed, and the message is too large")
def test_the_message_is_too_large(trouble: Trouble, row: Row) -> None:
    # An error that tells more than the event leaves room for.
    nowhere = {"Variables": {"CF_OperationsTable": "nowhere" * 30}}
    with trouble.configured("recordOperation", Environment=nowhere):
        event = deliver_of_size(trouble, LARGEST_INPUT)
        trouble.end(event, row)
    failure = trouble.failure(event)
    assert "event" not in failure
    assert "input" in failure["event_is_in"]
    trouble.put_right(event, row)


def deliver_of_size(trouble: Trouble, size: int) -> Event:
    """An event of so many bytes as an execution's input."""
    message, message_id = operation(), str(uuid.uuid4())
    delivery = {"Records": [{"Sns": {"MessageId": message_id, "Message": json.dumps(message)}}]}
    room = size - len(json.dumps({**delivery, "pad": ""}, separators=(",", ":")))
    trouble.deliver({**delivery, "pad": "x" * room})
    return Event(str(message["user_id"]), message_id)


@shows("a step failed, and the queue stays away")
def test_the_queue_stays_away(trouble: Trouble, row: Row) -> None:
    trouble.fail("recordOperation:exception")
    trouble.fail(f"{QUEUE_FAILS}:100%")
    event = trouble.publish()
    trouble.end(event, row)
    trouble.mend()
    states = [
        one["stateEnteredEventDetails"]["name"]
        for one in trouble.history(event)
        if "stateEnteredEventDetails" in one
    ]
    assert states[-2:] == ["ReportFailureWithoutEvent", "FailedUntilRedriven"]
    trouble.put_right(event, row)


@shows("Lambda gave up, and the queue is away")
def test_lambda_gave_up_and_the_queue_is_away(trouble: Trouble, row: Row) -> None:
    before = struck(trouble)
    trouble.fail("invoker:exception:3")
    trouble.fail(QUEUE_FAILS)
    event = trouble.publish()
    wait_for(lambda: struck(trouble) == before + 1)
    trouble.end(event, row, attempts=None)
    queue = trouble.service.stack.failure_queue_url
    assert event.user not in json.dumps(all_messages(trouble.service.aws, queue), default=str)


@shows("SNS could not deliver, and the queue is away")
def test_sns_could_not_deliver_and_the_queue_is_away(own_trouble: Trouble, row: Row) -> None:
    own_trouble.fail(QUEUE_FAILS)
    name = own_trouble.function("invoker")
    own_trouble.client("lambda").delete_function(FunctionName=name)
    event = own_trouble.publish()
    wait_for(lambda: struck(own_trouble) == 1)
    own_trouble.end(event, row, attempts=0)


def test_any_event_that_fails_in_a_step_is_in_the_failure_queue(trouble: Trouble) -> None:
    """Not only SNS's: what is no operation, and no object at all."""
    queue = trouble.service.stack.failure_queue_url
    for event in ({"Records": []}, [1, 2], "text", None, 7):
        trouble.deliver(event)
        [body] = wait_for(lambda: all_messages(trouble.service.aws, queue))
        failure = json.loads(body["Body"])
        assert (failure["error"], failure["event"]) == ("InvalidOperation", event)
        trouble.empty_failure_queue()
