"""Step Functions: what AWS checks before an execution starts, and what its API answers.

https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html
"""

from __future__ import annotations

import copy
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, ClassVar

from moto.core.exceptions import AWSError
from moto.stepfunctions import urls as stepfunctions_urls
from moto.stepfunctions.exceptions import (
    ExecutionAlreadyExists,
    ExecutionDoesNotExist,
    InvalidArn,
    InvalidExecutionInput,
    InvalidName,
)
from moto.stepfunctions.models import StateMachine, stepfunctions_backends
from moto.stepfunctions.parser.api import InvalidDefinition as NotParsed
from moto.stepfunctions.parser.models import StepFunctionsParserBackend
from moto.stepfunctions.utils import cfn_to_api_tags

from startonce.local.aws_text import is_true
from startonce.local.clock import Clock
from startonce.local.states.definition_checks import InvalidDefinition, check_definition
from startonce.local.states.executions import Executions, LocalExecution
from startonce.local.states.interpreter import forget_threads
from startonce.local.states.redrive import check_token
from startonce.local.states.running import Running

LARGEST_INPUT = 262_144
"""Bytes in UTF-8."""

_NAME = re.compile(r"[^\s<>{}\[\]?*\"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f]{1,80}")


class AccessDeniedException(AWSError):
    """The state machine's role does not trust Step Functions."""

    TYPE = "AccessDeniedException"
    STATUS = 400


class StateMachineAlreadyExists(AWSError):
    """The name is that of a state machine with another definition or configuration."""

    TYPE = "StateMachineAlreadyExists"
    STATUS = 400


class LocalStateMachine(StateMachine):
    """A state machine with quick executions, and the properties that moto leaves out."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.executions = Executions()
        self.sm_type = self.type
        self.loggingConfiguration.setdefault("includeExecutionData", False)

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        """``Arn`` too."""
        return attr == "Arn" or super().has_cfn_attr(attr)

    def get_cfn_attribute(self, attribute_name: str) -> Any:
        """``Arn`` too."""
        return self.arn if attribute_name == "Arn" else super().get_cfn_attribute(attribute_name)

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
        **kwargs: Any,
    ) -> StateMachine:
        """``AWS::StepFunctions::StateMachine``."""
        properties = cloudformation_json["Properties"]
        return stepfunctions_backends[account_id][region_name].create_state_machine(
            properties.get("StateMachineName", resource_name),
            _definition(properties),
            properties["RoleArn"],
            tags=cfn_to_api_tags(properties.get("Tags", [])),
            loggingConfiguration=_logging(properties),
            tracingConfiguration=_tracing(properties),
            sm_type=properties.get("StateMachineType"),
        )

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Any,
        new_resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
    ) -> StateMachine:
        """Executions that run keep the definition that they started with."""
        properties = cloudformation_json["Properties"]
        backend = stepfunctions_backends[account_id][region_name]
        return backend.update_state_machine(
            original_resource.arn,
            definition=_definition(properties),
            role_arn=properties["RoleArn"],
            logging_configuration=_logging(properties),
            tracing_configuration=_tracing(properties),
        )

    def delete(self, account_id: str, region_name: str) -> None:
        """Remove it."""
        stepfunctions_backends[account_id][region_name].delete_state_machine(self.arn)


class LocalStepFunctionsBackend(StepFunctionsParserBackend):  # type: ignore[misc]
    """Checks what AWS checks before an execution starts."""

    is_trusted: ClassVar[Callable[[str, str, str], bool]]
    clock: ClassVar[Clock]
    running: ClassVar[Running]

    # Two calls with one name at the same moment must not start two executions.
    _starting = threading.Lock()

    @property
    def _url_module(self) -> Any:
        return stepfunctions_urls

    def create_state_machine(
        self,
        name: str,
        definition: str,
        roleArn: str,  # noqa: N803
        **options: Any,
    ) -> Any:
        """Make a state machine whose role trusts Step Functions, or find the one that is the same.

        https://docs.aws.amazon.com/step-functions/latest/apireference/API_CreateStateMachine.html

        Raises:
            InvalidDefinition: it cannot run.
            StateMachineAlreadyExists: the name is another one's.
            AccessDeniedException: the role does not trust Step Functions.
        """
        check_definition(definition)
        arn = self._machine_arn(name)
        self._check_trust(roleArn, arn)
        present = next((one for one in self.state_machines if one.arn == arn), None)
        if present is not None:
            if not _is_same(present, definition, options):
                raise StateMachineAlreadyExists(f"State Machine Already Exists: '{arn}'")
            return present
        with _parsing():
            return super().create_state_machine(name, definition, roleArn, **options)

    def update_state_machine(
        self,
        arn: str,
        definition: str | None = None,
        role_arn: str | None = None,
        **options: Any,
    ) -> Any:
        """Change one.

        https://docs.aws.amazon.com/step-functions/latest/apireference/API_UpdateStateMachine.html

        Raises:
            InvalidDefinition, AccessDeniedException: see :meth:`create_state_machine`.
            StateMachineDoesNotExist: there is none.
        """
        if definition is not None:
            check_definition(definition)
        if role_arn:
            self._check_trust(role_arn, arn)
        with _parsing():
            return super().update_state_machine(arn, definition, role_arn, **options)

    def _machine_arn(self, name: str) -> str:
        scope = f"arn:{self.partition}:states:{self.region_name}:{self.account_id}"
        return f"{scope}:stateMachine:{name}"

    def _check_trust(self, role_arn: str, arn: str) -> None:
        if not type(self).is_trusted(role_arn, "states.amazonaws.com", arn):
            raise AccessDeniedException(
                "Neither the global service principal states.amazonaws.com, nor the regional one "
                "is authorized to assume the provided role."
            )

    def start_execution(
        self,
        state_machine_arn: str,
        name: str | None = None,
        execution_input: str | None = None,
        trace_header: str | None = None,
    ) -> Any:
        """Start it, or find the one that runs with the same name and input.

        Raises:
            InvalidName, InvalidExecutionInput, ExecutionAlreadyExists, StateMachineDoesNotExist.
        """
        if name is not None:
            _check_name(name)
        machine = self.describe_state_machine(state_machine_arn)
        text = "{}" if execution_input is None else execution_input
        _check_input(text)
        forget_threads()
        with self._starting:
            present = machine.executions.named(name) if name and checks_names(machine) else None
            if present is not None:
                return _same_or_refused(present, text)
            execution = self._new_execution(machine, name or str(uuid.uuid4()), text)
            execution.start()
            if checks_names(machine):
                machine.executions.append(execution)
        return execution

    def redrive_execution(self, execution_arn: str, token: str | None = None) -> datetime:
        """Run an unsuccessful execution on, and say when that was; see :mod:`.redrive`.

        Raises:
            ExecutionDoesNotExist, InvalidArn, ExecutionNotRedrivable, NotImplementedLocally.
            ValidationException: the token is none.
        """
        if token is not None:
            check_token(token)
        date: datetime = self.describe_execution(execution_arn).redrive(token)
        return date

    def describe_execution(self, execution_arn: str) -> Any:
        """Find an execution.

        Raises:
            ExecutionDoesNotExist, InvalidArn.
        """
        self._validate_execution_arn(execution_arn)
        if ":express:" in execution_arn:
            raise InvalidArn("Invalid Arn: 'Resource type not valid in this context: express'")
        machine_arn = execution_arn.replace(":execution:", ":stateMachine:").rpartition(":")[0]
        for machine in self.state_machines:
            if machine.arn == machine_arn:
                execution = machine.executions.with_arn(execution_arn)
                if execution is not None:
                    return execution
        raise ExecutionDoesNotExist(f"Execution Does Not Exist: '{execution_arn}'")

    def get_execution_history(self, execution_arn: str) -> Any:
        """All events of an execution; see :meth:`describe_execution` for what it raises."""
        return self.describe_execution(execution_arn).to_history_output()

    def _new_execution(self, machine: Any, name: str, text: str) -> LocalExecution:
        # The execution keeps the definition that it started with.
        snapshot = copy.copy(machine)
        kind = "execution" if checks_names(machine) else "express"
        arn = machine.arn.replace(":stateMachine:", f":{kind}:") + f":{name}"
        if kind == "express":
            arn += f":{uuid.uuid4()}"
        return LocalExecution(
            name=name,
            sm_type=snapshot.type,
            role_arn=snapshot.roleArn,
            exec_arn=arn,
            account_id=self.account_id,
            region_name=self.region_name,
            state_machine=snapshot,
            start_date=datetime.now(UTC),
            cloud_watch_logging_session=None,
            input_data=text,
            trace_header=None,
            activity_store={},
            clock=type(self).clock,
            running=type(self).running,
        )


def checks_names(machine: Any) -> bool:
    """Whether it is STANDARD: names of EXPRESS executions are not even looked at."""
    return bool(machine.type == "STANDARD")


@contextmanager
def _parsing() -> Iterator[None]:
    """What the interpreter cannot read is refused under AWS's name for it."""
    try:
        yield
    except NotParsed as error:
        raise InvalidDefinition(f"SCHEMA_VALIDATION_FAILED: {error.message}") from None


def _is_same(machine: Any, definition: str, options: dict[str, Any]) -> bool:
    """Whether this is the state machine that is asked for: its role and tags do not count."""
    logging = options.get("loggingConfiguration") or {"level": "OFF"}
    return bool(
        machine.definition == definition
        and machine.type == (options.get("sm_type") or "STANDARD")
        and machine.loggingConfiguration == {"includeExecutionData": False, **logging}
        and machine.tracingConfiguration
        == (options.get("tracingConfiguration") or {"enabled": False})
    )


def _same_or_refused(present: Any, text: str) -> Any:
    if present.status == "RUNNING" and present.execution_input == text:
        return present
    raise ExecutionAlreadyExists(f"Execution Already Exists: '{present.execution_arn}'")


def _definition(properties: dict[str, Any]) -> str:
    text = properties.get("DefinitionString") or json.dumps(properties.get("Definition", {}))
    for name, value in (properties.get("DefinitionSubstitutions") or {}).items():
        text = text.replace("${" + name + "}", str(value))
    return str(text)


def _logging(properties: dict[str, Any]) -> dict[str, Any] | None:
    given = properties.get("LoggingConfiguration")
    if not given:
        return None
    destinations = [
        {"cloudWatchLogsLogGroup": {"logGroupArn": one["CloudWatchLogsLogGroup"]["LogGroupArn"]}}
        for one in given.get("Destinations", [])
    ]
    return {
        "level": given.get("Level", "OFF"),
        "includeExecutionData": is_true(given.get("IncludeExecutionData")),
        "destinations": destinations,
    }


def _tracing(properties: dict[str, Any]) -> dict[str, Any] | None:
    given = properties.get("TracingConfiguration")
    return {"enabled": is_true(given.get("Enabled"))} if given else None


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidName(f"Invalid Name: '{name}'")


def _check_input(text: str) -> None:
    size = len(text.encode(errors="surrogatepass"))
    if size > LARGEST_INPUT:
        raise InvalidExecutionInput(
            f"Invalid State Machine Execution Input: {size} bytes are more than {LARGEST_INPUT}"
        )
    try:
        json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise InvalidExecutionInput(f"Invalid State Machine Execution Input: '{error}'") from None


def _refuse_constant(name: str) -> None:
    """Python reads NaN and Infinity, which JSON does not have."""
    raise ValueError(f"unrecognized token {name}")
