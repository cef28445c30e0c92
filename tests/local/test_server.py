"""A server that people leave running stops cleanly, also when it is killed, and harms nobody."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from botocore.exceptions import ClientError

from tests.conftest import REPOSITORY, CloudProcess, start_cloud, wait_for
from tests.local.conftest import Function, MakeFunction, zipped

SLEEPER = (
    "import os, subprocess, time\n"
    "def handler(event, context):\n"
    "    subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
    "    print('sleeping', flush=True)\n"
    "    time.sleep(event or 0)\n"
)


@pytest.fixture
def own_cloud() -> Iterator[CloudProcess]:
    running = start_cloud()
    yield running
    if running.process.poll() is None:
        running.stop()


def make_sleeper(cloud: CloudProcess) -> Function:
    aws = cloud.aws
    trust = '{"Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}]}'  # noqa: E501
    role = aws.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument=trust)["Role"]
    aws.client("lambda").create_function(
        FunctionName="sleeper",
        Role=role["Arn"],
        Runtime="python3.13",
        Handler="app.handler",
        Timeout=600,
        Code={"ZipFile": zipped(app=SLEEPER)},
    )
    return Function(aws, "sleeper")


def descendants(pid: int) -> set[int]:
    return {process.pid for process in psutil.Process(pid).children(recursive=True)}


def alive(pids: set[int]) -> set[int]:
    return {
        pid
        for pid in pids
        if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    }


def folder_of(pid: int) -> Path:
    """The last word of its reaper's command line."""
    for child in psutil.Process(pid).children():
        if any(word.endswith("reaper.py") for word in child.cmdline()):
            return Path(child.cmdline()[-1])
    raise AssertionError("no reaper")


def port_is_free(endpoint: str) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(endpoint.rpartition(":")[2])))
        except OSError:
            return False
        return True


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_after_a_signal(
    signal_number: signal.Signals, own_cloud: CloudProcess
) -> None:
    cloud = own_cloud
    function = make_sleeper(cloud)
    folder = folder_of(cloud.process.pid)
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(lambda: function.invoke(600))
        wait_for(lambda: "sleeping" in function.log_lines())
        processes = descendants(cloud.process.pid)
        assert len(processes) >= 3  # the worker, what it started, the reaper
        assert folder.is_dir()
        cloud.process.send_signal(signal_number)
        code = cloud.process.wait(timeout=10)
        assert code == (-9 if signal_number == signal.SIGKILL else 0)
        running.exception(timeout=10)  # it has ended, whether with an error or with none
    wait_for(lambda: not alive(processes), what="the end of all processes")
    wait_for(lambda: not folder.exists(), what="the end of the folder")
    wait_for(lambda: port_is_free(cloud.endpoint), what="the port")


def test_it_listens_on_loopback_only(own_cloud: CloudProcess) -> None:
    listening = [
        connection.laddr.ip
        for process in (
            psutil.Process(own_cloud.process.pid),
            *psutil.Process(own_cloud.process.pid).children(recursive=True),
        )
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]
    assert set(listening) == {"127.0.0.1"}


def test_a_port_that_is_taken_is_said_in_one_line(own_cloud: CloudProcess) -> None:
    port = own_cloud.endpoint.rpartition(":")[2]
    done = subprocess.run(
        [sys.executable, "-m", "startonce", "up", "--port", port],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert re.fullmatch(rf"Error: port {port} of 127.0.0.1 is taken.*--port 0\n", done.stderr)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--speed", "0"),
        ("--fault", "invoker"),
        ("--fault", "invoker:flood"),
        ("--fault", "states.StartExecution:memory"),
        ("--port", "x"),
    ],
)
def test_wrong_use_is_said_with_exit_code_2(option: str, value: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "startonce", "up", option, value],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert option in done.stderr
    assert "Traceback" not in done.stderr


def test_200_invocations_at_once_neither_deadlock_nor_start_200_processes(
    cloud: CloudProcess, make_function: MakeFunction
) -> None:
    function = make_function(
        "import os, time\ndef handler(event, context): time.sleep(0.01); return os.getpid()"
    )
    with ThreadPoolExecutor(50) as threads:
        pids = list(threads.map(lambda _: function.invoke()["Payload"], range(200)))
    assert len(pids) == 200
    assert len(set(pids)) <= max(2, os.cpu_count() or 1)


def test_a_function_that_calls_itself_does_not_wait_for_ever(make_function: MakeFunction) -> None:
    function = make_function(
        "import boto3, json\n"
        "def handler(event, context):\n"
        "    if event == 0: return [context.aws_request_id]\n"
        "    answer = boto3.client('lambda').invoke(\n"
        "        FunctionName=context.function_name, Payload=json.dumps(event - 1))\n"
        "    return json.load(answer['Payload']) + [context.aws_request_id]\n",
        Timeout=60,
    )
    answer = function.invoke(4)
    assert len(set(answer["Payload"])) == 5, answer


def test_a_handler_that_prints_without_end_harms_nobody_else(make_function: MakeFunction) -> None:
    loud = make_function(
        "def handler(event, context):\n    while True: print('x' * 1000)", Timeout=2
    )
    quiet = make_function("def handler(event, context): return 'fine'")
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(loud.invoke)
        assert quiet.invoke()["Payload"] == "fine"
        assert running.result(timeout=30)["Payload"]["errorType"] == "Sandbox.Timedout"


def test_a_handler_that_ignores_sigterm_is_killed_at_its_time_out(
    make_function: MakeFunction,
) -> None:
    function = make_function(
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "def handler(event, context): time.sleep(60)",
        Timeout=1,
    )
    began = time.monotonic()
    assert function.invoke()["Payload"]["errorType"] == "Sandbox.Timedout"
    assert time.monotonic() - began < 10


def test_an_answer_that_is_no_json_is_a_function_error(make_function: MakeFunction) -> None:
    function = make_function("def handler(event, context): return {1, 2}")
    answer = function.invoke()
    assert answer["FunctionError"] == "Unhandled"
    assert answer["Payload"]["errorType"] == "Runtime.MarshalError"


def test_a_service_that_nobody_implements_is_refused_by_name(cloud: CloudProcess) -> None:
    signed = "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/nosuch/aws4_request"
    request = urllib.request.Request(
        cloud.endpoint, data=b"", headers={"Authorization": signed}, method="POST"
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)
    assert caught.value.code == 501
    assert b"NotImplemented" in caught.value.read()


@pytest.mark.parametrize(
    ("service", "operation", "arguments"),
    [
        ("sns", "create_sms_sandbox_phone_number", {"PhoneNumber": "+15555550100"}),
        ("stepfunctions", "validate_state_machine_definition", {"definition": "{}"}),
        ("lambda", "get_account_settings", {}),
        ("sqs", "start_message_move_task", {"SourceArn": "arn:aws:sqs:us-east-1:1:q"}),
    ],
)
def test_an_action_that_nobody_implements_is_refused_by_name(
    cloud: CloudProcess, service: str, operation: str, arguments: dict[str, str]
) -> None:
    client = cloud.aws.client(service)
    client.meta.events.register(f"needs-retry.{service}.*", lambda **_: None)
    with pytest.raises(ClientError) as caught:
        getattr(client, operation)(**arguments)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert "NotImplemented" in str(caught.value)


def test_a_second_signal_does_not_strike_the_clean_up(own_cloud: CloudProcess) -> None:
    make_sleeper(own_cloud)
    folder = folder_of(own_cloud.process.pid)
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        own_cloud.process.send_signal(signal_number)
    assert own_cloud.process.wait(timeout=10) == 0
    assert not folder.exists()
