"""What is done with each kind of failure, in every state that an execution can be in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from startonce.redrive.failure_messages import Failure, parse
from startonce.redrive.redriving import Outcome, Result
from tests.redrive.messages import (
    ACCOUNT,
    EVENT_QUEUE,
    REQUEST_ID,
    SENT_BY_SNS,
    SNS_ID,
    TARGET,
    execution_arn,
    lambda_record,
    received,
    report,
)
from tests.redrive.step_functions import (
    A_STEP_FAILED,
    FIRST_RUN,
    LONG_AGO,
    NOT_REPORTED,
    REPORTED,
    Bucket,
    ExecutionAlreadyExists,
    ExecutionDoesNotExist,
    ExecutionNotRedrivable,
    Machines,
    error,
    failed,
    redriver,
)

BY_MESSAGE_ID = replace(TARGET, by_message_id=True)
WITH_BUCKET = replace(TARGET, large_events_bucket="large")
LARGE = {"Records": [{"Sns": {"MessageId": SNS_ID, "Message": "ä" * 140_000}}]}


def given_up(**changes: Any) -> Failure:
    return parse(received(lambda_record(**changes)))


def reported(**changes: Any) -> Failure:
    return parse(received(report(**changes)))


# Events


def test_the_execution_is_started_as_the_invoker_starts_it() -> None:
    machines = Machines()
    event = {"text": "ä\ud800 ", "number": 1.0}
    result = redriver(machines).redrive(given_up(requestPayload=event))
    assert result == Result(Outcome.REDRIVEN, "its execution is started", REQUEST_ID)
    assert machines.starts == [(REQUEST_ID, '{"text":"ä\\ud800 ","number":1.0}')]


@pytest.mark.parametrize(
    ("failure", "target", "name"),
    [
        (given_up(), TARGET, REQUEST_ID),
        (given_up(), BY_MESSAGE_ID, SNS_ID),
        (given_up(requestPayload={}), BY_MESSAGE_ID, REQUEST_ID),
        (parse(received(SENT_BY_SNS)), TARGET, SNS_ID),
        (parse(received(SENT_BY_SNS)), BY_MESSAGE_ID, SNS_ID),
        (parse(received(SENT_BY_SNS, source_arn=EVENT_QUEUE)), TARGET, "m-1"),
        (parse(received(SENT_BY_SNS, source_arn=EVENT_QUEUE)), BY_MESSAGE_ID, SNS_ID),
    ],
)
def test_the_name_is_the_one_of_the_first_time(failure: Failure, target: Any, name: str) -> None:
    machines = Machines()
    assert redriver(machines, target=target).redrive(failure).may_leave
    assert [one for one, _ in machines.starts] == [name]


ALREADY_STARTED = Result(Outcome.STARTED_BEFORE, "its execution is there", REQUEST_ID)


def looks_at_an_event(described: dict[str, Any], history: list[str]) -> Iterator[Result]:
    """What is found of an event whose execution is there: as it is, and by its other name."""
    arn, machines = execution_arn(), Machines(start_error=error(ExecutionAlreadyExists))
    machines.executions[arn], machines.histories[arn] = described, history
    for target in (TARGET, BY_MESSAGE_ID):
        here = redriver(machines, target=target)
        yield here.foresee(given_up())
        yield here.redrive(given_up())
    assert machines.redrives == []


@pytest.mark.parametrize("status", ["RUNNING", "SUCCEEDED", "PENDING_REDRIVE"])
def test_an_execution_that_ran_is_not_started_again(status: str) -> None:
    for result in looks_at_an_event({"status": status}, []):
        assert result == ALREADY_STARTED
        assert result.may_leave


def test_an_execution_that_failed_and_told_so_has_a_message_of_its_own() -> None:
    for history in (
        FIRST_RUN,
        [*A_STEP_FAILED, *NOT_REPORTED[:-1], *REPORTED],
        [*A_STEP_FAILED, *NOT_REPORTED, "ExecutionRedriven", *A_STEP_FAILED[1:], *REPORTED],
        # The redrive of one of which nobody may run a step again.
        [*FIRST_RUN, "ExecutionRedriven", "FailStateEntered", "ExecutionFailed"],
    ):
        for result in looks_at_an_event(failed(), history):
            assert result == ALREADY_STARTED


@pytest.mark.parametrize(
    ("status", "history"),
    [
        ("ABORTED", ["ExecutionStarted", "LambdaFunctionScheduled", "ExecutionAborted"]),
        ("TIMED_OUT", ["ExecutionStarted", "LambdaFunctionScheduled", "ExecutionTimedOut"]),
        ("ABORTED", FIRST_RUN),
        ("FAILED", [*A_STEP_FAILED, *NOT_REPORTED]),
        ("FAILED", ["ExecutionStarted", "TaskScheduled:publish", "ExecutionFailed"]),
        ("FAILED", ["ExecutionStarted", "ExecutionFailed"]),
        # The message that it wrote before is none of this failure.
        ("FAILED", [*FIRST_RUN, "ExecutionRedriven", *A_STEP_FAILED[1:], *NOT_REPORTED]),
        # A copy's own step sends a message, and the one behind it fails.
        ("FAILED", ["TaskSucceeded:sendMessage", "LambdaFunctionScheduled", "ExecutionFailed"]),
    ],
)
def test_an_execution_that_ended_unheard_keeps_the_message(status: str, history: list[str]) -> None:
    for result in looks_at_an_event(failed() | {"status": status}, history):
        assert (result.outcome, result.may_leave) == (Outcome.LEFT_ALONE, False)
        assert "ended without a message in the failure queue" in result.reason
        command = f"aws stepfunctions redrive-execution --execution-arn {execution_arn()}"
        assert result.detail == f"{status}: {command}"


def test_an_execution_that_ended_unheard_too_long_ago_is_told() -> None:
    why = "Execution redrivable period exceeded"
    described = failed(redriveStatus="NOT_REDRIVABLE", redriveStatusReason=why)
    for result in looks_at_an_event(described | {"status": "ABORTED"}, []):
        assert result.outcome is Outcome.LEFT_ALONE
        assert result.detail == f"ABORTED, and cannot be redriven: {why}"


def test_an_execution_that_cannot_be_seen_yet_keeps_the_message() -> None:
    machines = Machines(start_error=error(ExecutionAlreadyExists))
    result = redriver(machines).redrive(given_up())
    assert result.outcome is Outcome.LEFT_ALONE
    assert "try again later" in result.reason


def test_an_execution_that_runs_is_recognised_by_its_start_date() -> None:
    result = redriver(Machines(start_date=LONG_AGO)).redrive(given_up())
    assert (result.outcome, result.may_leave) == (Outcome.STARTED_BEFORE, True)


@pytest.mark.parametrize(("target", "other"), [(TARGET, SNS_ID), (BY_MESSAGE_ID, REQUEST_ID)])
def test_an_execution_under_the_other_name_counts_too(target: Any, other: str) -> None:
    machines = Machines({execution_arn(other): {"status": "SUCCEEDED"}})
    result = redriver(machines, target=target).redrive(given_up())
    assert result == Result(Outcome.STARTED_BEFORE, "its execution is there", other)
    assert machines.starts == []


def test_a_large_event_goes_through_the_bucket() -> None:
    machines, bucket = Machines(), Bucket()
    result = redriver(machines, bucket, WITH_BUCKET).redrive(given_up(requestPayload=LARGE))
    assert result.outcome is Outcome.REDRIVEN
    [(_, text)] = machines.starts
    assert json.loads(text) == [
        "software.amazon.payloadoffloading.PayloadS3Pointer",
        {"s3BucketName": "large", "s3Key": REQUEST_ID},
    ]
    assert json.loads(bucket.objects[f"large/{REQUEST_ID}"]) == LARGE


def test_a_large_event_without_a_bucket_is_left_alone() -> None:
    result = redriver(Machines()).redrive(given_up(requestPayload=LARGE))
    assert result.outcome is Outcome.LEFT_ALONE
    assert "--param largeEvents=bucket" in result.reason


def test_a_bucket_that_refuses_stops_nothing_else() -> None:
    bucket = Bucket(refuses=error(code="AccessDenied"))
    result = redriver(Machines(), bucket, WITH_BUCKET).redrive(given_up(requestPayload=LARGE))
    assert (result.outcome, result.reason) == (Outcome.FAILED, "the bucket said AccessDenied")


@pytest.mark.parametrize(
    "failure",
    [
        given_up(context={"functionArn": "arn:aws:lambda:eu-west-1:1:function:other:$LATEST"}),
        given_up(context={"functionArn": "startonce-dev-invoker"}),
        parse(received({**SENT_BY_SNS, "TopicArn": SENT_BY_SNS["TopicArn"] + "-2"})),
        reported(execution_arn=execution_arn().replace("OperationLog", "Other")),
    ],
)
def test_what_is_of_another_service_is_left_alone(failure: Failure) -> None:
    machines = Machines()
    for result in (redriver(machines).redrive(failure), redriver(machines).expect(failure)):
        assert (result.outcome, result.reason) == (Outcome.LEFT_ALONE, "not of this service")
    assert machines.starts == machines.redrives == []


@pytest.mark.parametrize("queue", [EVENT_QUEUE, f"arn:aws:sqs:us-east-1:{ACCOUNT}:basket"])
def test_what_a_queue_gave_up_is_ours_whichever_queue_that_was(queue: str) -> None:
    # Only SQS says where it came from, and it came into this service's failure queue. The queue
    # itself may be gone, or a copy's own.
    machines, failure = Machines(), parse(received("anything", source_arn=queue))
    assert redriver(machines).expect(failure).may_leave
    assert redriver(machines).redrive(failure).outcome is Outcome.REDRIVEN
    assert [name for name, _ in machines.starts] == ["m-1"]


@pytest.mark.parametrize("name", ["a b", "x" * 81, "a/b", "a\n"])
def test_what_no_execution_can_be_called_is_left_alone(name: str) -> None:
    result = redriver(Machines()).redrive(given_up(context={"requestId": name}))
    assert result == Result(Outcome.LEFT_ALONE, "no execution can have its name")


@pytest.mark.parametrize("code", ["ThrottlingException", "InvalidExecutionInput"])
def test_what_goes_wrong_for_one_message_is_told(code: str) -> None:
    machines = Machines(start_error=error(code=code, message="why"))
    result = redriver(machines).redrive(given_up())
    assert result == Result(Outcome.FAILED, code, "why")
    assert not result.may_leave


@pytest.mark.parametrize(
    "code", ["AccessDeniedException", "ExpiredTokenException", "StateMachineDoesNotExist"]
)
def test_what_goes_wrong_for_all_is_raised(code: str) -> None:
    with pytest.raises(ClientError, match=code):
        redriver(Machines(start_error=error(code=code))).redrive(given_up())


# Steps


def test_an_execution_that_failed_is_redriven() -> None:
    machines = Machines({execution_arn(): failed()}, {execution_arn(): [*FIRST_RUN]})
    result = redriver(machines).redrive(reported())
    assert result == Result(Outcome.REDRIVEN, "its steps run again", REQUEST_ID)
    [(arn, token)] = machines.redrives
    assert arn == execution_arn()
    assert len(token) == 64


def test_everybody_redrives_with_one_token_and_the_next_failure_has_another() -> None:
    tokens = []
    for count in (0, 0, 1):
        machines = Machines(
            {execution_arn(): failed(count)},
            {execution_arn(): [*FIRST_RUN, *["ExecutionRedriven"] * count]},
        )
        redriver(machines).redrive(reported(redrive_count=count))
        tokens += [token for _, token in machines.redrives]
    assert tokens[0] == tokens[1] != tokens[2]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"redrive": "useless"}, "useless, the event itself is wrong"),
        ({"redrive": None}, "its state machine is an older one"),
        ({"redrive_count": None}, "its state machine is an older one"),
        ({"redrive": "perhaps"}, "unknown redrive 'perhaps'"),
        ({"redrive": "may_repeat"}, "see --may-repeat"),
    ],
)
def test_what_is_not_safe_is_left_alone(changes: dict[str, Any], reason: str) -> None:
    machines = Machines({execution_arn(): failed()}, {execution_arn(): [*FIRST_RUN]})
    here = redriver(machines)
    for result in (here.expect(reported(**changes)), here.redrive(reported(**changes))):
        assert result.outcome is Outcome.LEFT_ALONE
        assert reason in result.reason
    assert machines.redrives == []


def test_what_may_repeat_is_redriven_where_that_is_allowed() -> None:
    machines = Machines({execution_arn(): failed()}, {execution_arn(): [*FIRST_RUN]})
    result = redriver(machines, may_repeat=True).redrive(reported(redrive="may_repeat"))
    assert result.outcome is Outcome.REDRIVEN


@pytest.mark.parametrize("redrive", ["safe", "may_repeat"])
@pytest.mark.parametrize("status", ["RUNNING", "FAILED", "SUCCEEDED"])
def test_what_was_redriven_before_is_not_redriven_again(redrive: str, status: str) -> None:
    machines = Machines(
        {execution_arn(): failed(1) | {"status": status}},
        {execution_arn(): [*FIRST_RUN, "ExecutionRedriven", "LambdaFunctionScheduled"]},
    )
    result = redriver(machines).redrive(reported(redrive=redrive))
    assert (result.outcome, result.may_leave) == (Outcome.REDRIVEN_BEFORE, True)
    assert machines.redrives == []


def test_of_several_redrives_one_that_ran_a_step_is_enough() -> None:
    history = [*FIRST_RUN, "ExecutionRedriven", "LambdaFunctionScheduled", "ExecutionRedriven"]
    machines = Machines({execution_arn(): failed(2)}, {execution_arn(): history})
    assert redriver(machines).redrive(reported()).may_leave
    assert not redriver(machines).redrive(reported(redrive_count=1)).may_leave


def test_a_redrive_before_that_ran_no_step_leaves_the_message() -> None:
    machines = Machines(
        {execution_arn(): failed(1, error="Refused")},
        {execution_arn(): [*FIRST_RUN, "ExecutionRedriven", "ExecutionFailed"]},
    )
    result = redriver(machines).redrive(reported())
    assert result == Result(
        Outcome.LEFT_ALONE, "was redriven, which ran no step", "it ended with Refused"
    )


def test_a_redrive_that_leads_nowhere_leaves_the_message() -> None:
    machines = Machines({execution_arn(): failed()}, {execution_arn(): [*FIRST_RUN]})

    def fail(arn: str) -> None:
        machines.executions[arn] = failed(1, error="Refused")
        machines.histories[arn] += ["ExecutionRedriven", "FailStateEntered", "ExecutionFailed"]

    machines.on_redrive = fail
    result = redriver(machines).redrive(reported())
    assert (result.outcome, result.detail) == (Outcome.LEFT_ALONE, "it ended with Refused")


def test_a_redrive_that_does_not_begin_in_time_leaves_the_message() -> None:
    machines = Machines({execution_arn(): failed()}, {execution_arn(): [*FIRST_RUN]})
    machines.on_redrive = lambda arn: None
    result = redriver(machines).redrive(reported())
    assert result.outcome is Outcome.LEFT_ALONE
    assert "look again later" in result.reason


def test_somebody_else_may_be_faster() -> None:
    machines = Machines({execution_arn(): failed()}, {execution_arn(): [*FIRST_RUN]})

    def refuse(arn: str) -> None:
        machines.executions[arn] = failed(1) | {"status": "RUNNING"}
        machines.histories[arn] += ["ExecutionRedriven", "LambdaFunctionScheduled"]
        raise error(ExecutionNotRedrivable)

    machines.on_redrive = refuse
    assert redriver(machines).redrive(reported()).outcome is Outcome.REDRIVEN_BEFORE


def test_an_execution_that_is_too_old_is_told() -> None:
    why = "Execution redrivable period exceeded"
    described = failed(redriveStatus="NOT_REDRIVABLE", redriveStatusReason=why)
    machines = Machines({execution_arn(): described})
    expected = Result(Outcome.LEFT_ALONE, "cannot be redriven (any more)", why)
    assert redriver(machines).foresee(reported()) == expected
    assert redriver(machines).redrive(reported()) == expected

    def refuse(arn: str) -> None:
        raise error(ExecutionNotRedrivable, message=why)

    machines = Machines({execution_arn(): failed()}, on_redrive=refuse)
    assert redriver(machines).redrive(reported()) == expected


def test_an_execution_that_is_gone_is_told() -> None:
    assert "is gone" in redriver(Machines()).redrive(reported()).reason

    def refuse(arn: str) -> None:
        raise error(ExecutionDoesNotExist)

    machines = Machines({execution_arn(): failed()}, on_redrive=refuse)
    assert "is gone" in redriver(machines).redrive(reported()).reason


def test_an_execution_that_still_runs_is_left_alone() -> None:
    machines = Machines({execution_arn(): failed() | {"status": "RUNNING"}})
    result = redriver(machines).redrive(reported())
    assert (result.outcome, machines.redrives) == (Outcome.LEFT_ALONE, [])
    assert "still running" in result.reason


def test_an_execution_that_succeeded_needs_no_redrive() -> None:
    machines = Machines({execution_arn(): failed() | {"status": "SUCCEEDED"}})
    assert redriver(machines).redrive(reported()).outcome is Outcome.REDRIVEN_BEFORE
    assert machines.redrives == []


@pytest.mark.parametrize("status", ["FAILED", "TIMED_OUT", "ABORTED"])
def test_foreseeing_changes_nothing(status: str) -> None:
    machines = Machines({execution_arn(): failed() | {"status": status}})
    assert redriver(machines).foresee(reported()).outcome is Outcome.REDRIVEN
    assert redriver(machines).foresee(parse(received(SENT_BY_SNS))).outcome is Outcome.REDRIVEN
    assert redriver(machines).foresee(given_up()).outcome is Outcome.LEFT_ALONE
    assert machines.starts == machines.redrives == []


def test_what_is_not_understood_is_left_alone() -> None:
    machines = Machines()
    for look in (redriver(machines).expect, redriver(machines).foresee, redriver(machines).redrive):
        result = look(parse(received("hello")))
        assert result == Result(Outcome.LEFT_ALONE, "not understood", "it is not JSON")
