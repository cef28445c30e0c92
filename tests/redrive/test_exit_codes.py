"""Exit code 0 says that nothing is left: not where something may be that this run cannot see."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner, Result

from startonce.redrive import cli
from tests.redrive.messages import REQUEST_ID, TARGET, lambda_record, received
from tests.redrive.step_functions import Bucket, FakeAws, Machines, error


class Sqs:
    """A queue with one message of Lambda's, and others that somebody else is reading.

    Attributes:
        refuses: what each receive after the first gets instead of an answer.
    """

    def __init__(self, being_read: int = 0, refuses: ClientError | None = None) -> None:
        self.being_read = being_read
        self.refuses = refuses
        self.received = 0

    def get_queue_attributes(self, **_: Any) -> dict[str, Any]:
        # On AWS the number is of up to a minute ago: later, it would count this run's own.
        assert not self.received
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        return {"Attributes": dict(zip(names, ("1", str(self.being_read)), strict=True))}

    def receive_message(self, **_: Any) -> dict[str, Any]:
        self.received += 1
        if self.received > 1:
            if self.refuses is not None:
                raise self.refuses
            return {}
        message = {"MessageId": "m-1", "ReceiptHandle": "r", "Attributes": {"SentTimestamp": "1"}}
        return {"Messages": [{**message, "Body": received(lambda_record()).body}]}

    def delete_message(self, **_: Any) -> None:
        pass

    def change_message_visibility_batch(self, **_: Any) -> None:
        pass


@pytest.fixture
def type_redrive(monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(sqs: Sqs, *arguments: str) -> Result:
        aws = FakeAws(Machines(), Bucket(), sqs)
        monkeypatch.setattr(cli, "Aws", lambda *_: aws)
        monkeypatch.setattr(cli, "find_target", lambda *_: TARGET)
        monkeypatch.setattr(cli, "end_on_signals", lambda: None)
        return CliRunner().invoke(cli.redrive, arguments)

    return run


ALL = [["--all"], ["--dry-run"], ["--all", "--dry-run"]]


@pytest.mark.parametrize("arguments", ALL, ids=" ".join)
def test_nothing_is_left(type_redrive: Any, arguments: list[str]) -> None:
    done = type_redrive(Sqs(), *arguments)
    assert done.exit_code == 0, done.output
    assert "1 redriven, 0 already started, 0 left alone, 0 failed" in done.output.splitlines()[-1]


@pytest.mark.parametrize("arguments", ALL, ids=" ".join)
def test_what_somebody_else_is_reading_is_left(type_redrive: Any, arguments: list[str]) -> None:
    done = type_redrive(Sqs(being_read=3), *arguments)
    assert done.exit_code == 1, done.output
    assert "1 redriven" in done.output
    assert done.output.splitlines()[-1].startswith("About 3 more were being read when this began")
    assert "run it again in five minutes" in done.output


@pytest.mark.parametrize("option", [[], ["--dry-run"]], ids=" ".join)
def test_what_is_named_is_done_whatever_others_read(type_redrive: Any, option: list[str]) -> None:
    done = type_redrive(Sqs(being_read=3), REQUEST_ID, *option)
    assert (done.exit_code, "being read" in done.output) == (0, False)
    done = type_redrive(Sqs(being_read=3), "nobody", *option)
    assert done.exit_code == 1
    assert "somebody else is reading it just now" in done.output


@pytest.mark.parametrize("arguments", ALL, ids=" ".join)
def test_what_sqs_does_not_give_is_left(type_redrive: Any, arguments: list[str]) -> None:
    done = type_redrive(Sqs(refuses=error(code="OverLimit")), *arguments)
    assert done.exit_code == 1, done.output
    assert "There may be more" in done.output.splitlines()[-1]


def test_a_listing_says_that_it_is_incomplete(type_redrive: Any) -> None:
    done = type_redrive(Sqs(refuses=error(code="OverLimit")))
    assert "\n1 so far. 1 can be redriven with --all." in done.output
    assert "There may be more" in done.output.splitlines()[-1]
    done = type_redrive(Sqs())
    assert "\n1 in all. 1 can be redriven with --all." in done.output
    assert "There may be more" not in done.output
