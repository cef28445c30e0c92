"""The history of an execution: it ends with one event, and says where a redrive goes on."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moto.stepfunctions.parser.api import HistoryEventType
from moto.stepfunctions.parser.asl.eval.environment import Environment
from moto.stepfunctions.parser.asl.eval.event.event_manager import EventManager

_ENDS = {
    HistoryEventType.ExecutionAborted,
    HistoryEventType.ExecutionFailed,
    HistoryEventType.ExecutionSucceeded,
    HistoryEventType.ExecutionTimedOut,
}


@dataclass(frozen=True)
class Step:
    """A state of the state machine itself, not of a branch or an iterator, and its input."""

    name: str
    input: Any


class History(EventManager):  # type: ignore[misc]
    """The events of one run of an execution, after those of the runs before it.

    Args:
        top: what the run happens in; Map and Parallel run their states in others.
        first: where the run begins.
        earlier: the events of the runs before.

    Attributes:
        unsuccessful: the step that has not exited yet; None when there is none left.
    """

    def __init__(self, top: Environment, first: Step, earlier: Sequence[Any] = ()) -> None:
        super().__init__()
        self.unsuccessful: Step | None = first
        self._top = top
        self._history_event_list.extend(earlier)
        self._event_id_gen._next_id = len(earlier) + 1
        top.event_history_context.source_event_id = len(earlier)
        top.event_history_context.last_published_event_id = len(earlier)
        self._adding = threading.RLock()
        self._ended = False

    def __len__(self) -> int:
        return len(self._history_event_list)

    @property
    def events(self) -> Sequence[Any]:
        """As they are; not to be changed."""
        return tuple(self._history_event_list)

    def add_event(
        self, context: Any, event_type: Any, event_details: Any = None, **others: Any
    ) -> int:
        """Add an event, unless the end is there already: a function that a task called may answer
        after its execution was stopped.
        """
        with self._adding:
            if self._ended:
                return len(self)
            self._ended = event_type in _ENDS
            exited = (event_details or {}).get("stateExitedEventDetails")
            if exited and context is self._top.event_history_context:
                following = self._top.next_state_name
                output = exited["output"]
                self.unsuccessful = Step(following, json.loads(output)) if following else None
            number: int = super().add_event(context, event_type, event_details, **others)
            return number

    def end(self, event_type: Any, event_details: Any) -> bool:
        """Add the event that ends the execution from outside; False if it has ended by itself."""
        with self._adding:
            if self._ended or self.unsuccessful is None:
                return False
            self.add_event(self._top.event_history_context, event_type, event_details)
            return True
