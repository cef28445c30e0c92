"""What the local cloud does not do yet, and what no test of the suite can show."""

from __future__ import annotations

KNOWN_GAPS: dict[str, str] = {
    "test_sns.py::test_a_fifo_topic_keeps_the_order_of_a_group": (
        "with content-based deduplication the queue gets no ID, and so no message"
    ),
    "test_refusals.py::test_a_configuration_that_cannot_be_is_refused[memory]": (
        "the upper limit of `MemorySize` is not checked"
    ),
    "test_refusals.py::test_a_configuration_that_cannot_be_is_refused[timeout]": (
        "the upper limit of `Timeout` is not checked"
    ),
    "test_refusals.py::test_a_configuration_that_cannot_be_is_refused[handler]": (
        "the form of `Handler` is not checked"
    ),
    "test_refusals.py::test_code_that_is_no_zip_is_refused": (
        "it is found out at the first invocation only"
    ),
    "test_refusals.py::test_the_runtime_s_variables_cannot_be_set": ("reserved names are accepted"),
    "test_refusals.py::test_variables_have_at_most_4_kb": ("the size is not checked"),
    "test_refusals.py::test_a_version_with_an_alias_cannot_be_deleted": ("it is deleted"),
    "test_refusals.py::test_an_sns_message_is_not_empty": ("an empty message is accepted"),
    "test_refusals.py::test_a_protocol_that_does_not_exist_is_refused": (
        "any protocol is accepted"
    ),
    "test_refusals.py::test_a_definition_that_cannot_run_is_refused[no JSON]": (
        "refused with 400, but without the error's code"
    ),
    "test_refusals.py::test_a_definition_that_cannot_run_is_refused[no states]": (
        "refused with 400, but without the error's code"
    ),
    "test_refusals.py::test_a_definition_that_cannot_run_is_refused[no first state]": (
        "found out by the execution only"
    ),
    "test_refusals.py::test_a_definition_that_cannot_run_is_refused[task without resource]": (
        "refused with 400, but without the error's code"
    ),
    "test_refusals.py::test_a_definition_that_cannot_run_is_refused[no next state]": (
        "found out by the execution only"
    ),
    "test_refusals.py::test_a_state_machine_s_name_is_given_once": (
        "another definition under the same name is answered as if nothing had changed"
    ),
    "test_refusals.py::test_a_permission_s_statement_id_is_given_once": ("it is accepted twice"),
}
"""``file::test``: what is missing. Where it works, the suite fails until the entry is removed."""

NOT_COVERED = (
    "Duplicates that AWS makes by itself: an event run again after it succeeded, a message that SNS"
    " delivers twice.",
    "Throttling of AWS's own APIs: `StartExecution`'s token bucket, a function's scaling rate, the"
    " account's concurrency.",
    "Faults of the Lambda service (`Lambda.ServiceException` and its kin).",
    "EventBridge and S3 as destinations of asynchronous events.",
    "SNS's pauses between its own attempts to reach a function or a queue.",
    "An SQS mapping's batching window, its scaling, and its maximum concurrency.",
    "The 25,000 events of an execution's history; redriving an execution; heartbeats; activities.",
    "JSONata, intrinsic functions, and Map and Parallel beyond one example each.",
    "Permission boundaries, service control policies, session policies, and conditions other than"
    " on `aws:SourceArn`.",
    "Runtimes other than Python, layers, container images, VPCs, file systems, provisioned"
    " concurrency, SnapStart.",
)
"""Behaviours without a test."""
