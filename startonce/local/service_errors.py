"""What services answer when they throttle, or fail themselves: each in its own words.

https://docs.aws.amazon.com/step-functions/latest/apireference/CommonErrors.html
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
https://docs.aws.amazon.com/sns/latest/api/CommonErrors.html
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
"""

from __future__ import annotations

from werkzeug.wrappers import Response

from startonce.local.error_response import error_response

_Error = tuple[int, str, str]

_THROTTLED: _Error = (400, "ThrottlingException", "Rate exceeded")
_THROTTLED_BY: dict[str, _Error] = {
    "lambda": (429, "TooManyRequestsException", "Rate Exceeded."),
    "s3": (503, "SlowDown", "Please reduce your request rate."),
    "sns": (400, "Throttling", "Rate exceeded"),
    "sqs": (403, "RequestThrottled", "Request is throttled."),
}

_FAILED: _Error = (
    500,
    "InternalFailure",
    "The request processing has failed because of an unknown error, exception or failure.",
)
_FAILED_BY: dict[str, _Error] = {
    "dynamodb": (500, "InternalServerError", "Internal server error"),
    "lambda": (500, "ServiceException", "An error occurred and the request cannot be processed."),
    "s3": (500, "InternalError", "We encountered an internal error. Please try again."),
    "sns": (500, "InternalError", "We encountered an internal error. Please try again."),
}


def throttled(service: str, protocol: str) -> Response:
    """The service, by the name that it signs with, had too many requests."""
    return _response(service, protocol, _THROTTLED_BY.get(service, _THROTTLED))


def failed(service: str, protocol: str) -> Response:
    """The service failed: the call may have been done or not."""
    return _response(service, protocol, _FAILED_BY.get(service, _FAILED))


def _response(service: str, protocol: str, error: _Error) -> Response:
    status, code, message = error
    response = error_response(protocol, status, code, message)
    if service == "sqs" and protocol == "json":
        # As in the query protocol that SQS had before: who is to blame goes with the name.
        blamed = "Sender" if status < 500 else "Receiver"
        response.headers["x-amzn-query-error"] = f"{code};{blamed}"
    return response
