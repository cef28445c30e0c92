"""The benchmarks run: a few messages, which say nothing of speed."""

from __future__ import annotations

from benchmarks.burst import burst
from benchmarks.emulators import STARTONCE, running
from benchmarks.measure import TARGETS, Figure, Target
from benchmarks.overhead import overhead
from benchmarks.report import Report


def test_a_burst_is_measured() -> None:
    figures = burst(STARTONCE, runs=1, messages=2, again=1, single=1)
    assert [figure.name for figure in figures] == ["burst", "  burst again", "warm message"]
    assert all(figure.value > 0 for figure in figures)


def test_the_overhead_is_measured() -> None:
    with running(STARTONCE) as up:
        figures = {figure.name: figure.value for figure in overhead(up, runs=5)}
    assert figures["  an empty handler's invocation"] > figures["  a dry run"]


def test_a_target_beside_another_emulator_is_a_ratio() -> None:
    target = Target("burst", 4, beside=True)
    assert target.is_met(1, 4) is True
    assert target.is_met(1, 3.9) is False
    assert target.is_met(1, None) is None


def test_a_target_by_itself_is_a_limit() -> None:
    target = Target("overhead", 3, beside=False)
    assert target.is_met(3, None) is True
    assert target.is_met(3.1, 100) is False


def test_the_report_names_what_is_missed() -> None:
    ours, theirs = Figure("burst", 1, "s"), Figure("burst", 2, "s")
    report = Report({"startonce": [ours], "ministack": [theirs]})
    assert report.missed() == ["burst"]
    assert "| burst | 1.00 s | 2.00 s | 2.0 x | at least 4 x | missed |" in report.markdown()


def test_every_target_has_a_row_of_its_own() -> None:
    rows = [target.row for target in TARGETS]
    assert len(rows) == len(set(rows)) == 6
