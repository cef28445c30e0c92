"""Each way for an event to die ends in the failure queue, or rings."""

from typing import Any

QUEUE = {"Fn::GetAtt": ["FailureQueue", "Arn"]}


def test_what_sns_cannot_deliver_goes_to_the_failure_queue(package: Any) -> None:
    subscription = package.properties("EventSubscription")
    assert subscription["Protocol"] == "lambda"
    assert subscription["Endpoint"] == {"Fn::GetAtt": ["InvokerLambdaFunction", "Arn"]}
    assert subscription["RedrivePolicy"] == {"deadLetterTargetArn": QUEUE}


def test_what_lambda_gives_up_on_goes_to_the_failure_queue(package: Any) -> None:
    [config] = package.of_type("AWS::Lambda::EventInvokeConfig").values()
    assert config["FunctionName"] == {"Ref": "InvokerLambdaFunction"}
    assert config["Qualifier"] == "$LATEST"
    assert config["DestinationConfig"] == {"OnFailure": {"Destination": QUEUE}}
    assert (config["MaximumRetryAttempts"], config["MaximumEventAgeInSeconds"]) == (2, 21_600)


def test_no_event_comes_before_the_way_of_its_failure_is_laid(package: Any) -> None:
    assert set(package.resources["EventSubscription"]["DependsOn"]) == {
        "TopicMayInvoke",
        "FailureQueuePolicy",
        "InvokerLambdaEvConf",
    }


def test_the_failure_queue_keeps_messages_as_long_as_sqs_can(package: Any) -> None:
    assert package.properties("FailureQueue")["MessageRetentionPeriod"] == 14 * 24 * 60 * 60


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
        ("AWS/SQS", "ApproximateAgeOfOldestMessage"): queue,
        ("AWS/Lambda", "DestinationDeliveryFailures"): invoker,
        ("AWS/Lambda", "AsyncEventsDropped"): invoker,
    }
    found = {}
    for alarm in package.of_type("AWS::CloudWatch::Alarm").values():
        [dimension] = alarm["Dimensions"]
        found[alarm["Namespace"], alarm["MetricName"]] = (dimension["Name"], dimension["Value"])
        # Seconds for the one that rings before SQS throws the oldest message away, after 14 days.
        old = alarm["MetricName"] == "ApproximateAgeOfOldestMessage"
        assert alarm["Threshold"] == (10 * 24 * 3600 if old else 1)
        assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
        assert alarm["TreatMissingData"] == "notBreaching"
    redrive = found.pop(("AWS/SNS", "NumberOfNotificationsFailedToRedriveToDlq"))
    assert redrive[0] == "TopicName"
    assert found == expected


def test_alarms_go_to_the_alarm_topic_if_there_is_one(package: Any) -> None:
    target = {"Fn::If": ["HasAlarmTopic", {"Ref": "AlarmTopicArn"}, {"Ref": "AWS::NoValue"}]}
    for alarm in package.of_type("AWS::CloudWatch::Alarm").values():
        assert alarm["AlarmActions"] == [target]
