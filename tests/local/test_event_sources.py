"""S3 and EventBridge hand events to functions; SNS's limits; nothing is told twice."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from startonce.aws import Aws
from tests.conftest import wait_for
from tests.local.conftest import Function, MakeFunction

ECHO = "import json\ndef handler(event, context): print('EVENT ' + json.dumps(event))"
NewFunction = Callable[[str, str], Function]


@pytest.fixture
def function_for(aws: Aws, make_function: MakeFunction) -> NewFunction:
    """A function that a service may invoke for a source."""

    def make(service: str, source_arn: str) -> Function:
        function = make_function(ECHO)
        aws.client("lambda").add_permission(
            FunctionName=function.name,
            StatementId="source",
            Action="lambda:InvokeFunction",
            Principal=service,
            SourceArn=source_arn,
        )
        return function

    return make


def events(function: Function) -> list[dict[str, Any]]:
    lines = function.log_lines()
    return [json.loads(line.removeprefix("EVENT ")) for line in lines if line.startswith("EVENT ")]


def some_name() -> str:
    return f"n-{uuid.uuid4().hex[:12]}"


def rule_for(aws: Aws, name: str, function: Function, **target: Any) -> None:
    client = aws.client("events")
    client.put_rule(Name=name, EventPattern=json.dumps({"source": [name]}))
    answer = client.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": function.arn, **target}])
    assert answer["FailedEntryCount"] == 0


def put_event(aws: Aws, name: str, detail: Any = None) -> str:
    entry = {"Source": name, "DetailType": "Made", "Detail": json.dumps(detail or {"size": 1})}
    return str(aws.client("events").put_events(Entries=[entry])["Entries"][0]["EventId"])


def rule_arn(name: str) -> str:
    return f"arn:aws:events:us-east-1:123456789012:rule/{name}"


def test_a_rule_hands_an_event_to_a_function(aws: Aws, function_for: NewFunction) -> None:
    name = some_name()
    function = function_for("events.amazonaws.com", rule_arn(name))
    rule_for(aws, name, function)
    put_event(aws, "somebody else")
    key = put_event(aws, name)
    [event] = wait_for(lambda: events(function))
    moment = event.pop("time")
    assert moment.endswith("Z")
    assert "T" in moment
    assert event == {
        "version": "0",
        "id": key,
        "detail-type": "Made",
        "source": name,
        "account": "123456789012",
        "region": "us-east-1",
        "resources": [],
        "detail": {"size": 1},
    }


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ({"Input": '{"a": 1}'}, {"a": 1}),
        ({"InputPath": "$.detail"}, {"size": 1}),
        (
            {
                "InputTransformer": {
                    "InputPathsMap": {"size": "$.detail.size"},
                    "InputTemplate": '{"it": <size>}',
                }
            },
            {"it": 1},
        ),
    ],
)
def test_a_target_gets_the_input_that_it_asks_for(
    aws: Aws, function_for: NewFunction, target: dict[str, Any], expected: dict[str, Any]
) -> None:
    name = some_name()
    function = function_for("events.amazonaws.com", rule_arn(name))
    rule_for(aws, name, function, **target)
    put_event(aws, name)
    assert wait_for(lambda: events(function)) == [expected]


def test_a_disabled_rule_hands_on_nothing(aws: Aws, function_for: NewFunction) -> None:
    name, other = some_name(), some_name()
    function = function_for("events.amazonaws.com", rule_arn(name))
    rule_for(aws, name, function)
    aws.client("events").disable_rule(Name=name)
    put_event(aws, name, {"no": 1})
    aws.client("events").enable_rule(Name=name)
    put_event(aws, name, {"yes": other})
    assert [event["detail"] for event in wait_for(lambda: events(function))] == [{"yes": other}]


def test_an_event_for_a_function_that_may_not_be_invoked_goes_to_the_dead_letter_queue(
    aws: Aws, make_function: MakeFunction, queue: Callable[[], Any]
) -> None:
    name, failures, function = some_name(), queue(), make_function(ECHO)
    rule_for(aws, name, function, DeadLetterConfig={"Arn": failures.arn})
    put_event(aws, name)
    [message] = wait_for(failures.messages)
    assert json.loads(message["Body"])["source"] == name
    told = {key: value["StringValue"] for key, value in message["MessageAttributes"].items()}
    assert told["ERROR_CODE"] == "NO_PERMISSIONS"
    assert (told["RULE_ARN"], told["TARGET_ARN"]) == (rule_arn(name), function.arn)
    assert events(function) == []


def test_what_nobody_would_act_on_is_refused_by_name(aws: Aws) -> None:
    client, name = aws.client("events"), some_name()
    with pytest.raises(ClientError, match="ScheduleExpression"):
        client.put_rule(Name=name, ScheduleExpression="rate(5 minutes)")
    client.put_rule(Name=name, EventPattern=json.dumps({"source": [name]}))
    with pytest.raises(ClientError, match="target of type ecs"):
        client.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": "arn:aws:ecs:us-east-1:1:x"}])


def test_a_bucket_tells_a_function_of_an_object(aws: Aws, function_for: NewFunction) -> None:
    bucket, client = some_name(), aws.client("s3")
    client.create_bucket(Bucket=bucket)
    function = function_for("s3.amazonaws.com", f"arn:aws:s3:::{bucket}")
    configuration = {
        "Id": "mine",
        "LambdaFunctionArn": function.arn,
        "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"],
        "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "in/"}]}},
    }
    client.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={"LambdaFunctionConfigurations": [configuration]},
    )
    client.put_object(Bucket=bucket, Key="out/a", Body=b"x")
    client.put_object(Bucket=bucket, Key="in/red flower", Body=b"abc")
    [event] = wait_for(lambda: events(function))
    [record] = event["Records"]
    assert (record["eventSource"], record["eventName"]) == ("aws:s3", "ObjectCreated:Put")
    assert {"userIdentity", "requestParameters", "responseElements", "eventTime"} <= set(record)
    described = record["s3"]
    assert described["configurationId"] == "mine"
    assert described["bucket"]["arn"] == f"arn:aws:s3:::{bucket}"
    assert described["object"].pop("sequencer")
    assert described["object"] == {
        "key": "in/red+flower",
        "size": 3,
        "eTag": "900150983cd24fb0d6963f7d28e17f72",
    }
    client.delete_object(Bucket=bucket, Key="in/red flower")
    names = wait_for(
        lambda: (
            [one["Records"][0]["eventName"] for one in events(function)]
            if len(events(function)) == 2
            else None
        )
    )
    assert names == ["ObjectCreated:Put", "ObjectRemoved:Delete"]


def test_a_bucket_from_a_template_tells_a_function(aws: Aws, function_for: NewFunction) -> None:
    bucket = some_name()
    function = function_for("s3.amazonaws.com", f"arn:aws:s3:::{bucket}")
    notification = {
        "LambdaConfigurations": [
            {
                "Event": "s3:ObjectCreated:*",
                "Function": function.arn,
                "Filter": {"S3Key": {"Rules": [{"Name": "suffix", "Value": ".json"}]}},
            }
        ]
    }
    properties = {"BucketName": bucket, "NotificationConfiguration": notification}
    template = {"Resources": {"B": {"Type": "AWS::S3::Bucket", "Properties": properties}}}
    aws.client("cloudformation").create_stack(
        StackName=some_name(), TemplateBody=json.dumps(template)
    )
    for key in ("a.txt", "a.json"):
        aws.client("s3").put_object(Bucket=bucket, Key=key, Body=b"x")
    [event] = wait_for(lambda: events(function))
    assert event["Records"][0]["s3"]["object"]["key"] == "a.json"


@pytest.mark.parametrize("letter", ["a", "ü"])
def test_a_topic_takes_256_kibibytes_in_utf_8(aws: Aws, letter: str) -> None:
    client = aws.client("sns")
    topic = client.create_topic(Name=some_name())["TopicArn"]
    message = letter * (262_144 // len(letter.encode()))
    client.publish(TopicArn=topic, Message=message)
    with pytest.raises(ClientError) as caught:
        client.publish(TopicArn=topic, Message=message + "x")
    error = caught.value.response["Error"]
    assert (error["Code"], error["Message"]) == (
        "InvalidParameter",
        "Invalid parameter: Message too long",
    )


def test_a_subscriber_that_is_gone_is_no_concern_of_the_others(
    aws: Aws, queue: Callable[[], Any]
) -> None:
    client, gone, there = aws.client("sns"), queue(), queue()
    topic = client.create_topic(Name=some_name())["TopicArn"]
    for one in (gone, there):
        statement = {
            "Effect": "Allow",
            "Principal": "*",
            "Action": "sqs:SendMessage",
            "Resource": one.arn,
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        aws.client("sqs").set_queue_attributes(QueueUrl=one.url, Attributes={"Policy": policy})
        client.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=one.arn)
    aws.client("sqs").delete_queue(QueueUrl=gone.url)
    published = client.publish(TopicArn=topic, Message="grüße", Subject="s")
    [message] = wait_for(there.messages)
    body = json.loads(message["Body"])
    assert (body["MessageId"], body["Message"], body["Subject"]) == (
        published["MessageId"],
        "grüße",
        "s",
    )
    assert {"SigningCertURL", "UnsubscribeURL", "Signature"} < set(body)
