"""What is printed and what is logged keep their order, however they come through the pipe."""

from __future__ import annotations

import os

import pytest

from startonce.local.functions.log_reader import LogReader
from tests.local.conftest import MakeFunction


def frame(message: str) -> bytes:
    data = message.encode()
    return b"\xa5\x5a\x00\x0e" + len(data).to_bytes(4, "big") + bytes(8) + data


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_lines_and_records_come_whole_and_in_their_order(step: int) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    reader = LogReader(reading)
    data = b"one\n\ntw\xc3\xb6" + frame("a record\nof two lines\n") + frame("ä") + b"three\nfour"
    taken: list[str] = []
    for start in range(0, len(data), step):
        os.write(writing, data[start : start + step])
        taken += reader.read()
    assert "four" not in taken
    taken += reader.flush()
    assert taken == ["one", "", "twö", "a record\nof two lines", "ä", "three", "four"]


def test_a_handler_s_prints_and_records_keep_their_order(make_function: MakeFunction) -> None:
    function = make_function(
        "import logging\n"
        "def handler(event, context):\n"
        "    for number in range(3):\n"
        "        print('print', number)\n"
        "        logging.warning('record %s', number)\n"
        "    raise ValueError('at last')\n"
    )
    function.invoke()
    said = [line.rpartition("\t")[2] for line in function.log_lines()]
    wanted = [f"{word} {number}" for number in range(3) for word in ("print", "record")]
    found = [line for line in said if line.startswith(("print", "record", "[ERROR]"))]
    assert found[:-1] == wanted
    assert found[-1].startswith("[ERROR] ValueError: at last\nTraceback")
