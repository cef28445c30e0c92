"""A function runs as on AWS: its answer, its errors, its environment, its log."""

from __future__ import annotations

import base64
import json

import pytest
from botocore.exceptions import ClientError

from startonce.aws import Aws
from tests.conftest import wait_for
from tests.local.conftest import MakeFunction, zipped


def test_a_function_answers_with_what_its_handler_returns(make_function: MakeFunction) -> None:
    function = make_function("def handler(event, context): return {'got': event}")
    answer = function.invoke({"text": "ä"})
    assert answer["StatusCode"] == 200
    assert answer["ExecutedVersion"] == "$LATEST"
    assert answer["Payload"] == {"got": {"text": "ä"}}
    assert "FunctionError" not in answer


def test_the_context_is_aws_s(make_function: MakeFunction) -> None:
    function = make_function(
        "def handler(event, context):\n"
        "    return [context.function_name, context.memory_limit_in_mb,\n"
        "            context.invoked_function_arn, context.aws_request_id,\n"
        "            context.get_remaining_time_in_millis()]",
        MemorySize=256,
    )
    answer = function.invoke()
    name, memory, arn, request_id, left = answer["Payload"]
    assert (name, memory, arn) == (function.name, "256", function.arn)
    assert request_id == answer["ResponseMetadata"]["RequestId"]
    assert 9_000 < left <= 10_000


def test_a_warm_environment_is_used_again(make_function: MakeFunction) -> None:
    function = make_function("import os\ndef handler(event, context): return os.getpid()")
    assert function.invoke()["Payload"] == function.invoke()["Payload"]


def test_new_code_runs_at_the_next_invocation(aws: Aws, make_function: MakeFunction) -> None:
    function = make_function("def handler(event, context): return 1")
    assert function.invoke()["Payload"] == 1
    code = zipped(app="def handler(event, context): return 2")
    aws.client("lambda").update_function_code(FunctionName=function.name, ZipFile=code)
    assert function.invoke()["Payload"] == 2


def test_new_variables_are_seen_at_the_next_invocation(
    aws: Aws, make_function: MakeFunction
) -> None:
    function = make_function("import os\ndef handler(event, context): return os.environ.get('A')")
    assert function.invoke()["Payload"] is None
    aws.client("lambda").update_function_configuration(
        FunctionName=function.name, Environment={"Variables": {"A": "1"}}
    )
    assert function.invoke()["Payload"] == "1"


def test_a_deleted_function_is_not_found(aws: Aws, make_function: MakeFunction) -> None:
    function = make_function("def handler(event, context): return 1")
    function.invoke()
    aws.client("lambda").delete_function(FunctionName=function.name)
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        function.invoke()


def test_an_exception_is_a_function_error(make_function: MakeFunction) -> None:
    function = make_function("def handler(event, context): raise KeyError('x')")
    answer = function.invoke()
    payload = answer["Payload"]
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert (payload["errorType"], payload["errorMessage"]) == ("KeyError", "'x'")
    assert payload["requestId"] == answer["ResponseMetadata"]["RequestId"]
    assert payload["stackTrace"][0].startswith("  File ")


def test_an_error_at_import_is_a_function_error(make_function: MakeFunction) -> None:
    function = make_function("import no_such_module")
    answer = function.invoke()
    assert answer["FunctionError"] == "Unhandled"
    assert answer["Payload"]["errorType"] == "Runtime.ImportModuleError"


def test_a_time_out_ends_the_process_and_the_next_start_is_cold(
    make_function: MakeFunction,
) -> None:
    function = make_function(
        "import os, time\n"
        "def handler(event, context):\n"
        "    if event: time.sleep(60)\n"
        "    return os.getpid()",
        Timeout=1,
    )
    before = function.invoke()["Payload"]
    answer = function.invoke("sleep")
    request_id = answer["ResponseMetadata"]["RequestId"]
    assert answer["FunctionError"] == "Unhandled"
    assert answer["Payload"] == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {request_id} Error: Task timed out after 1.00 seconds",
    }
    assert function.invoke()["Payload"] != before


def test_too_much_memory_kills_the_process(make_function: MakeFunction) -> None:
    function = make_function(
        "import time\n"
        "def handler(event, context):\n"
        "    block = b'1' * (200 << 20)\n"
        "    time.sleep(60)",
        MemorySize=128,
    )
    answer = function.invoke(LogType="Tail")
    request_id = answer["ResponseMetadata"]["RequestId"]
    assert answer["Payload"] == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {request_id} Error: Runtime exited with error: signal: killed",
    }
    assert b"Max Memory Used: 128 MB" in base64.b64decode(answer["LogResult"])


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("os._exit(0)", "Runtime exited without providing a reason"),
        ("os._exit(7)", "Runtime exited with error: exit status 7"),
        ("os.kill(os.getpid(), 11)", "Runtime exited with error: signal: segmentation fault"),
    ],
)
def test_a_process_that_ends_is_an_exit_error(
    make_function: MakeFunction, code: str, message: str
) -> None:
    function = make_function(f"import os\ndef handler(event, context): {code}")
    payload = function.invoke()["Payload"]
    assert payload["errorType"] == "Runtime.ExitError"
    assert payload["errorMessage"].endswith(f" Error: {message}")


def test_the_log_has_start_output_end_and_report(make_function: MakeFunction) -> None:
    function = make_function("def handler(event, context): print('hello')")
    answer = function.invoke(LogType="Tail")
    request_id = answer["ResponseMetadata"]["RequestId"]
    lines = wait_for(function.log_lines)
    assert lines[:3] == [
        f"START RequestId: {request_id} Version: $LATEST",
        "hello",
        f"END RequestId: {request_id}",
    ]
    fields = [field.split(":")[0] for field in lines[3].strip().split("\t")]
    assert fields == [
        "REPORT RequestId",
        "Duration",
        "Billed Duration",
        "Memory Size",
        "Max Memory Used",
        "Init Duration",
    ]
    assert base64.b64decode(answer["LogResult"]).decode().splitlines() == lines


def test_json_logs_are_json(make_function: MakeFunction) -> None:
    function = make_function(
        "import logging\n"
        "def handler(event, context):\n"
        "    logging.getLogger().warning('careful', extra={'a': 1})",
        LoggingConfig={"LogFormat": "JSON"},
    )
    request_id = function.invoke()["ResponseMetadata"]["RequestId"]
    start, line, report = map(json.loads, function.log_lines())
    assert (start["type"], report["type"]) == ("platform.start", "platform.report")
    assert report["record"]["status"] == "success"
    assert (line["level"], line["message"], line["a"]) == ("WARN", "careful", 1) or (
        line["level"],
        line["message"],
        line["a"],
    ) == ("WARNING", "careful", 1)
    assert line["requestId"] == request_id


def test_an_event_that_is_no_json_is_refused(aws: Aws, make_function: MakeFunction) -> None:
    function = make_function("def handler(event, context): return 1")
    with pytest.raises(ClientError, match="InvalidRequestContentException"):
        aws.client("lambda").invoke(FunctionName=function.name, Payload=b"{no")


def test_reserved_concurrency_zero_throttles(aws: Aws, make_function: MakeFunction) -> None:
    function = make_function("def handler(event, context): return 1")
    aws.client("lambda").put_function_concurrency(
        FunctionName=function.name, ReservedConcurrentExecutions=0
    )
    client = aws.client("lambda")
    client.meta.events.register("needs-retry.lambda.Invoke", lambda **_: None)
    with pytest.raises(ClientError, match="TooManyRequestsException") as caught:
        function.invoke()
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429


def test_what_is_not_implemented_is_refused_by_name(make_function: MakeFunction) -> None:
    with pytest.raises(ClientError, match="NotImplemented: the local cloud has no runtime"):
        make_function("", Runtime="nodejs22.x")
