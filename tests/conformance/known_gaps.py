"""What the local cloud does not do yet, and what no test of the suite can show."""

from __future__ import annotations

KNOWN_GAPS: dict[str, str] = {}
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
    "The 25,000 events of an execution's history; heartbeats; activities.",
    "The 25,000 events of an execution's history; heartbeats; activities.",
    "JSONata, intrinsic functions, and Map and Parallel beyond one example each.",
    "JSONata, intrinsic functions, and Map and Parallel beyond one example each.",
    "Permission boundaries, service control policies, session policies, and conditions other than"
    " on `aws:SourceArn`.",
    "Runtimes other than Python, layers, container images, VPCs, file systems, provisioned"
    " concurrency, SnapStart.",
)
"""Behaviours without a test."""
