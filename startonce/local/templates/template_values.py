"""What the functions in a template give, and what a part of a template refers to.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from typing import Any

from moto.cloudformation import parsing
from moto.cloudformation.exceptions import ValidationError

_SUBSTITUTED = re.compile(r"\$\{([^!}][^}]*)\}")


def mend_values() -> None:
    """Put what moto gets wrong in order: see :func:`_mended`."""
    original = parsing.clean_json
    if original.__module__ != __name__:
        parsing.clean_json = _mended(original)


def _mended(original: Any) -> Any:
    def clean_json(value: Any, resources: Any) -> Any:
        if isinstance(value, list):
            # AWS::NoValue takes an item away, as it takes a property away.
            cleaned = (clean_json(item, resources) for item in value)
            return [item for item in cleaned if item is not None]
        if isinstance(value, dict) and isinstance(value.get("Fn::GetAtt"), str):
            # In YAML it can be one text.
            value = {"Fn::GetAtt": value["Fn::GetAtt"].split(".", 1)}
        if isinstance(value, dict) and isinstance(value.get("Fn::Sub"), list):
            # Moto turns "$$" into "$", and Step Functions' context object is "$$.Execution.Name".
            text, names = value["Fn::Sub"]
            for name, replacement in names.items():
                text = text.replace("${" + name + "}", str(clean_json(replacement, resources)))
            value = {"Fn::Sub": text}
        return original(value, resources)

    return clean_json


def references(value: Any) -> Iterator[str]:
    """The names of resources, parameters and pseudo parameters that a part of a template uses."""
    if isinstance(value, list):
        for item in value:
            yield from references(item)
    if not isinstance(value, dict):
        return
    for key, argument in value.items():
        if key == "Ref" and isinstance(argument, str):
            yield argument
        elif key == "Fn::GetAtt":
            yield str(argument.split(".")[0] if isinstance(argument, str) else argument[0])
        elif key == "Fn::Sub":
            yield from _substituted(argument)
        else:
            yield from references(argument)


def _substituted(argument: Any) -> Iterator[str]:
    text, names = argument if isinstance(argument, list) else (argument, {})
    for found in _SUBSTITUTED.findall(text):
        if found not in names:
            yield found.split(".")[0]
    yield from references(list(names.values()))


def dependencies(definition: dict[str, Any]) -> list[str]:
    """What a resource's definition refers to or waits for, in a lasting order."""
    given = definition.get("DependsOn") or []
    named = [given] if isinstance(given, str) else given
    return sorted({*named, *references(definition.get("Properties"))})


def in_order(definitions: dict[str, dict[str, Any]]) -> list[str]:
    """The names of resources, each after those that it depends on.

    Raises:
        ValidationError: some depend on each other.
    """
    graph = {
        name: [other for other in dependencies(definition) if other in definitions]
        for name, definition in definitions.items()
    }
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        names = ", ".join(sorted(set(error.args[1])))
        raise ValidationError(message=f"Circular dependency between resources: [{names}]") from None


def check_references(template: dict[str, Any], known: set[str]) -> None:
    """Raise ValidationError for a reference to a name that is not ``known``."""
    for block in ("Resources", "Outputs"):
        parts = template.get(block) or {}
        named = [name for part in parts.values() for name in dependencies(part)]
        if block == "Outputs":
            named = list(references([part.get("Value") for part in parts.values()]))
        missing = sorted({name for name in named if name not in known})
        if missing:
            raise ValidationError(
                message=f"Template format error: Unresolved resource dependencies "
                f"[{', '.join(missing)}] in the {block} block of the template"
            )
