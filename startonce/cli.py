"""The command ``startonce``."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from startonce.aws import LOCAL_REGION, Aws
from startonce.demo import Demo, Story, scenarios
from startonce.deploy import STAGE, deploy, find_service
from startonce.endings import Interrupted, end_on_signals, errors_in_one_line
from startonce.local.faults import API_KINDS, FORM, KINDS, Fault, Faults, Rate, parse
from startonce.local.http_server import DEFAULT_PORT, bind, endpoint_of
from startonce.local.loading import local_cloud
from startonce.redrive.cli import redrive
from startonce.report import describe, progress_line
from startonce.stack import Stack, find_stack
from startonce.watch import watch_handlers

if TYPE_CHECKING:
    from startonce.local.server import LocalCloud

PORT = click.IntRange(0, 65_535)

_console = Console(highlight=False)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="startonce")
def main() -> None:
    """Run, break and watch the startonce service on this machine; redrive its failures anywhere.

    Exit codes: 0 all is well, or `up` was stopped; 1 it came out otherwise than promised, or an
    error; 2 wrong use; 128 + N a signal N came before all was done.
    """


main.add_command(redrive)


@main.command()
@click.option(
    "--port",
    default=DEFAULT_PORT,
    type=PORT,
    show_default=True,
    help="Of 127.0.0.1; 0 takes a free one.",
)
@click.option("--speed", default=1.0, show_default=True, help="Make every wait N times shorter.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar=FORM,
    help="Make the next N attempts of a function fail, or P percent of all, such as "
    f"invoker:exception-after:2. Kinds: {', '.join(KINDS)}. Or calls of an API action by the "
    f"service's roles, such as states.StartExecution:throttle:30%. Kinds: {', '.join(API_KINDS)}.",
)
@click.option("--watch", is_flag=True, help="Run changed handlers without a new deployment.")
@click.option("--deploy", "with_service", is_flag=True, help="Deploy the service into it first.")
@click.option("--no-iam", is_flag=True, help="Let every role do everything.")
def up(
    port: int,
    speed: float,
    faults: tuple[str, ...],
    watch: bool,
    with_service: bool,
    no_iam: bool,
) -> None:
    """Run the local cloud until you stop it."""
    asked = _parsed_faults(faults)
    if watch or with_service:
        with errors_in_one_line():
            find_service(Path.cwd())

    def say(endpoint: str, stack: Stack | None = None) -> None:
        if with_service == (stack is not None):
            _console.print(_what_to_try(endpoint, stack), soft_wrap=True)

    with errors_in_one_line(), _cloud(port, speed, not no_iam, when_bound=say) as cloud:
        for target, fault, often in asked:
            cloud.faults.add(target, fault, often)
        if with_service:
            say(cloud.endpoint, _deployed(cloud, Aws(cloud.endpoint)))
        try:
            with _watching(cloud) if watch else nullcontext():
                threading.Event().wait()
        except Interrupted:
            _console.print("stopped")


@main.command()
@click.option(
    "--port", default=0, type=PORT, help="Of 127.0.0.1; 0, the default, takes a free one."
)
@click.option("--speed", default=60.0, show_default=True, help="Make every wait N times shorter.")
def demo(port: int, speed: float) -> None:
    """Deploy the service into a local cloud, publish three messages, show what became of each."""
    with errors_in_one_line(), _cloud(port, speed) as cloud:
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
        if story.given_up is not None:
            break  # the next message would fare no better
    return stories


def _deployed(cloud: LocalCloud, aws: Aws) -> Stack:
    service = find_service(Path.cwd())
    with _console.status(f"sls deploy --stage {STAGE} to {cloud.endpoint}"):
        deploy(service, cloud.endpoint)
    return find_stack(aws, STAGE)


def _what_to_try(endpoint: str, stack: Stack | None) -> str:
    """The endpoint, and commands for the ordinary AWS CLI that can be copied as they are.

    Its version 1 reads AWS_DEFAULT_REGION alone and has no `aws logs tail`; others read AWS_REGION.
    """
    intro = f"""\
The local cloud listens on {endpoint}; Ctrl-C stops it. In another terminal:

  export AWS_ENDPOINT_URL={endpoint} AWS_REGION={LOCAL_REGION} \
AWS_DEFAULT_REGION={LOCAL_REGION} AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local
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
  aws logs filter-log-events --log-group-name {stack.invoker_log_group} \
--query 'events[].message' --output text
"""
    )


@contextmanager
def _cloud(
    port: int,
    speed: float,
    iam: bool = True,
    when_bound: Callable[[str], None] = lambda endpoint: None,
) -> Iterator[LocalCloud]:
    """A local cloud that stops cleanly on SIGINT and SIGTERM.

    Args:
        when_bound: is told the endpoint as soon as it takes connections; it answers them a second
            later, when moto is loaded, so that what comes next need not wait for that.
    """
    if not 0 < speed < math.inf:
        raise click.BadParameter(f"must be more than 0, not {speed:g}", param_hint="--speed")
    end_on_signals()
    listening = bind(port)
    when_bound(endpoint_of(listening))
    with local_cloud()(speed=speed, iam=iam, listening=listening) as cloud:
        yield cloud


@contextmanager
def _watching(cloud: LocalCloud) -> Iterator[None]:
    """Watch on a thread of its own: signals belong to the main one."""
    stop = threading.Event()
    arguments = (find_service(Path.cwd()), Aws(cloud.endpoint), _console.print, stop)
    watcher = threading.Thread(target=watch_handlers, args=arguments, name="watch")
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def _parsed_faults(texts: tuple[str, ...]) -> list[tuple[str, Fault, int | Rate]]:
    together = Faults()
    try:
        asked = [parse(text) for text in texts]
        for target, fault, often in asked:
            together.add(target, fault, often)
        return asked
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--fault") from None
