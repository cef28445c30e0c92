"""EventBridge hands events to functions by its rules.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-targets.html
"""

from __future__ import annotations

import copy
import json
import logging
from datetime import UTC, datetime
from typing import Any, ClassVar

from jsonpath_ng.parser import parse as parse_path
from moto.awslambda.exceptions import UnknownFunctionException
from moto.events import urls as events_urls
from moto.events.models import EventsBackend, Rule
from moto.events.utils import EventTemplateParser
from moto.sqs.models import sqs_backends

from startonce.local.functions.lambda_service import (
    LocalLambdaBackend,
    NotImplementedLocally,
    new_invocation,
)
from startonce.local.iam.permissions import AccessDeniedError, Permissions
from startonce.local.iam.policy import Access, NotEvaluatedError

_TARGETS = ("events", "lambda", "logs", "sqs")
_FIELDS = (
    "version",
    "id",
    "detail-type",
    "source",
    "account",
    "time",
    "region",
    "resources",
    "detail",
)

_log = logging.getLogger(__name__)


class LocalRule(Rule):
    """A rule whose targets can be functions."""

    permissions: ClassVar[Permissions]

    def put_targets(self, targets: list[dict[str, Any]]) -> None:
        """Add targets, or change them.

        Raises:
            NotImplementedLocally: a target of a kind to which nothing would be sent.
        """
        for target in targets:
            kind = target["Arn"].split(":")[2]
            if kind not in _TARGETS:
                raise NotImplementedLocally(f"EventBridge target of type {kind}")
        super().put_targets(targets)

    def send_to_targets(self, original_event: Any, transform_input: bool = True) -> None:
        """Hand a matching event to every target; one that fails is no concern of the others."""
        if self.state != "ENABLED" or not self.event_pattern.matches_event(original_event):
            return
        for target in list(self.targets):
            try:
                if target["Arn"].split(":")[2] == "lambda":
                    self._send_to_function(target, original_event)
                else:
                    self._only(target)._send_as_moto(original_event, transform_input)
            except Exception as error:
                _log.error("rule %s: %s got no event: %s", self.name, target["Arn"], error)

    def _only(self, target: dict[str, Any]) -> LocalRule:
        alone = copy.copy(self)
        alone.targets = [target]
        return alone

    def _send_as_moto(self, event: Any, transform_input: bool) -> None:
        super().send_to_targets(event, transform_input)

    def _send_to_function(self, target: dict[str, Any], event: Any) -> None:
        arn = target["Arn"]
        body = _input(target, event)
        _, _, _, region, account, _ = arn.split(":", 5)
        backend = LocalLambdaBackend.of(account, region)
        assert isinstance(backend, LocalLambdaBackend)
        try:
            function = backend.find(arn)
            self.permissions.check_service(
                "events.amazonaws.com", self.arn, Access("lambda:InvokeFunction", arn)
            )
        except UnknownFunctionException as error:
            self._give_up(target, body, "RESOURCE_NOT_FOUND", str(error))
        except AccessDeniedError as error:
            self._give_up(target, body, "NO_PERMISSIONS", str(error))
        except NotEvaluatedError as error:
            why = f"NotImplemented: the local cloud does not evaluate {error}"
            self._give_up(target, body, "NO_PERMISSIONS", why)
        else:
            backend.service.submit(function, new_invocation(arn, body.encode()))

    def _give_up(self, target: dict[str, Any], body: str, code: str, reason: str) -> None:
        """https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html"""
        queue = (target.get("DeadLetterConfig") or {}).get("Arn")
        if not queue:
            _log.error("rule %s: an event for %s is lost: %s", self.name, target["Arn"], reason)
            return
        told = {
            "RULE_ARN": self.arn,
            "TARGET_ARN": target["Arn"],
            "ERROR_CODE": code,
            "ERROR_MESSAGE": reason,
        }
        _, _, _, region, account, name = queue.split(":")
        sqs_backends[account][region].send_message(
            name,
            body,
            message_attributes={
                key: {"DataType": "String", "StringValue": value} for key, value in told.items()
            },
        )


class LocalEventsBackend(EventsBackend):
    """One region's rules."""

    @property
    def _url_module(self) -> Any:
        return events_urls

    def put_rule(
        self,
        name: str,
        description: str | None = None,
        event_bus_arn: str | None = None,
        event_pattern: str | None = None,
        role_arn: str | None = None,
        scheduled_expression: str | None = None,
        state: str | None = None,
        managed_by: str | None = None,
        tags: list[dict[str, str]] | None = None,
    ) -> Rule:
        """Make a rule, or change it.

        Raises:
            NotImplementedLocally: it goes by a schedule, on which nobody here would act.
        """
        if scheduled_expression:
            raise NotImplementedLocally("ScheduleExpression for EventBridge rules")
        return super().put_rule(
            name,
            description,
            event_bus_arn,
            event_pattern,
            role_arn,
            None,
            state,
            managed_by,
            tags,
        )


def _input(target: dict[str, Any], event: Any) -> str:
    """What the target gets: the event, a part of it, something made of it, or a constant."""
    if target.get("Input"):
        return str(target["Input"])
    moment = event["time"]
    if isinstance(moment, int | float):
        moment = datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    shown = {name: moment if name == "time" else event[name] for name in _FIELDS}
    if target.get("InputTransformer"):
        transformer = target["InputTransformer"]
        made = EventTemplateParser.parse(
            transformer["InputTemplate"],
            transformer.get("InputPathsMap", {}),
            {**shown, "ingestion-time": event.get("ingestion-time", 0)},  # type: ignore[typeddict-item]
        )
        return json.dumps(made, ensure_ascii=False)
    if target.get("InputPath"):
        found = parse_path(target["InputPath"]).find(shown)
        return json.dumps(found[0].value if found else None, ensure_ascii=False)
    return json.dumps(shown, ensure_ascii=False)
