"""What a model's outputs are called: by key, by field or by place, as the user would index them."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor


def output_names(output: Any) -> list[str]:
    """Name each tensor of an output in its order; the name of a single tensor is the empty word."""
    return list(_named(output, ""))


def _named(output: Any, path: str) -> Iterator[str]:
    if isinstance(output, Tensor):
        yield path
    elif isinstance(output, Mapping):
        for key, value in output.items():
            yield from _named(value, _of_key(path, key))
    elif isinstance(output, (tuple, list)):
        fields = getattr(output, "_fields", None)  # of a named tuple
        for place, value in enumerate(output):
            yield from _named(value, _of_key(path, fields[place]) if fields else f"{path}[{place}]")
    elif dataclasses.is_dataclass(output):
        for field in dataclasses.fields(output):
            yield from _named(getattr(output, field.name), _of_key(path, field.name))


def _of_key(path: str, key: Any) -> str:
    if isinstance(key, str) and key.isidentifier():
        return f"{path}.{key}" if path else key
    return f"{path}[{key!r}]"
