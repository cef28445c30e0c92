"""Each way for an event to die ends in the failure queue, or rings."""

from collections.abc import Callable
from typing import Any

QUEUE = {"Fn::GetAtt": ["FailureQueue", "Arn"]}
FOURTEEN_DAYS = 14 * 24 * 60 * 60


def test_what_sns_cannot_deliver_goes_to_the_failure_queue(variant: Any) -> None:
    [subscription] = variant.package.of_type("AWS::SNS::Subscription").values()
    assert subscription["RedrivePolicy"] == {"deadLetterTargetArn": QUEUE}


def test_sns_delivers_to_the_invoker_or_to_the_queue_and_never_to_both(variant: Any) -> None:
    [subscription] = variant.package.of_type("AWS::SNS::Subscription").values()
    protocol, target = (
        ("sqs", "EventQueue") if variant.buffered else ("lambda", "InvokerLambdaFunction")
    )
    assert subscription["Protocol"] == protocol
    assert subscription["Endpoint"] == {"Fn::GetAtt": [target, "Arn"]}
    # The batch invoker looks for the message ID in SNS's envelope.
    assert "RawMessageDelivery" not in subscription


def test_nothing_of_one_way_of_delivery_is_in_the_stack_of_the_other(variant: Any) -> None:
    buffered = {
        "BatchInvokerEventSourceMappingSQSEventQueue",
        "BatchInvokerLambdaFunction",
        "BatchInvokerLogGroup",
        "BatchInvokerRole",
        "EventQueue",
        "EventQueueOldAlarm",
        "EventQueuePolicy",
    }
    resources = variant.package.resources
    assert set(resources) & {*buffered, "TopicMayInvoke"} == (
        buffered if variant.buffered else {"TopicMayInvoke"}
    )
    assert ("EventQueueUrl" in variant.package.template["Outputs"]) == variant.buffered
    if not variant.buffered:
        assert not [name for name in resources if "EventQueue" in name or "Batch" in name]


def test_what_the_batch_invoker_cannot_start_goes_to_the_failure_queue(
    variant: Any, timeouts: dict[str, int]
) -> None:
    if not variant.buffered:
        return
    queue = variant.package.properties("EventQueue")
    assert queue["RedrivePolicy"]["deadLetterTargetArn"] == QUEUE
    # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
    assert queue["RedrivePolicy"]["maxReceiveCount"] >= 5
    assert queue["VisibilityTimeout"] >= 6 * timeouts["batchInvoker"]
    assert queue["MessageRetentionPeriod"] == FOURTEEN_DAYS


def test_the_batch_invoker_says_which_messages_failed_and_starts_no_faster_than_the_quota(
    variant: Any,
) -> None:
    mappings = variant.package.of_type("AWS::Lambda::EventSourceMapping")
    assert len(mappings) == variant.buffered
    for mapping in mappings.values():
        assert mapping["EventSourceArn"] == {"Fn::GetAtt": ["EventQueue", "Arn"]}
        assert mapping["FunctionName"] == {"Fn::GetAtt": ["BatchInvokerLambdaFunction", "Arn"]}
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        assert (mapping["BatchSize"], mapping["ScalingConfig"]) == (10, {"MaximumConcurrency": 5})


def test_the_alarm_of_the_queue_rings_while_its_messages_only_wait(variant: Any) -> None:
    if not variant.buffered:
        return
    queue = variant.package.properties("EventQueue")
    tries = queue["RedrivePolicy"]["maxReceiveCount"]
    alarm = variant.package.properties("EventQueueOldAlarm")
    assert alarm["MetricName"] == "ApproximateAgeOfOldestMessage"
    [dimension] = alarm["Dimensions"]
    assert dimension["Value"] == {"Fn::GetAtt": ["EventQueue", "QueueName"]}
    assert alarm["Threshold"] <= (tries - 1) * queue["VisibilityTimeout"]
    assert alarm["TreatMissingData"] == "notBreaching"


def test_the_queues_take_messages_as_large_as_sqs_allows(variant: Any) -> None:
    for queue in variant.package.of_type("AWS::SQS::Queue").values():
        assert queue["MaximumMessageSize"] == 1024 * 1024


def test_what_lambda_gives_up_on_goes_to_the_failure_queue(variant: Any) -> None:
    package = variant.package
    [config] = package.of_type("AWS::Lambda::EventInvokeConfig").values()
    assert config["FunctionName"] == {"Ref": "InvokerLambdaFunction"}
    assert config["Qualifier"] == "$LATEST"
    assert config["DestinationConfig"] == {"OnFailure": {"Destination": QUEUE}}
    assert (config["MaximumRetryAttempts"], config["MaximumEventAgeInSeconds"]) == (2, 21_600)


def test_no_event_comes_before_the_way_of_its_failure_is_laid(variant: Any) -> None:
    direct = {"TopicMayInvoke", "FailureQueuePolicy", "InvokerLambdaEvConf"}
    assert set(variant.package.resources["EventSubscription"]["DependsOn"]) == (
        {"EventQueuePolicy", "FailureQueuePolicy"} if variant.buffered else direct
    )


def test_the_failure_queue_keeps_messages_as_long_as_sqs_can(package: Any) -> None:
    assert package.properties("FailureQueue")["MessageRetentionPeriod"] == FOURTEEN_DAYS


def test_each_loss_rings(package: Any) -> None:
    machine = ("StateMachineArn", {"Ref": "OperationLog"})
    invoker = ("FunctionName", {"Ref": "InvokerLambdaFunction"})
    queue = ("QueueName", {"Fn::GetAtt": ["FailureQueue", "QueueName"]})
    expected = {
        ("AWS/States", "ExecutionsFailed"): machine,
        ("AWS/States", "ExecutionsTimedOut"): machine,
        ("AWS/States", "ExecutionsAborted"): machine,
        ("AWS/States", "ExecutionThrottled"): machine,
        ("AWS/SQS", "ApproximateNumberOfMessagesVisible"): queue,
        ("AWS/Lambda", "DestinationDeliveryFailures"): invoker,
        ("AWS/Lambda", "AsyncEventsDropped"): invoker,
    }
    found = {}
    for alarm in package.of_type("AWS::CloudWatch::Alarm").values():
        [dimension] = alarm["Dimensions"]
        found[alarm["Namespace"], alarm["MetricName"]] = (dimension["Name"], dimension["Value"])
        assert alarm["Threshold"] == 1
        assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
        assert alarm["TreatMissingData"] == "notBreaching"
    redrive = found.pop(("AWS/SNS", "NumberOfNotificationsFailedToRedriveToDlq"))
    assert redrive[0] == "TopicName"
    assert found == expected


def test_a_failure_queue_that_is_not_emptied_rings_again_before_messages_are_lost(
    package: Any,
) -> None:
    alarm = package.properties("FailureQueueOldAlarm")
    # Not the oldest message's age: SQS leaves out what was received three times.
    assert alarm["MetricName"] == "ApproximateNumberOfMessagesVisible"
    assert alarm["Statistic"] == "Minimum"
    days = alarm["Period"] * alarm["EvaluationPeriods"]
    assert days < package.properties("FailureQueue")["MessageRetentionPeriod"]
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    assert days <= 7 * 24 * 60 * 60


def test_on_the_way_back_from_the_queue_what_waits_in_it_is_still_started(
    pack: Callable[..., Any],
) -> None:
    package = pack("test", "--param", "delivery=draining")
    [subscription] = package.of_type("AWS::SNS::Subscription").values()
    assert subscription["Protocol"] == "lambda"
    [mapping] = package.of_type("AWS::Lambda::EventSourceMapping").values()
    assert mapping["EventSourceArn"] == {"Fn::GetAtt": ["EventQueue", "Arn"]}
    assert {"TopicMayInvoke", "EventQueuePolicy", "EventQueueOldAlarm"} <= set(package.resources)


def test_alarms_go_to_the_alarm_topic_if_there_is_one(pack: Callable[..., Any]) -> None:
    package = pack("test", "--param", "delivery=buffered")
    target = {"Fn::If": ["HasAlarmTopic", {"Ref": "AlarmTopicArn"}, {"Ref": "AWS::NoValue"}]}
    for alarm in package.of_type("AWS::CloudWatch::Alarm").values():
        assert alarm["AlarmActions"] == [target]
