"""From pydantic's errors to one clear line for each mistake."""

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from labelnoise.tracking.stores import shown

_M = TypeVar("_M", bound=BaseModel)


# where pydantic speaks of Python and not of YAML
WORDS = {
    "bool_type": "give true or false",
    "dict_type": "give a mapping of keys to values",
    "list_type": "give a list",
    "model_type": "give a mapping of keys to values",
    "tuple_type": "give a list",
}


def suggest(key: object, known: Iterable[object]) -> str:
    """What may have been meant by an unknown key."""
    names = sorted(map(str, known))
    close = difflib.get_close_matches(str(key), names, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(names)}"


def show(value: object) -> str:
    """A value as the configuration has it, shortened; without the password of an address."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except TypeError:  # YAML has keys that JSON has not, such as dates
        text = str(value)
    text = shown(text)
    return text if len(text) <= 60 else text[:57] + "…"


def check(model: type[_M], value: object, where: str, problems: list[str]) -> _M | None:
    """Validate `value`; what is wrong goes to `problems`, prefixed with the key's full name."""
    if not isinstance(value, Mapping):
        problems.append(f"{where}: {show(value)} is not a mapping of keys to values")
        return None
    try:
        return model.model_validate(dict(value))
    except ValidationError as error:
        for detail in error.errors():
            # pydantic adds the form of `Seeds` it took, and '[key]' after a bad key of a mapping
            parts = [part for part in detail["loc"] if part not in ("(count)", "(list)")]
            if parts[-1:] == ["[key]"] and detail["type"] != "extra_forbidden":
                parts.pop()
            location = [str(part) or '""' for part in parts]
            key = ".".join(filter(None, [where, *location]))
            if detail["type"] == "extra_forbidden":
                hint = suggest(location[-1], _owner(model, location).model_fields)
                problems.append(f"{key}: no such key; {hint}")
            elif detail["type"] == "missing" and isinstance(parts[-1], int):
                problems.append(f"{key}: is missing from {show(detail['input'])}")
            elif detail["type"] == "missing":
                fields = _owner(model, location).model_fields
                problems.append(f"{key}: is missing; it is {fields[location[-1]].description}")
            elif detail["type"] == "value_error":
                problems.append(f"{key}: {detail['ctx']['error']}")
            else:
                right = WORDS.get(detail["type"], detail["msg"])
                problems.append(f"{key}: got {show(detail['input'])}; {right}")
        return None


def _owner(model: type[BaseModel], location: list[str]) -> Any:
    """The model that a key is, or would be, in."""
    owner: Any = model
    for part in location[:-1]:
        annotation = owner.model_fields[part].annotation
        # the model itself, or the model of `Model | None`
        owner = next((m for m in get_args(annotation) if m is not type(None)), annotation)
    return owner
