"""How commands end before they are done: on a signal, or on what the user can mend."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
)
from botocore.parsers import ResponseParserError

from startonce.deploy import DeployError
from startonce.local.http_server import PortTakenError
from startonce.stack import StackNotFoundError


class Interrupted(BaseException):
    """SIGINT or SIGTERM came; the command's exit code tells which.

    Like KeyboardInterrupt, no Exception: where one comes while a thread is being started, the
    standard library takes the thread to be none, and writes a traceback when it runs all the same.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__()
        self.exit_code = 128 + signal_number


def end_on_signals() -> None:
    """Make SIGINT and SIGTERM raise Interrupted in the main thread."""
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, _interrupt)


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    # One signal is enough: a second one would strike the clean-up.
    for further in (signal.SIGINT, signal.SIGTERM):
        signal.signal(further, signal.SIG_IGN)
    raise Interrupted(signal_number)


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Turn what the user can mend into one line and exit code 1, a signal N into 128 + N."""
    try:
        yield
    except Interrupted as interrupted:
        sys.exit(interrupted.exit_code)
    except PortTakenError as error:
        raise click.ClickException(f"{error}: stop what listens there, or use --port 0") from None
    except (DeployError, StackNotFoundError) as error:
        raise click.ClickException(str(error)) from None
    except ClientError as error:
        raise click.ClickException(_in_one_line(_refusal(error))) from None
    except BotoCoreError as error:
        raise click.ClickException(_in_one_line(f"{error}{_hint(error)}")) from None
    except ResponseParserError:
        raise click.ClickException("what answers there is not AWS: look at --endpoint") from None


def _refusal(error: ClientError) -> str:
    said = error.response["Error"]
    return f"AWS refused {error.operation_name}: {said.get('Code')}: {said.get('Message')}"


def _hint(error: BotoCoreError) -> str:
    if isinstance(error, NoCredentialsError):
        return ": log in, or set AWS_PROFILE, or give the local cloud as --endpoint"
    if isinstance(error, NoRegionError):
        return " Give it as --region, or set AWS_REGION."
    if isinstance(error, EndpointConnectionError):
        return ": nothing answers there, or this machine has no way to it"
    return ""


def _in_one_line(text: str) -> str:
    return " ".join(text.split())
