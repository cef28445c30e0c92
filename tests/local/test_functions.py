"""What of Lambda the local cloud does not have. What it has: tests/conformance."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from tests.local.conftest import MakeFunction


def test_what_is_not_implemented_is_refused_by_name(make_function: MakeFunction) -> None:
    with pytest.raises(ClientError, match="NotImplemented: the local cloud has no runtime"):
        make_function("", Runtime="nodejs22.x")


def test_code_that_is_none_leaves_the_present_code(make_function: MakeFunction) -> None:
    function = make_function("def handler(event, context): return 1")
    client = function.aws.client("lambda")
    for code, message in (
        ({"ZipFile": b"no zip"}, "Could not unzip uploaded file"),
        ({"S3Bucket": "nobody", "S3Key": "x"}, "S3 Error Code: NoSuchBucket"),
    ):
        with pytest.raises(ClientError, match=message) as caught:
            client.update_function_code(FunctionName=function.name, **code)
        assert caught.value.response["Error"]["Code"] == "InvalidParameterValueException"
    assert function.invoke()["Payload"] == 1


def test_a_configuration_that_cannot_be_changes_nothing(make_function: MakeFunction) -> None:
    function = make_function("def handler(event, context): return 1")
    client = function.aws.client("lambda")
    with pytest.raises(ClientError, match="'memorySize' failed to satisfy constraint"):
        client.update_function_configuration(
            FunctionName=function.name, MemorySize=20_000, Description="other"
        )
    assert client.get_function_configuration(FunctionName=function.name)["Description"] == ""


def test_a_version_s_number_is_given_once(make_function: MakeFunction) -> None:
    function = make_function("def handler(event, context): return 1")
    client = function.aws.client("lambda")

    def publish(description: str) -> str:
        client.update_function_configuration(FunctionName=function.name, Description=description)
        return str(client.publish_version(FunctionName=function.name)["Version"])

    assert [publish("one"), publish("two")] == ["1", "2"]
    client.delete_function(FunctionName=function.name, Qualifier="1")
    assert publish("three") == "3"
