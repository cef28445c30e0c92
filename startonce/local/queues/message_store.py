"""The messages of one queue, in the order in which they are due, however many there are.

Nothing here knows of SQS's API or of threads: times come in with each call, and the queue around it
holds the lock. Each step costs the logarithm of the number of messages at most.
"""

from __future__ import annotations

import enum
import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

M = TypeVar("M")


class State(enum.Enum):
    """Where a message stands."""

    DELAYED = "delayed"
    READY = "ready"
    IN_FLIGHT = "in flight"


@dataclass(eq=False)
class Entry(Generic[M]):
    """A message with what the store knows of it.

    Attributes:
        order: who came earlier has the smaller number.
        lane: the message group of a FIFO queue; "" elsewhere.
    """

    key: str
    message: M
    order: int
    lane: str
    state: State = State.READY


class _Heap(Generic[M]):
    """A heap that entries can leave out of turn.

    What left stays inside until it comes up, or until it is more than half of the whole.
    """

    def __init__(self) -> None:
        self._items: list[tuple[float, int, Entry[M]]] = []
        self._due: dict[Entry[M], float] = {}

    def __len__(self) -> int:
        return len(self._due)

    def push(self, due: float, entry: Entry[M]) -> None:
        """Put it in, or change when it is due."""
        self._due[entry] = due
        heapq.heappush(self._items, (due, entry.order, entry))
        if len(self._items) > 2 * len(self._due) + 16:
            self._items = [(at, one.order, one) for one, at in self._due.items()]
            heapq.heapify(self._items)

    def due(self, entry: Entry[M]) -> float:
        """When something that is in it is due."""
        return self._due[entry]

    def discard(self, entry: Entry[M]) -> None:
        """Take it out, if it is there."""
        self._due.pop(entry, None)
        if not self._due:
            self._items.clear()

    def head(self) -> tuple[float, Entry[M]] | None:
        """What is due first."""
        while self._items:
            due, _, entry = self._items[0]
            if self._due.get(entry) == due:
                return due, entry
            heapq.heappop(self._items)
        return None


class _Lane(Generic[M]):
    """Messages that are delivered in order: one message group, or all of a standard queue."""

    def __init__(self) -> None:
        self.ready: _Heap[M] = _Heap()
        self.members = 0
        self.in_flight = 0


class MessageStore(Generic[M]):
    """Who is ready, hidden or too old.

    Args:
        ordered: FIFO: no message of a group is given out while another one of it is in flight.
    """

    def __init__(self, ordered: bool) -> None:
        self._ordered = ordered
        self._entries: dict[str, Entry[M]] = {}
        self._lanes: dict[str, _Lane[M]] = {}
        # Lanes whose first message may be given out, who waits longest first.
        self._open: dict[str, None] = {}
        self._hidden: _Heap[M] = _Heap()
        self._ages: _Heap[M] = _Heap()
        self._counts = dict.fromkeys(State, 0)
        self._orders = 0

    def count(self, state: State) -> int:
        """How many messages are in this state."""
        return self._counts[state]

    def __iter__(self) -> Iterator[Entry[M]]:
        return iter(list(self._entries.values()))

    def get(self, key: str) -> Entry[M] | None:
        """The message with this key, if it is still there."""
        return self._entries.get(key)

    def add(
        self, key: str, message: M, sent_at: float, lane: str = "", until: float | None = None
    ) -> None:
        """Take a message in.

        Args:
            until: when a delayed message becomes ready; None for at once.
        """
        self._orders += 1
        entry = Entry(key, message, self._orders, lane if self._ordered else "")
        self._entries[key] = entry
        self._lanes.setdefault(entry.lane, _Lane()).members += 1
        self._counts[entry.state] += 1
        self._ages.push(sent_at, entry)
        if until is None:
            self._enter(entry, State.READY)
        else:
            self._hide(entry, State.DELAYED, until)

    def first(self, lane: str | None = None) -> Entry[M] | None:
        """The message whose turn it is, if there is one.

        Args:
            lane: whose messages come first: a FIFO batch takes all it can of one group.
        """
        if lane is not None and lane in self._lanes:
            head = self._lanes[lane].ready.head()
            if head is not None:
                return head[1]
        if not self._open:
            return None
        head = self._lanes[next(iter(self._open))].ready.head()
        assert head is not None
        return head[1]

    def take(self, entry: Entry[M], until: float) -> None:
        """Put a ready message in flight until then."""
        self._leave(entry)
        self._hide(entry, State.IN_FLIGHT, until)

    def hide(self, entry: Entry[M], until: float) -> None:
        """Let a message in flight be ready at another time."""
        self._hidden.push(until, entry)

    def postpone(self, entries: Iterable[Entry[M]], seconds: float) -> None:
        """Let those of them that are in flight be ready so much later."""
        for entry in entries:
            if entry.state is State.IN_FLIGHT:
                self._hidden.push(self._hidden.due(entry) + seconds, entry)

    def remove(self, entry: Entry[M]) -> None:
        """Take a message out for good."""
        self._leave(entry)
        self._counts[entry.state] -= 1
        self._ages.discard(entry)
        del self._entries[entry.key]
        lane = self._lanes[entry.lane]
        lane.members -= 1
        if not lane.members:
            del self._lanes[entry.lane]

    def settle(self, now: float, retention: float) -> None:
        """Make ready what is due by now, and drop what was sent ``retention`` seconds ago."""
        while (head := self._hidden.head()) is not None and head[0] <= now:
            self._leave(head[1])
            self._enter(head[1], State.READY)
        while (head := self._ages.head()) is not None and head[0] + retention <= now:
            self.remove(head[1])

    def next_ready(self) -> float | None:
        """When the next hidden message becomes ready."""
        head = self._hidden.head()
        return None if head is None else head[0]

    def _hide(self, entry: Entry[M], state: State, until: float) -> None:
        self._enter(entry, state)
        self._hidden.push(until, entry)

    def _enter(self, entry: Entry[M], state: State) -> None:
        self._counts[entry.state] -= 1
        self._counts[state] += 1
        entry.state = state
        lane = self._lanes[entry.lane]
        if state is State.READY:
            lane.ready.push(entry.order, entry)
        elif state is State.IN_FLIGHT:
            lane.in_flight += 1
        self._open_or_close(entry.lane)

    def _leave(self, entry: Entry[M]) -> None:
        lane = self._lanes[entry.lane]
        if entry.state is State.READY:
            lane.ready.discard(entry)
        else:
            self._hidden.discard(entry)
            lane.in_flight -= entry.state is State.IN_FLIGHT
        self._open_or_close(entry.lane)

    def _open_or_close(self, name: str) -> None:
        lane = self._lanes[name]
        if len(lane.ready) and not (self._ordered and lane.in_flight):
            self._open.setdefault(name)
        else:
            self._open.pop(name, None)
