"""The command ``startonce``."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from startonce.aws import LOCAL_REGION, Aws
from startonce.demo import Demo, Story, scenarios
from startonce.deploy import STAGE, DeployError, deploy, find_service
from startonce.local.server import DEFAULT_PORT, LocalCloud, PortTakenError
from startonce.report import describe, progress_line
from startonce.stack import Stack, StackNotFoundError, find_stack

_console = Console(highlight=False)


class _Interrupted(Exception):
    def __init__(self, signal_number: int) -> None:
        super().__init__()
        self.exit_code = 128 + signal_number


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="startonce")
def main() -> None:
    """Run, break and watch the startonce service on this machine.

    Exit codes: 0 all is well, 1 it came out otherwise than promised, 2 wrong use, 128 + N stopped
    by signal N.
    """


@main.command()
@click.option(
    "--port", default=DEFAULT_PORT, show_default=True, help="Of 127.0.0.1; 0 takes a free one."
)
@click.option("--speed", default=1.0, show_default=True, help="Make every wait N times shorter.")
@click.option("--deploy", "with_service", is_flag=True, help="Deploy the service into it first.")
def up(port: int, speed: float, with_service: bool) -> None:
    """Run the local cloud until you stop it."""
    with _errors_in_one_line(), _cloud(port, speed) as cloud:
        stack = _deployed(cloud, Aws(cloud.endpoint)) if with_service else None
        _console.print(_what_to_try(cloud.endpoint, stack), soft_wrap=True)
        try:
            threading.Event().wait()
        except _Interrupted:
            _console.print("stopped")


@main.command()
@click.option("--port", default=0, help="Of 127.0.0.1; 0, the default, takes a free one.")
@click.option("--speed", default=60.0, show_default=True, help="Make every wait N times shorter.")
def demo(port: int, speed: float) -> None:
    """Deploy the service into a local cloud, publish three messages, show what became of each."""
    with _errors_in_one_line(), _cloud(port, speed) as cloud:
        aws = Aws(cloud.endpoint)
        stories = _played(Demo(cloud, aws, _deployed(cloud, aws)))
    if any(story.broken_promises for story in stories):
        _console.print("[bold red]Not as promised.[/]")
        sys.exit(1)
    _console.print("[bold green]As promised:[/] one event, one execution, once, and none lost.")


def _played(demo: Demo) -> list[Story]:
    stories = []
    for number, scenario in enumerate(scenarios(), start=1):
        with _console.status(scenario.title) as status:
            story = demo.play(scenario, lambda story: status.update(progress_line(story)))
        _console.print(describe(number, story), soft_wrap=True)
        stories.append(story)
    return stories


def _deployed(cloud: LocalCloud, aws: Aws) -> Stack:
    service = find_service(Path.cwd())
    with _console.status(f"sls deploy --stage {STAGE} to {cloud.endpoint}"):
        deploy(service, cloud.endpoint)
    return find_stack(aws, STAGE)


def _what_to_try(endpoint: str, stack: Stack | None) -> str:
    """The endpoint, and commands for the ordinary AWS CLI that can be copied as they are."""
    intro = f"""\
The local cloud listens on {endpoint}; Ctrl-C stops it. In another terminal:

  export AWS_ENDPOINT_URL={endpoint} AWS_REGION={LOCAL_REGION} \
AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local
"""
    if stack is None:
        return (
            intro
            + """
  npx sls deploy --stage local
  aws lambda list-functions
  aws stepfunctions list-state-machines
"""
        )
    message = '{"user_id": "ada", "operation": "signed_in", "occurred_at": "2026-11-23T10:00:00Z"}'
    return (
        intro
        + f"""
  aws sns publish --topic-arn {stack.topic_arn} --message '{message}'
  aws stepfunctions list-executions --state-machine-arn {stack.state_machine_arn}
  aws logs tail {stack.invoker_log_group}
"""
    )


@contextmanager
def _cloud(port: int, speed: float) -> Iterator[LocalCloud]:
    """A local cloud that stops cleanly on SIGINT and SIGTERM."""
    if speed <= 0:
        raise click.BadParameter(f"must be more than 0, not {speed:g}", param_hint="--speed")
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, _interrupt)
    with LocalCloud(port, speed) as cloud:
        try:
            yield cloud
        finally:
            # A second Ctrl-C must not stop the clean-up half way.
            for signal_number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(signal_number, signal.SIG_IGN)


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    raise _Interrupted(signal_number)


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    try:
        yield
    except _Interrupted as interrupted:
        sys.exit(interrupted.exit_code)
    except PortTakenError as error:
        raise click.ClickException(f"{error}: stop what listens there, or use --port 0") from None
    except (DeployError, StackNotFoundError) as error:
        raise click.ClickException(str(error)) from None
