"""Where a behaviour is written down: a page of AWS's documentation, or a recorded response."""

from __future__ import annotations

import pytest

_DOCS = "https://docs.aws.amazon.com"
LAMBDA = f"{_DOCS}/lambda/latest/dg"
LAMBDA_API = f"{_DOCS}/lambda/latest/api"
STEP_FUNCTIONS = f"{_DOCS}/step-functions/latest/dg"
STEP_FUNCTIONS_API = f"{_DOCS}/step-functions/latest/apireference"
SNS = f"{_DOCS}/sns/latest/dg"
SNS_API = f"{_DOCS}/sns/latest/api"
SQS = f"{_DOCS}/AWSSimpleQueueService/latest/SQSDeveloperGuide"
SQS_API = f"{_DOCS}/AWSSimpleQueueService/latest/APIReference"
IAM = f"{_DOCS}/IAM/latest/UserGuide"
RUNTIME_CLIENT = "https://github.com/aws/aws-lambda-python-runtime-interface-client"
"""The client that AWS's own images run."""


def documented(page: str) -> pytest.MarkDecorator:
    """The behaviour is on this page: AWS's own, or a report of what somebody saw there."""
    return pytest.mark.source(page)


def recorded(what: str) -> pytest.MarkDecorator:
    """The behaviour was seen on AWS."""
    return pytest.mark.source(f"recorded on AWS: {what}")
