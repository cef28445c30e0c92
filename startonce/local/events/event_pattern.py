"""Event patterns: which records an event source mapping's filters let through.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
"""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import eq, ge, gt, le, lt
from typing import Any

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "=": eq,
    "<": lt,
    "<=": le,
    ">": gt,
    ">=": ge,
}


class PatternError(ValueError):
    """The pattern is not valid."""


class UnknownOperatorError(PatternError):
    """The pattern has an operator that is not implemented.

    Args:
        name: of the operator.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def check(pattern: object) -> None:
    """Raise PatternError or UnknownOperatorError for what :func:`matches` cannot use."""
    if not isinstance(pattern, dict) or not pattern:
        raise PatternError("a pattern is an object")
    for key, rule in pattern.items():
        if key == "$or":
            if not isinstance(rule, list) or not rule:
                raise PatternError("$or is a list of patterns")
            for alternative in rule:
                check(alternative)
        elif isinstance(rule, dict):
            check(rule)
        elif isinstance(rule, list) and rule:
            for test in rule:
                _check_test(test)
        else:
            raise PatternError(f"{key} must be an object or a list")


def matches(pattern: dict[str, Any], value: object) -> bool:
    """Whether every field that the pattern names has a value that it allows."""
    if isinstance(value, list):
        return any(matches(pattern, element) for element in value)
    fields = value if isinstance(value, dict) else {}
    return all(_field_matches(key, rule, fields) for key, rule in pattern.items())


def _field_matches(key: str, rule: Any, fields: dict[str, Any]) -> bool:
    if key == "$or":
        return any(matches(alternative, fields) for alternative in rule)
    if isinstance(rule, dict):
        return matches(rule, fields.get(key))
    found = fields.get(key)
    # Operators look at values alone, not at what is between them and the root.
    is_there = key in fields and not isinstance(found, dict)
    values = (found if isinstance(found, list) else [found]) if is_there else []
    return any(_test_matches(test, values, is_there) for test in rule)


def _test_matches(test: Any, values: list[Any], is_there: bool) -> bool:
    if not isinstance(test, dict):
        return any(_same(test, value) for value in values)
    [(operator, argument)] = test.items()
    if operator == "exists":
        return is_there is argument
    return any(_OPERATORS[operator](argument, value) for value in values)


def _same(wanted: object, value: object) -> bool:
    """JSON's equality: true is not 1."""
    return isinstance(wanted, bool) == isinstance(value, bool) and wanted == value


def _begins(wanted: Any, value: object) -> bool:
    if isinstance(wanted, dict):
        wanted, value = _folded(wanted["equals-ignore-case"]), _folded(value)
    return isinstance(value, str) and value.startswith(wanted)


def _ends(wanted: Any, value: object) -> bool:
    if isinstance(wanted, dict):
        wanted, value = _folded(wanted["equals-ignore-case"]), _folded(value)
    return isinstance(value, str) and value.endswith(wanted)


def _folded(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value


def _is_like(wanted: str, value: object) -> bool:
    return isinstance(value, str) and _folded(value) == _folded(wanted)


def _is_wild(wanted: str, value: object) -> bool:
    """``*`` stands for any characters, ``\\*`` for itself."""
    parts = re.split(r"(?<!\\)\*", wanted)
    text = ".*".join(re.escape(part.replace("\\*", "*")) for part in parts)
    return isinstance(value, str) and re.fullmatch(text, value, re.DOTALL) is not None


def _is_in_range(limits: list[Any], value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    pairs = zip(limits[::2], limits[1::2], strict=True)
    return all(_COMPARISONS[sign](value, limit) for sign, limit in pairs)


def _is_none_of(unwanted: Any, value: object) -> bool:
    if isinstance(unwanted, dict):
        [(operator, argument)] = unwanted.items()
        arguments = argument if isinstance(argument, list) else [argument]
        return not any(_OPERATORS[operator](one, value) for one in arguments)
    choices = unwanted if isinstance(unwanted, list) else [unwanted]
    return not any(_same(one, value) for one in choices)


_OPERATORS: dict[str, Callable[[Any, object], bool]] = {
    "prefix": _begins,
    "suffix": _ends,
    "equals-ignore-case": _is_like,
    "wildcard": _is_wild,
    "numeric": _is_in_range,
    "anything-but": _is_none_of,
}


def _check_test(test: Any) -> None:
    if isinstance(test, list):
        raise PatternError("a list in a list")
    if not isinstance(test, dict):
        return
    if len(test) != 1:
        raise PatternError("an operator stands alone")
    [(operator, argument)] = test.items()
    if operator != "exists" and operator not in _OPERATORS:
        raise UnknownOperatorError(operator)
    if not _ARGUMENTS.get(operator, _is_text)(argument):
        raise PatternError(f"{operator} cannot take {argument!r}")


def _is_text(argument: Any) -> bool:
    return isinstance(argument, str)


def _is_affix(argument: Any) -> bool:
    if isinstance(argument, dict):
        return list(argument) == ["equals-ignore-case"] and _is_text(argument["equals-ignore-case"])
    return _is_text(argument)


def _are_limits(argument: Any) -> bool:
    return (
        isinstance(argument, list)
        and len(argument) in (2, 4)
        and all(sign in _COMPARISONS for sign in argument[::2] if isinstance(sign, str))
        and all(isinstance(sign, str) for sign in argument[::2])
        and all(
            isinstance(limit, int | float) and not isinstance(limit, bool)
            for limit in argument[1::2]
        )
    )


def _are_exceptions(argument: Any) -> bool:
    if isinstance(argument, dict):
        inner = argument.get(next(iter(argument), ""))
        for one in inner if isinstance(inner, list) else [inner]:
            _check_test({**argument, next(iter(argument), ""): one})
        return True
    choices = argument if isinstance(argument, list) else [argument]
    return bool(choices) and not any(isinstance(one, dict | list) for one in choices)


_ARGUMENTS: dict[str, Callable[[Any], bool]] = {
    "exists": lambda argument: isinstance(argument, bool),
    "prefix": _is_affix,
    "suffix": _is_affix,
    "numeric": _are_limits,
    "anything-but": _are_exceptions,
}
