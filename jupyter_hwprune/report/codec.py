"""Convert frozen dataclasses to plain data and back; a value of the wrong type is an error and is not converted."""

import functools
import math
from typing import Any, get_args, get_origin

from ..core.errors import ReportError


def unstructure(value: Any) -> dict[str, Any]:
    data: dict[str, Any] = _converter().unstructure(value)
    return data


def structure(data: Any, kind: type) -> Any:
    """Build a `kind` from plain data; raises ReportError with the fault and its place."""
    import cattrs

    try:
        return _converter().structure(data, kind)
    except cattrs.BaseValidationError as error:
        said = "; ".join(cattrs.transform_error(error, format_exception=_say)[:3])
        raise ReportError(f"This report is damaged: {said[:500]}.") from None


def omits_defaults(kind: Any) -> bool:
    """Say whether a class leaves out fields that hold their default, to save space where there are hundreds."""
    return bool(getattr(kind, "OMITS_DEFAULTS", False))


@functools.cache
def _converter() -> Any:
    import cattrs
    from cattrs.gen import make_dict_unstructure_fn

    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_unstructure_hook_factory(
        omits_defaults, lambda kind: make_dict_unstructure_fn(kind, converter, _cattrs_omit_if_default=True)
    )
    for kind in (bool, int, float, str):  # by default, cattrs would accept int("3") and str(None)
        converter.register_structure_hook(kind, _exactly)

    def only_from_lists(value: Any, kind: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise TypeError(f"{str(value)[:40]!r} is not a list")
        return tuple(converter.structure(each, get_args(kind)[0]) for each in value)

    converter.register_structure_hook_func(_is_tuple, only_from_lists)
    return converter


def _say(error: BaseException, kind: type | None) -> str:
    """Describe one fault: in our own words if the error has them, else in those of cattrs."""
    from cattrs.v import format_exception

    return str(error) if isinstance(error, (ValueError, TypeError)) else format_exception(error, kind)


def _is_tuple(kind: Any) -> bool:
    return get_origin(kind) is tuple


def _exactly(value: Any, kind: Any) -> Any:
    if type(value) is kind or (kind is float and type(value) is int):
        if kind is float and not math.isfinite(value):
            raise ValueError(f"{value} is not a finite number")
        return kind(value)
    raise TypeError(f"{str(value)[:40]!r} is not of type {kind.__name__}")
