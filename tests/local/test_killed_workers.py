"""A worker that somebody killed: replaced while it was idle, a failed attempt while it was busy."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import psutil

from tests.conftest import wait_for
from tests.local.conftest import Function, MakeFunction

BUSY = """
import os, time

def handler(event, context):
    print('pid', os.getpid(), flush=True)
    time.sleep(event or 0)
    return os.getpid()
"""


def kill(pid: int) -> None:
    process = psutil.Process(pid)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)


def pids(function: Function) -> list[int]:
    return [int(line.split()[1]) for line in function.log_lines() if line.startswith("pid ")]


def test_an_idle_worker_that_was_killed_is_replaced_and_no_event_fails(
    make_function: MakeFunction,
) -> None:
    function = make_function(BUSY)
    for _ in range(3):
        pid = function.invoke()["Payload"]
        kill(pid)
        answer = function.invoke()
        assert "FunctionError" not in answer
        assert answer["Payload"] != pid


def test_all_idle_workers_that_were_killed_are_replaced(make_function: MakeFunction) -> None:
    function = make_function(BUSY)
    with ThreadPoolExecutor(2) as threads:
        for pid in {one["Payload"] for one in threads.map(function.invoke, [0.5, 0.5])}:
            kill(pid)
        answers = list(threads.map(function.invoke, [0.1, 0.1]))
    assert not any("FunctionError" in answer for answer in answers)


def test_a_worker_that_was_killed_under_an_event_is_an_exit_error(
    make_function: MakeFunction,
) -> None:
    function = make_function(BUSY, Timeout=60)
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(function.invoke, 50)
        [pid] = wait_for(lambda: pids(function))
        kill(pid)
        answer = running.result(timeout=20)
    assert answer["FunctionError"] == "Unhandled"
    assert answer["Payload"]["errorType"] == "Runtime.ExitError"
    assert answer["Payload"]["errorMessage"].endswith("Runtime exited with error: signal: killed")


def test_the_event_of_a_killed_worker_is_tried_again(make_function: MakeFunction) -> None:
    function = make_function(BUSY, Timeout=60)
    function.invoke(5, InvocationType="Event")
    [pid] = wait_for(lambda: pids(function))
    kill(pid)
    wait_for(lambda: sum(line.startswith("REPORT ") for line in function.log_lines()) == 2)
    first, second = pids(function)
    assert first != second
    starts = [line for line in function.log_lines() if line.startswith("START ")]
    assert len(starts) == 2
    assert len({line.split()[2] for line in starts}) == 1
