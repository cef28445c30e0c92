"""Shows stories to a person."""

from __future__ import annotations

import json
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from startonce.demo import Story
from startonce.trace import Attempt, Execution, Step

_COLOURS = {"SUCCEEDED": "green", "FAILED": "red", "RUNNING": "yellow"}


def describe(number: int, story: Story) -> RenderableType:
    """One story, from the message to its end."""
    parts = [
        Text.assemble((f"{number}. {story.scenario.title}", "bold"), f"  {story.seconds:.1f} s"),
        _row("message", story.scenario.message),
        *(
            _row("request ID", request_id)
            for request_id in sorted({one.request_id for one in story.trace.attempts})
        ),
        *_attempts(story),
        *(_execution(execution) for execution in story.trace.executions),
        _end(story),
        *(_row("broken", Text(broken, "bold red")) for broken in story.broken_promises),
    ]
    return Group(*parts, Text())


def progress_line(story: Story) -> str:
    """Where a story is now, in a few words."""
    trace = story.trace
    step = trace.executions[0].steps[-1].name if trace.executions[:1] else "waiting"
    return f"{story.scenario.title}: {len(trace.attempts)} attempt(s), {step}"


def _attempts(story: Story) -> Iterator[RenderableType]:
    for number, attempt in enumerate(story.trace.attempts, start=1):
        yield _row(f"attempt {number}", _attempt(attempt))


def _attempt(attempt: Attempt) -> Text:
    said = {
        "started": "started the execution",
        "already_started": "found the execution already started",
    }
    text = Text(said.get(attempt.outcome or "", attempt.outcome or "did not answer"))
    if attempt.status not in (None, "success"):
        text.append(f", then failed ({attempt.status})", "yellow")
    if attempt.duration is not None:
        text.append(f"  {attempt.duration:.0f} ms", "dim")
    return text


def _execution(execution: Execution) -> RenderableType:
    status = (execution.status, _COLOURS.get(execution.status, "white"))
    head = _row("execution", Text.assemble(f"{execution.name}  ", status))
    return Group(head, Padding(_steps(execution), (0, 0, 0, 15)))


def _steps(execution: Execution) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    # The others only say where to go on.
    for step in (one for one in execution.steps if one.tries):
        table.add_row(*_step_cells(step))
    return table


def _step_cells(step: Step) -> tuple[str, str, str, Text]:
    tries = f"{step.tries} {'try' if step.tries == 1 else 'tries'}"
    time = f"{step.seconds * 1000:.0f} ms" if step.seconds is not None else ""
    return step.name, tries, time, Text(step.error or "", "red")


def _end(story: Story) -> RenderableType:
    if story.failures:
        failure = story.failures[0]
        return _row("end", f"in the failure queue: {failure['error']}: {_reason(failure)}")
    if story.given_up is not None:
        return _row("end", f"in the failure queue, Lambda gave up: {story.given_up}")
    if story.trace.records:
        times = {1: "once"}.get(story.trace.records, f"{story.trace.records} times")
        sent = {1: "once"}.get(story.notifications, f"{story.notifications} times")
        return _row("end", f"recorded {times}, user notified {sent}")
    return _row("end", Text("nowhere", "bold red"))


def _reason(failure: dict[str, str]) -> str:
    """The message in a Lambda error's cause; other causes as they are."""
    cause = failure.get("cause", "")
    try:
        return str(json.loads(cause)["errorMessage"])
    except (ValueError, KeyError, TypeError):
        return cause


def _row(name: str, value: str | Text) -> RenderableType:
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_column(width=13)
    row.add_column(overflow="fold")
    row.add_row(Text(f"   {name}", "dim"), value)
    return row
