"""A function fails: what the caller gets, what the log says, what the next invocation finds."""

from __future__ import annotations

import re

import pytest

from tests.conformance.account import Account, Function
from tests.conformance.sources import LAMBDA, LAMBDA_API, RUNTIME_CLIENT, documented, recorded

pytestmark = documented(f"{LAMBDA}/python-exceptions.html")

PROCESS = "    return os.getpid()\n"
SLEEPY = "def handler(event, context):\n    if event == 'fail': time.sleep(30)\n" + PROCESS
GREEDY = (
    "def handler(event, context):\n"
    "    if event == 'fail':\n"
    "        block = b'1' * (400 << 20)\n"
    "        time.sleep(30)\n" + PROCESS
)
EXITING = "def handler(event, context):\n    if event == 'fail': os._exit(7)\n" + PROCESS
RAISING = "def handler(event, context):\n    if event == 'fail': raise ValueError('x')\n" + PROCESS


def test_an_exception_is_a_function_error_with_status_200(account: Account) -> None:
    answer = account.function("def handler(event, context): raise KeyError('x')").invoke()
    assert (answer.fields["StatusCode"], answer.error) == (200, "Unhandled")
    assert answer.fields["ExecutedVersion"] == "$LATEST"


@recorded("the payload of an exception has four keys")
def test_an_exception_s_payload_has_message_type_request_id_and_trace(account: Account) -> None:
    answer = account.function("def handler(event, context): raise KeyError('ä')").invoke()
    assert set(answer.payload) == {"errorMessage", "errorType", "requestId", "stackTrace"}
    assert answer.payload["errorMessage"] == "'ä'"
    assert answer.payload["errorType"] == "KeyError"
    assert answer.payload["requestId"] == answer.request_id


def test_a_stack_trace_s_lines_are_python_s(account: Account) -> None:
    function = account.function("def handler(event, c): inner()\ndef inner(): raise KeyError('x')")
    outer, inner = function.invoke().payload["stackTrace"]
    assert re.match(r'  File ".*/app.py", line \d+, in handler\n', outer)
    assert re.match(r'  File ".*/app.py", line \d+, in inner\n', inner)


def test_an_exception_of_one_s_own_class_has_its_name(account: Account) -> None:
    source = "class OutOfTea(Exception): pass\ndef handler(event, context): raise OutOfTea('now')"
    payload = account.function(source).invoke().payload
    assert (payload["errorType"], payload["errorMessage"]) == ("OutOfTea", "now")


def test_an_exception_is_logged_with_its_traceback(account: Account) -> None:
    answer = account.function(RAISING).invoke("fail", LogType="Tail")
    assert "[ERROR] ValueError: x\nTraceback (most recent call last):" in answer.log.replace(
        "\r", "\n"
    )


def test_after_an_exception_the_environment_is_used_again(account: Account) -> None:
    function = account.function(RAISING)
    before = function.invoke().payload
    assert function.invoke("fail").error == "Unhandled"
    assert function.invoke().payload == before


def test_a_result_that_is_no_json_is_a_marshal_error(account: Account) -> None:
    answer = account.function("def handler(event, context): return {1, 2}").invoke()
    assert answer.error == "Unhandled"
    assert answer.payload["errorType"] == "Runtime.MarshalError"
    assert "not JSON serializable" in answer.payload["errorMessage"]


@documented(f"{LAMBDA}/gettingstarted-limits.html")
def test_an_answer_over_6_mb_is_an_error(account: Account) -> None:
    answer = account.function("def handler(event, c): return 'x' * (6 << 20) + 'x' * 200").invoke()
    assert answer.error == "Unhandled"
    assert answer.payload["errorType"] == "Function.ResponseSizeTooLarge"
    assert "exceeded maximum allowed payload size (6291556 bytes)" in answer.payload["errorMessage"]


@documented(f"{LAMBDA}/troubleshooting-invocation.html")
def test_a_module_that_is_missing_is_an_import_error(account: Account) -> None:
    answer = account.function("import no_such_module").invoke()
    assert answer.error == "Unhandled"
    assert answer.payload["errorType"] == "Runtime.ImportModuleError"
    expected = "Unable to import module 'app': No module named 'no_such_module'"
    assert answer.payload["errorMessage"] == expected


@documented(RUNTIME_CLIENT)
def test_a_syntax_error_is_told(account: Account) -> None:
    answer = account.function("def handler(").invoke()
    assert answer.error == "Unhandled"
    assert answer.payload["errorType"] == "Runtime.UserCodeSyntaxError"
    assert answer.payload["errorMessage"].startswith("Syntax error in module 'app': ")


@documented(RUNTIME_CLIENT)
def test_a_handler_that_is_missing_is_told(account: Account) -> None:
    answer = account.function("", Handler="app.nobody").invoke()
    assert answer.error == "Unhandled"
    assert answer.payload["errorType"] == "Runtime.HandlerNotFound"
    assert answer.payload["errorMessage"] == "Handler 'nobody' missing on module 'app'"


@documented(f"{LAMBDA}/lambda-runtime-environment.html")
def test_an_exception_at_import_is_a_function_error(account: Account) -> None:
    answer = account.function("raise ValueError('no luck')").invoke()
    assert answer.error == "Unhandled"
    assert answer.payload["errorType"] == "ValueError"
    assert answer.payload["errorMessage"] == "no luck"


@documented(f"{LAMBDA}/lambda-runtime-environment.html")
def test_an_exit_at_import_is_an_exit_error(account: Account) -> None:
    answer = account.function("os._exit(3)").invoke()
    assert answer.error == "Unhandled"
    assert answer.payload["errorType"] == "Runtime.ExitError"
    assert answer.payload["errorMessage"].endswith("Runtime exited with error: exit status 3")


@documented(f"{LAMBDA}/lambda-runtime-environment.html")
def test_after_an_error_at_import_the_next_invocation_imports_again(account: Account) -> None:
    function = account.function("raise ValueError('no luck')")
    function.invoke()
    function.update_code("def handler(event, context): return 'better'")
    assert function.invoke().payload == "better"


@recorded("payload of a time-out")
def test_a_time_out_s_payload(account: Account) -> None:
    answer = account.function(SLEEPY, Timeout=1).invoke("fail")
    assert (answer.fields["StatusCode"], answer.error) == (200, "Unhandled")
    assert answer.payload == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {answer.request_id} Error: Task timed out after 1.00 seconds",
    }


@documented(f"{LAMBDA}/troubleshooting-invocation.html")
def test_a_time_out_is_in_the_log(account: Account) -> None:
    answer = account.function(SLEEPY, Timeout=1).invoke("fail", LogType="Tail")
    assert f"{answer.request_id} Task timed out after 1.00 seconds" in answer.log
    [duration] = re.findall(r"\tDuration: ([\d.]+) ms", answer.log)
    assert float(duration) == 1000


@documented(f"{LAMBDA}/configuration-timeout.html")
def test_a_time_out_comes_in_time(account: Account) -> None:
    function = account.function(
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "def handler(event, context):\n    say(started=1)\n    time.sleep(6)\n    say(woke=1)",
        Timeout=1,
    )
    assert function.invoke().payload["errorType"] == "Sandbox.Timedout"
    assert function.wait_for_said() == [{"started": 1}]


@recorded("payload of a function that was out of memory")
def test_out_of_memory_is_an_exit_error(account: Account) -> None:
    answer = account.function(GREEDY, MemorySize=128).invoke("fail")
    assert (answer.fields["StatusCode"], answer.error) == (200, "Unhandled")
    message = "Error: Runtime exited with error: signal: killed"
    assert answer.payload == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {answer.request_id} {message}",
    }


@recorded("REPORT line of a function that was out of memory")
def test_out_of_memory_is_in_the_report(account: Account) -> None:
    answer = account.function(GREEDY, MemorySize=128).invoke("fail", LogType="Tail")
    assert "Memory Size: 128 MB\tMax Memory Used: 128 MB" in answer.log


@documented(f"{LAMBDA}/configuration-memory.html")
def test_with_enough_memory_the_same_handler_runs(account: Account) -> None:
    source = "def handler(event, context): return len(b'1' * (200 << 20))"
    assert account.function(source, MemorySize=512).invoke().payload == 200 << 20


@recorded("payloads of processes that ended")
@pytest.mark.parametrize(
    ("code", "message"),
    [
        pytest.param("os._exit(0)", "exited without providing a reason", id="exit 0"),
        pytest.param("os._exit(7)", "exited with error: exit status 7", id="exit 7"),
        pytest.param("sys.exit(1)", "exited with error: exit status 1", id="sys.exit(1)"),
        pytest.param("os.kill(os.getpid(), 9)", "exited with error: signal: killed", id="SIGKILL"),
    ],
)
def test_a_process_that_ends_is_an_exit_error(account: Account, code: str, message: str) -> None:
    answer = account.function(f"def handler(event, context): {code}").invoke()
    assert answer.error == "Unhandled"
    assert answer.payload == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {answer.request_id} Error: Runtime {message}",
    }


@documented("https://github.com/awslabs/aws-lambda-cpp/issues/30")
def test_a_crash_is_an_exit_error(account: Account) -> None:
    answer = account.function("def handler(event, context): os.kill(os.getpid(), 11)").invoke()
    assert answer.payload["errorType"] == "Runtime.ExitError"
    # Not every report of it has the part in brackets.
    message = answer.payload["errorMessage"].removesuffix(" (core dumped)")
    assert message.endswith("Error: Runtime exited with error: signal: segmentation fault")


@documented(f"{LAMBDA}/lambda-runtime-environment.html")
@pytest.mark.parametrize(
    "source",
    [
        pytest.param(SLEEPY, id="time-out"),
        pytest.param(GREEDY, id="out of memory"),
        pytest.param(EXITING, id="exit"),
    ],
)
def test_the_next_invocation_after_the_end_of_the_process_is_cold(
    account: Account, source: str
) -> None:
    function = account.function(source, Timeout=2)
    before = function.invoke().payload
    assert function.invoke("fail").error == "Unhandled"
    after = function.invoke(LogType="Tail")
    assert after.payload != before
    assert "Init Duration" in after.log


@documented(LAMBDA_API + "/API_Invoke.html")
def test_a_failure_harms_no_other_invocation(account: Account) -> None:
    function = account.function(EXITING)

    def ends_well(one: Function, event: str) -> bool:
        return one.invoke(event).error is None

    assert [ends_well(function, event) for event in ("ok", "fail", "ok", "fail", "ok")] == [
        True,
        False,
        True,
        False,
        True,
    ]
