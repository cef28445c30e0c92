"""Stacks: what is left of one whose resource fails, and why, is what AWS leaves.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/stack-failure-options.html
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.models import Event, Stack, cloudformation_backends
from moto.cloudformation.parsing import Export, OutputMap

from startonce.local.templates.stack_resources import ResourceFailed, StackResources

_BY_USER = "User Initiated"


class LocalStack(Stack):
    """A stack that is as its template says, or as it was before."""

    resource_map: StackResources

    def create_resources(self) -> None:
        """Make all of them, or none; the status and the events say which, and why."""
        self._become("CREATE_IN_PROGRESS", _BY_USER)
        try:
            ready = self._apply()
        except (ResourceFailed, ValidationError) as error:
            self._become("ROLLBACK_IN_PROGRESS", f"{_sentence(error)} Rollback requested by user.")
            self._remove_all("ROLLBACK")
            return
        if ready:
            self.mark_creation_complete()

    def create_from_change_set(self, template: str, parameters: dict[str, str]) -> None:
        """As :meth:`create_resources`, for a stack that had no template.

        Raises:
            ValidationError: the template cannot be read.
        """
        self._read(template, parameters)
        self.create_resources()

    def update(
        self,
        template: str,
        role_arn: str | None = None,
        parameters: dict[str, Any] | None = None,
        tags: dict[str, str] | None = None,
    ) -> None:
        """Change what has to be changed, or leave all as it was.

        Raises:
            ValidationError: the template cannot be read.
        """
        before = dict(vars(self))
        self._read(template, parameters or {})
        self.role_arn = role_arn
        if tags is not None:
            self.tags = tags
        self.resource_map.take_over(before["resource_map"])
        self._become("UPDATE_IN_PROGRESS", _BY_USER)
        try:
            self._apply()
        except (ResourceFailed, ValidationError) as error:
            failed = self.resource_map
            vars(self).update(before)
            self._become("UPDATE_ROLLBACK_IN_PROGRESS", _sentence(error))
            self._go_back(failed)
            return
        self._become("UPDATE_COMPLETE")

    def delete(self) -> None:
        """Remove all resources, or say in the status and the events which are left."""
        self._become("DELETE_IN_PROGRESS", _BY_USER)
        self._remove_all("DELETE")

    @property
    def stack_resources(self) -> Iterable[Any]:
        """Those that are there."""
        return [one for one in self.resource_map.values() if one is not None]

    def _create_resource_map(self) -> StackResources:
        backend = cloudformation_backends[self.account_id][self.region_name]
        resources = StackResources(
            self._record,
            stack_id=self.stack_id,
            stack_name=self.name,
            parameters=self.parameters,
            tags=self.tags,
            account_id=self.account_id,
            region_name=self.region_name,
            template=self.template_dict,
            cross_stack_resources=backend.exports,
        )
        resources.load()
        return resources

    def _read(self, template: str, parameters: dict[str, Any]) -> None:
        """Take another template, or none of it if it cannot be read."""
        before = dict(vars(self))
        try:
            self.template, self.parameters = template, parameters
            self._parse_template()
            self.description = self.template_dict.get("Description")
            self.resource_map = self._create_resource_map()
            self.output_map = self._create_output_map()
        except Exception:
            vars(self).update(before)
            raise

    def _apply(self) -> bool:
        ready = self.resource_map.apply()
        # The outputs are worked out once, here: what they refer to is as it is now.
        list(self.output_map.values())
        self._publish_exports()
        return ready

    def _publish_exports(self) -> None:
        exports = cloudformation_backends[self.account_id][self.region_name].exports
        wanted = {export.name: export for export in self.exports}
        for name in wanted:
            if name in exports and exports[name].exporting_stack_id != self.stack_id:
                raise ValidationError(
                    message=f"Export with name {name} is already exported by stack "
                    f"{exports[name].exporting_stack_id}."
                )
        self._withdraw_exports(exports)
        exports.update(wanted)

    def _withdraw_exports(self, exports: dict[str, Export]) -> None:
        for name in [one.name for one in exports.values() if self._is_own(one)]:
            del exports[name]

    def _is_own(self, export: Export) -> bool:
        return export.exporting_stack_id == self.stack_id

    def _go_back(self, failed: StackResources) -> None:
        self.resource_map.take_over(failed)
        self.output_map = self._create_output_map()
        try:
            self._apply()
        except (ResourceFailed, ValidationError) as error:
            self._become("UPDATE_ROLLBACK_FAILED", _sentence(error))
            return
        self._become("UPDATE_ROLLBACK_COMPLETE")

    def _remove_all(self, action: str) -> None:
        # Outputs of resources that are gone are gone too.
        self.output_map = OutputMap(self.resource_map, {}, self.stack_id)
        self._withdraw_exports(cloudformation_backends[self.account_id][self.region_name].exports)
        try:
            self.resource_map.delete()
        except ResourceFailed as error:
            self._become(f"{action}_FAILED", _sentence(error))
            return
        self._become(f"{action}_COMPLETE")

    def _become(self, status: str, reason: str | None = None) -> None:
        self.status = status
        self.stack_status_reason = reason
        self._add_stack_event(status, resource_status_reason=reason)

    def _record(
        self, name: str, physical_id: str, kind: str, status: str, reason: str | None
    ) -> None:
        event = Event(
            stack_id=self.stack_id,
            stack_name=self.name,
            logical_resource_id=name,
            physical_resource_id=physical_id,
            resource_type=kind,
            resource_status=status,
            resource_status_reason=reason,
            resource_properties=None,
        )
        event.sendToSns(self.account_id, self.region_name, self.notification_arns)
        self.events.append(event)


def _sentence(error: ResourceFailed | ValidationError) -> str:
    if isinstance(error, ResourceFailed):
        return f"The following resource(s) failed to {error.action}: [{error.name}]."
    return str(error.message)
