"""A function runs: its answer, its context, its environment, its versions, its log."""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conformance.account import Account, new_name
from tests.conformance.sources import LAMBDA, LAMBDA_API, documented

pytestmark = documented(f"{LAMBDA_API}/API_Invoke.html")

ECHO = "def handler(event, context): return event"
PROCESS = "def handler(event, context): return os.getpid()"
CONTEXT = f"{LAMBDA}/python-context.html"
ENVIRONMENT = f"{LAMBDA}/lambda-runtime-environment.html"
VERSIONS = f"{LAMBDA}/configuration-versions.html"
ALIASES = f"{LAMBDA}/configuration-aliases.html"
LOGS = f"{LAMBDA}/monitoring-cloudwatchlogs.html"
LOG_FORMAT = f"{LAMBDA}/monitoring-cloudwatchlogs-logformat.html"


def test_the_answer_is_what_the_handler_returns(account: Account) -> None:
    answer = account.function("def handler(event, context): return {'got': event}").invoke("ä")
    assert answer.payload == {"got": "ä"}
    assert answer.fields["StatusCode"] == 200
    assert answer.error is None


def test_a_handler_that_returns_nothing_answers_null(account: Account) -> None:
    assert account.function("def handler(event, context): pass").invoke().body == b"null"


def test_an_invocation_without_a_payload_hands_over_an_empty_object(account: Account) -> None:
    function = account.function(ECHO)
    answer = account.client("lambda").invoke(FunctionName=function.name)
    assert answer["Payload"].read() == b"{}"


@documented(CONTEXT)
def test_the_response_s_request_id_is_the_one_that_the_handler_sees(account: Account) -> None:
    answer = account.function("def handler(e, context): return context.aws_request_id").invoke()
    assert answer.payload == answer.request_id
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", answer.request_id)


def test_the_executed_version_is_latest(account: Account) -> None:
    assert account.function(ECHO).invoke().fields["ExecutedVersion"] == "$LATEST"


@documented(CONTEXT)
def test_the_context_says_which_function_runs(account: Account) -> None:
    function = account.function(
        "def handler(event, c): return [c.function_name, c.function_version, c.memory_limit_in_mb,"
        " c.invoked_function_arn, c.log_group_name]",
        MemorySize=256,
    )
    log_group = f"/aws/lambda/{function.name}"
    expected = [function.name, "$LATEST", "256", function.arn, log_group]
    assert function.invoke().payload == expected


@documented(CONTEXT)
def test_the_remaining_time_counts_down_from_the_timeout(account: Account) -> None:
    function = account.function(
        "def handler(event, context):\n"
        "    before = context.get_remaining_time_in_millis()\n"
        "    time.sleep(0.5)\n"
        "    return [before, context.get_remaining_time_in_millis()]",
        Timeout=7,
    )
    before, after = function.invoke().payload
    assert 6_000 < before <= 7_000
    assert 400 < before - after < 2_000


@documented(CONTEXT)
def test_the_client_context_reaches_the_handler(account: Account) -> None:
    function = account.function("def handler(event, c): return c.client_context.custom")
    text = "eyJjdXN0b20iOiB7ImEiOiAiYiJ9fQ=="  # {"custom": {"a": "b"}}
    assert function.invoke(ClientContext=text).payload == {"a": "b"}


@documented(f"{LAMBDA}/configuration-envvars.html#configuration-envvars-runtime")
def test_the_runtime_sets_its_variables(account: Account) -> None:
    function = account.function(
        "def handler(event, c): return {**os.environ, 'stream': c.log_stream_name}", MemorySize=192
    )
    seen = function.invoke().payload
    expected = {
        "AWS_DEFAULT_REGION": account.target.region,
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "192",
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": seen["stream"],
        "AWS_REGION": account.target.region,
        "TZ": ":UTC",
        "_HANDLER": "app.handler",
    }
    assert {name: seen.get(name) for name in expected} == expected
    assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} <= set(seen)
    assert {"AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR"} <= set(seen)


@documented(f"{LAMBDA}/configuration-envvars.html")
def test_the_function_s_own_variables_are_set(account: Account) -> None:
    function = account.function(
        "def handler(event, context): return os.environ['OWN']",
        Environment={"Variables": {"OWN": "grüße"}},
    )
    assert function.invoke().payload == "grüße"


@documented(f"{LAMBDA}/configuration-envvars.html#configuration-envvars-runtime")
def test_the_code_lies_in_the_task_root_and_runs_there(account: Account) -> None:
    function = account.function(
        "def handler(event, context):\n"
        "    return [os.environ['LAMBDA_TASK_ROOT'], os.getcwd(), os.path.dirname(__file__)]"
    )
    root, folder, code = function.invoke().payload
    assert root == folder == code


@documented(f"{LAMBDA}/configuration-envvars.html#configuration-envvars-runtime")
def test_each_invocation_has_a_trace_id(account: Account) -> None:
    function = account.function("def handler(e, context): return os.environ['_X_AMZN_TRACE_ID']")
    first, second = function.invoke().payload, function.invoke().payload
    assert re.match(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}", first)
    assert first != second


@documented(ENVIRONMENT)
def test_a_warm_environment_is_used_again(account: Account) -> None:
    function = account.function(
        "COUNT = []\ndef handler(event, context):\n    COUNT.append(1)\n    return len(COUNT)"
    )
    assert [function.invoke().payload for _ in range(3)] == [1, 2, 3]


@documented(f"{LAMBDA}/lambda-concurrency.html")
def test_an_environment_handles_one_event_at_a_time(account: Account) -> None:
    function = account.function(
        "BUSY = []\n"
        "def handler(event, context):\n"
        "    BUSY.append(1)\n"
        "    time.sleep(0.5)\n"
        "    return [os.getpid(), len(BUSY), BUSY.clear()]"
    )
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda _: function.invoke().payload, range(2)))
    assert len({process for process, *_ in answers}) == 2
    assert [busy for _, busy, _ in answers] == [1, 1]


@documented(f"{LAMBDA}/lambda-concurrency.html")
def test_many_invocations_at_once_all_have_their_own_answer(account: Account) -> None:
    function = account.function(ECHO)
    with ThreadPoolExecutor(30) as threads:
        answers = list(threads.map(lambda event: function.invoke(event).payload, range(30)))
    assert answers == list(range(30))


@documented(f"{LAMBDA_API}/API_UpdateFunctionCode.html")
def test_new_code_runs_at_the_next_invocation(account: Account) -> None:
    function = account.function("def handler(event, context): return 'old'")
    assert function.invoke().payload == "old"
    function.update_code("def handler(event, context): return 'new'")
    assert function.invoke().payload == "new"


@documented(f"{LAMBDA_API}/API_UpdateFunctionConfiguration.html")
def test_new_variables_are_seen_at_the_next_invocation(account: Account) -> None:
    function = account.function("def handler(event, context): return os.environ.get('A')")
    assert function.invoke().payload is None
    function.update_configuration(Environment={"Variables": {"A": "1"}})
    assert function.invoke().payload == "1"


@documented(f"{LAMBDA_API}/API_UpdateFunctionConfiguration.html")
def test_a_new_timeout_holds_at_the_next_invocation(account: Account) -> None:
    function = account.function(
        "def handler(event, c): return c.get_remaining_time_in_millis()", Timeout=3
    )
    function.invoke()
    function.update_configuration(Timeout=100)
    assert function.invoke().payload > 90_000


@documented(f"{LAMBDA_API}/API_UpdateFunctionCode.html")
def test_an_update_of_the_code_lets_the_running_invocation_finish(account: Account) -> None:
    function = account.function("def handler(event, context): time.sleep(event); return 'old'")
    function.invoke(0)
    with ThreadPoolExecutor() as threads:
        running = threads.submit(function.invoke, 2)
        time.sleep(0.5)  # it must be in the handler: nothing else can tell without changing it
        function.update_code("def handler(event, context): return 'new'")
        assert function.invoke().payload == "new"
        assert running.result().payload == "old"


@documented(f"{LAMBDA_API}/API_UpdateFunctionConfiguration.html")
def test_an_update_of_the_variables_leaves_the_running_invocation_alone(account: Account) -> None:
    function = account.function(
        "def handler(event, context): time.sleep(event); return os.environ['A']",
        Environment={"Variables": {"A": "old"}},
    )
    function.invoke(0)
    with ThreadPoolExecutor() as threads:
        running = threads.submit(function.invoke, 2)
        time.sleep(0.5)
        function.update_configuration(Environment={"Variables": {"A": "new"}})
        assert function.invoke(0).payload == "new"
        assert running.result().payload == "old"


def test_a_dry_run_answers_204_and_runs_nothing(account: Account) -> None:
    function = account.function("N = []\ndef handler(event, c): N.append(1); return len(N)")
    answer = function.invoke(InvocationType="DryRun")
    assert answer.fields["StatusCode"] == 204
    assert answer.body == b""
    assert function.invoke().payload == 1


def test_a_function_is_found_by_its_name_arn_and_partial_arn(account: Account) -> None:
    function = account.function("def handler(event, c): return c.invoked_function_arn")
    number = function.arn.split(":")[4]
    names = (function.name, function.arn, f"{number}:function:{function.name}")
    assert [function.invoke(name=name).payload for name in names] == [function.arn] * 3


@documented(VERSIONS)
def test_latest_may_be_named(account: Account) -> None:
    function = account.function("def handler(event, c): return c.function_version")
    assert function.invoke(Qualifier="$LATEST").payload == "$LATEST"
    assert function.invoke(name=f"{function.name}:$LATEST").payload == "$LATEST"


def publish(account: Account, name: str) -> str:
    client = account.client("lambda")
    version = client.publish_version(FunctionName=name)["Version"]
    client.get_waiter("published_version_active").wait(FunctionName=name, Qualifier=version)
    return str(version)


@documented(VERSIONS)
def test_versions_are_numbered_and_keep_their_code(account: Account) -> None:
    function = account.function("def handler(event, context): return 'old'")
    assert publish(account, function.name) == "1"
    function.update_code("def handler(event, context): return 'new'")
    assert publish(account, function.name) == "2"
    payloads = [function.invoke(Qualifier=one).payload for one in ("1", "2", "$LATEST")]
    assert payloads == ["old", "new", "new"]


@documented(VERSIONS)
def test_a_version_keeps_its_variables(account: Account) -> None:
    function = account.function(
        "def handler(event, context): return os.environ['A']",
        Environment={"Variables": {"A": "old"}},
    )
    version = publish(account, function.name)
    function.update_configuration(Environment={"Variables": {"A": "new"}})
    assert function.invoke(Qualifier=version).payload == "old"
    assert function.invoke().payload == "new"


@documented(f"{LAMBDA_API}/API_PublishVersion.html")
def test_publishing_without_a_change_gives_the_same_version(account: Account) -> None:
    function = account.function(ECHO)
    assert [publish(account, function.name) for _ in range(2)] == ["1", "1"]


@documented(VERSIONS)
def test_the_versions_are_listed(account: Account) -> None:
    function = account.function(ECHO)
    publish(account, function.name)
    listed = account.client("lambda").list_versions_by_function(FunctionName=function.name)
    assert [one["Version"] for one in listed["Versions"]] == ["$LATEST", "1"]


@documented(CONTEXT)
def test_a_version_knows_its_number_and_qualified_arn(account: Account) -> None:
    function = account.function(
        "def handler(event, c): return [c.function_version, c.invoked_function_arn]"
    )
    publish(account, function.name)
    answer = function.invoke(Qualifier="1")
    assert answer.payload == ["1", f"{function.arn}:1"]
    assert answer.fields["ExecutedVersion"] == "1"


@documented(ALIASES)
def test_an_alias_runs_its_version(account: Account) -> None:
    function = account.function(
        "def handler(event, c): return [c.function_version, c.invoked_function_arn]"
    )
    publish(account, function.name)
    account.client("lambda").create_alias(
        FunctionName=function.name, Name="live", FunctionVersion="1"
    )
    by_qualifier = function.invoke(Qualifier="live")
    assert by_qualifier.payload == ["1", f"{function.arn}:live"]
    assert by_qualifier.fields["ExecutedVersion"] == "1"
    assert function.invoke(name=f"{function.arn}:live").payload == by_qualifier.payload


@documented(ALIASES)
def test_an_alias_can_be_moved(account: Account) -> None:
    function = account.function("def handler(event, context): return 'old'")
    client, live = account.client("lambda"), {"FunctionName": function.name, "Name": "live"}
    client.create_alias(**live, FunctionVersion=publish(account, function.name))
    function.update_code("def handler(event, context): return 'new'")
    client.update_alias(**live, FunctionVersion=publish(account, function.name))
    assert function.invoke(Qualifier="live").payload == "new"
    assert client.get_alias(**live)["FunctionVersion"] == "2"


@documented(f"{LAMBDA_API}/API_GetFunctionConfiguration.html")
def test_the_configuration_is_told(account: Account) -> None:
    function = account.function(ECHO, MemorySize=192, Timeout=7, Description="what it is for")
    found = function.configuration()
    expected = {
        "FunctionName": function.name,
        "FunctionArn": function.arn,
        "Runtime": "python3.13",
        "Handler": "app.handler",
        "CodeSize": len(function.code),
        "CodeSha256": function.code_hash,
        "Description": "what it is for",
        "Timeout": 7,
        "MemorySize": 192,
        "Version": "$LATEST",
        "State": "Active",
        "LastUpdateStatus": "Successful",
        "PackageType": "Zip",
    }
    assert {name: found.get(name) for name in expected} == expected


@documented(f"{LAMBDA_API}/API_CreateFunction.html")
def test_a_function_has_3_seconds_and_128_mb_unless_told_otherwise(account: Account) -> None:
    client, name = account.client("lambda"), new_name("f")
    code = account.function(ECHO).code
    found = client.create_function(
        FunctionName=name,
        Runtime="python3.13",
        Handler="app.handler",
        Role=account.default_role,
        Code={"ZipFile": code},
    )
    account.defer(lambda: client.delete_function(FunctionName=name))
    assert (found["Timeout"], found["MemorySize"]) == (3, 128)


@documented(f"{LAMBDA}/configuration-concurrency.html")
def test_reserved_concurrency_of_zero_throttles(account: Account) -> None:
    function = account.function(ECHO)
    function.reserve(0)
    client = account.client("lambda", False)
    with pytest.raises(client.exceptions.TooManyRequestsException) as caught:
        function.invoke()
    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert response["Error"]["Message"] == "Rate Exceeded."
    assert response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"


@documented(f"{LAMBDA}/configuration-concurrency.html")
def test_reserved_concurrency_of_one_lets_one_run_at_a_time(account: Account) -> None:
    function = account.function("def handler(event, context): say(a=1); time.sleep(event)")
    function.reserve(1)
    client = account.client("lambda", False)
    function.send(5)
    function.wait_for_said()
    with pytest.raises(client.exceptions.TooManyRequestsException):
        function.invoke(0)


@documented(LOGS)
def test_the_log_has_start_output_end_and_report(account: Account) -> None:
    function = account.function("def handler(event, context): print('hello')")
    request_id = function.invoke().request_id
    lines = account.wait_for(lambda: log_to_the_report(function.log_lines()))
    own = [line for line in lines if not line.startswith("INIT_START")]
    assert own[:3] == [
        f"START RequestId: {request_id} Version: $LATEST",
        "hello",
        f"END RequestId: {request_id}",
    ]
    fields = dict(field.split(": ") for field in own[3].strip().split("\t"))
    assert fields["REPORT RequestId"] == request_id
    assert fields["Memory Size"] == "128 MB"
    assert {"Duration", "Billed Duration", "Max Memory Used", "Init Duration"} <= set(fields)
    assert re.fullmatch(r"\d+\.\d\d ms", fields["Duration"])
    assert re.fullmatch(r"\d+ ms", fields["Billed Duration"])


def log_to_the_report(lines: list[str]) -> list[str] | None:
    return lines if any(line.startswith("REPORT ") for line in lines) else None


@documented(LOGS)
def test_only_a_cold_start_reports_an_init_duration(account: Account) -> None:
    function = account.function(ECHO)
    logs = [function.invoke(LogType="Tail").log for _ in range(2)]
    assert ["Init Duration:" in log for log in logs] == [True, False]


@documented(LOGS)
def test_the_report_s_duration_is_real(account: Account) -> None:
    function = account.function("def handler(event, context): time.sleep(0.5)")
    [duration] = re.findall(r"\tDuration: ([\d.]+) ms", function.invoke(LogType="Tail").log)
    assert 500 <= float(duration) < 1_500


@documented(LOGS)
def test_an_environment_writes_one_stream(account: Account) -> None:
    function = account.function("def handler(event, c): say(stream=c.log_stream_name)")
    function.invoke()
    function.invoke()
    said = function.wait_for_said(2)
    streams = {event["logStreamName"] for event in function.log_events()}
    assert streams == {one["stream"] for one in said}
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", streams.pop())


def test_the_log_s_tail_comes_with_the_answer(account: Account) -> None:
    function = account.function("def handler(event, context): print('hello')")
    answer = function.invoke(LogType="Tail")
    assert f"START RequestId: {answer.request_id}" in answer.log
    assert "hello\n" in answer.log
    assert f"REPORT RequestId: {answer.request_id}" in answer.log


def test_the_log_s_tail_has_at_most_4_kb(account: Account) -> None:
    function = account.function("def handler(event, context): print('x' * 100_000)")
    log = function.invoke(LogType="Tail").log
    assert 3_000 < len(log) <= 4_096
    assert "REPORT RequestId" in log


def test_without_being_asked_for_the_log_s_tail_is_not_there(account: Account) -> None:
    assert "LogResult" not in account.function(ECHO).invoke().fields


JSON_LOG = {"LogFormat": "JSON"}


@documented(LOG_FORMAT)
def test_json_logs_have_platform_records(account: Account) -> None:
    function = account.function(ECHO, LoggingConfig=JSON_LOG)
    answer = function.invoke(LogType="Tail")
    records = [json.loads(line) for line in answer.log.splitlines()]
    by_type = {record["type"]: record["record"] for record in records if "type" in record}
    assert by_type["platform.start"]["requestId"] == answer.request_id
    assert by_type["platform.start"]["version"] == "$LATEST"
    report = by_type["platform.report"]
    assert (report["requestId"], report["status"]) == (answer.request_id, "success")
    names = {"durationMs", "billedDurationMs", "memorySizeMB", "maxMemoryUsedMB", "initDurationMs"}
    assert names <= set(report["metrics"])


@documented(f"{LAMBDA}/python-logging.html")
def test_json_logs_have_the_logger_s_records(account: Account) -> None:
    function = account.function(
        "import logging\n"
        "def handler(event, context):\n"
        "    logging.getLogger().error('careful', extra={'a': 1})",
        LoggingConfig=JSON_LOG,
    )
    answer = function.invoke(LogType="Tail")
    records = [json.loads(line) for line in answer.log.splitlines()]
    [line] = [record for record in records if record.get("message") == "careful"]
    assert (line["level"], line["a"], line["requestId"]) == ("ERROR", 1, answer.request_id)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", line["timestamp"])


@documented(f"{LAMBDA}/monitoring-cloudwatchlogs-log-level.html")
def test_the_application_s_log_level_keeps_lesser_records_away(account: Account) -> None:
    function = account.function(
        "import logging\n"
        "def handler(event, context):\n"
        "    logging.getLogger().info('chatter')\n"
        "    logging.getLogger().error('careful')",
        LoggingConfig={**JSON_LOG, "ApplicationLogLevel": "ERROR"},
    )
    log = function.invoke(LogType="Tail").log
    assert "careful" in log
    assert "chatter" not in log


@documented(LOG_FORMAT)
def test_text_logs_have_the_logger_s_level_time_and_request_id(account: Account) -> None:
    function = account.function(
        "import logging\ndef handler(event, context): logging.getLogger().error('careful')"
    )
    answer = function.invoke(LogType="Tail")
    moment = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.search(rf"\[ERROR\]\t{moment}\t{answer.request_id}\tcareful", answer.log)


@documented(f"{LAMBDA}/monitoring-cloudwatchlogs-advanced.html")
def test_a_function_can_log_into_another_group(account: Account) -> None:
    client, group = account.client("logs"), new_name("group")
    client.create_log_group(logGroupName=group)
    account.defer(lambda: client.delete_log_group(logGroupName=group))
    function = account.function(
        "def handler(event, context): print(context.log_group_name)",
        LoggingConfig={"LogGroup": group},
    )
    function.invoke()
    account.wait_for(
        lambda: [
            event
            for event in client.filter_log_events(logGroupName=group)["events"]
            if event["message"].rstrip() == group
        ],
        what="the line in the other group",
    )
