import io
import json
from types import ModuleType
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError
from botocore.response import StreamingBody

KIND = "software.amazon.payloadoffloading.PayloadS3Pointer"


@pytest.fixture
def pointers(load: Any) -> ModuleType:
    module: ModuleType = load("event_pointer")
    return module


def to(name: str) -> list[Any]:
    return [KIND, {"s3BucketName": "large-events", "s3Key": name}]


@pytest.mark.parametrize(
    "event",
    [
        None,
        [],
        "text",
        7,
        {"Records": []},
        [KIND],
        [KIND, None],
        [KIND, {}],
        [KIND, {"s3BucketName": "large-events"}],
        [KIND, {"s3BucketName": "large-events", "s3Key": 7}],
        ["another", {"s3BucketName": "large-events", "s3Key": "e-1"}],
        {"0": KIND, "1": {"s3BucketName": "large-events", "s3Key": "e-1"}},
        [*to("e-1"), 7],
    ],
)
def test_what_is_no_pointer_is_the_event(pointers: ModuleType, event: Any) -> None:
    assert pointers.resolve(event) is event
    assert pointers.S3.cache_info().currsize == 0


def test_a_pointer_becomes_the_event(pointers: ModuleType, bucket: Any) -> None:
    event = {"text": "Grüße 🎉", "none": None}
    bucket.put_object(Key="e-1", Body=json.dumps(event, ensure_ascii=False).encode())
    assert pointers.resolve(to("e-1")) == event
    assert pointers.resolve(to("e-1")) == event
    assert pointers.S3.cache_info().misses == 1


def test_an_object_that_is_gone_is_so_for_good(pointers: ModuleType, bucket: Any) -> None:
    with pytest.raises(pointers.EventGone, match="s3://large-events/e-1"):
        pointers.resolve(to("e-1"))


def test_a_bucket_that_is_gone_is_so_for_good(pointers: ModuleType) -> None:
    with pytest.raises(pointers.EventGone, match="NoSuchBucket"):
        pointers.resolve(to("e-1"))


@pytest.mark.parametrize(
    ("failure", "name"),
    [
        # What S3 says to a role that may not list, of an object that is not there.
        (ClientError({"Error": {"Code": "AccessDenied"}}, "GetObject"), "EventGone"),
        (ClientError({"Error": {"Code": "SlowDown"}}, "GetObject"), "EventUnavailable"),
        (ClientError({"Error": {"Code": "InternalError"}}, "GetObject"), "EventUnavailable"),
        (ReadTimeoutError(endpoint_url="s3"), "EventUnavailable"),
        (EndpointConnectionError(endpoint_url="s3"), "EventUnavailable"),
    ],
)
def test_a_failure_says_whether_another_try_helps(
    pointers: ModuleType, failure: Exception, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: Any) -> None:
        raise failure

    monkeypatch.setattr(pointers.S3(), "get_object", fail)
    with pytest.raises(getattr(pointers, name)):
        pointers.resolve(to("e-1"))


def test_a_body_that_breaks_off_is_worth_another_try(
    pointers: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = {"Body": StreamingBody(io.BytesIO(b'{"half'), content_length=100)}
    monkeypatch.setattr(pointers.S3(), "get_object", lambda **_: cut)
    with pytest.raises(pointers.EventUnavailable):
        pointers.resolve(to("e-1"))
