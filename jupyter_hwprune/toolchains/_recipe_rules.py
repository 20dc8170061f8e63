"""Read SparseML recipes, and refuse those that SparseML would accept without doing what they say.

There are two notations. The older one lists tagged modifiers (`- !GMPruningModifier`) under keys that contain
`modifiers`; the newer one nests names in mappings (`prune_stage: pruning_modifiers: SparseGPTModifier:`). This file
needs only PyYAML, so that a mistake is found before torch is loaded.
"""

from __future__ import annotations

import difflib
import re
from typing import Any

NEEDS_GRADIENTS = "it ranks weights by gradients during training, and there are none in one shot"
TRAINS = "it controls training"
QUANTISES = "it makes or prepares a quantised network"
CUTS = "it removes layers or channels, which changes the network's structure"
LISTED = {
    "MagnitudePruningModifier": "",
    "GMPruningModifier": "",
    "GlobalMagnitudePruningModifier": "",
    "ACDCPruningModifier": "",
    "TopKASTPruningModifier": "",
    "StructuredPruningModifier": "",
    "ConstantPruningModifier": "",
    "EpochRangeModifier": "",
    "SparsificationLoggingModifier": "",
    "MovementPruningModifier": NEEDS_GRADIENTS,
    "MFACPruningModifier": NEEDS_GRADIENTS,
    "OBSPruningModifier": NEEDS_GRADIENTS,
    "RigLPruningModifier": NEEDS_GRADIENTS,
    "LayerPruningModifier": CUTS,
    "LayerThinningModifier": CUTS,
    "QuantizationModifier": QUANTISES,
    "DistillationModifier": TRAINS,
    "PerLayerDistillationModifier": TRAINS,
    "PowerpropagationModifier": TRAINS,
    "ASRegModifier": TRAINS,
    "GradualParamModifier": TRAINS,
    "SetParamModifier": TRAINS,
    "TrainableParamsModifier": TRAINS,
    "LearningRateFunctionModifier": TRAINS,
    "LearningRateModifier": TRAINS,
    "SetLearningRateModifier": TRAINS,
    "SetWeightDecayModifier": TRAINS,
}
NESTED = {
    "SparseGPTModifier": "",
    "WandaPruningModifier": "",
    "ConstantPruningModifier": "",
    "MagnitudePruningModifier": "in a stage it prunes during training only, and in one shot it changes no weight; the "
    "older notation, `modifiers:` with `- !MagnitudePruningModifier`, works in one shot",
    "OutputDistillationModifier": TRAINS,
    "SmoothQuantModifier": QUANTISES,
    "LogarithmicEqualizationModifier": QUANTISES,
    "GPTQModifier": QUANTISES,
    "QuantizationModifier": QUANTISES,
    "LegacyQuantizationModifier": QUANTISES,
}
IDLE = ("ConstantPruningModifier", "EpochRangeModifier", "SparsificationLoggingModifier")  # no zeros in one shot
CALIBRATED = ("SparseGPTModifier", "WandaPruningModifier")
SPARSITIES = ("final_sparsity", "compression_sparsity", "forward_sparsity", "sparsity")
MASKS = ("mask_type", "mask_structure")
TOKENS = ("__ALL__", "__ALL_PRUNABLE__")


class RefusedError(Exception):
    """A recipe that cannot be applied as it stands: one paragraph for the user."""


def read(text: str) -> dict[str, Any]:
    """Return the recipe's notation (`listed` or `nested`) and its modifiers: name, path in the recipe, settings.

    Raises RefusedError for a recipe of which SparseML would silently skip a part, or all.
    """
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        pass

    def plain(loader: Any, _tag: str, node: Any) -> Any:
        return loader.construct_mapping(node, deep=True) if isinstance(node, yaml.MappingNode) else {}

    Loader.add_multi_constructor("!", plain)
    loader = Loader(text)
    try:
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode) or not root.tag.startswith("tag:"):
            raise RefusedError("The recipe is not a mapping of keys; it should begin with a key such as `modifiers:`.")
        found: list[dict[str, Any]] = []
        _walk(root, (), loader, found)
    except yaml.YAMLError as error:
        raise RefusedError("The recipe is not YAML: {}.".format(" ".join(str(error).split()))) from None
    notations = {each["notation"] for each in found}
    if not found:
        raise RefusedError(
            "The recipe holds no modifier. Put one in a list, `modifiers:` with `- !MagnitudePruningModifier`, or "
            "in a stage, `prune_stage:` with `pruning_modifiers:` and `SparseGPTModifier:`."
        )
    if len(notations) > 1:
        raise RefusedError(
            "The recipe mixes SparseML's two notations, tagged modifiers in lists and names in stages, and SparseML "
            "would read only one of them. Split it into two recipes."
        )
    top_level = any(each["notation"] == "listed" and len(each["path"]) == 2 for each in found)
    for each in found:
        _check_place(each, top_level)
    return {"notation": notations.pop(), "modifiers": found}


def _walk(node: Any, path: tuple[str, ...], loader: Any, found: list[dict[str, Any]]) -> None:
    """Find every modifier at any depth, and refuse duplicate keys, of which YAML would keep the last."""
    import yaml

    if node.tag.startswith("!"):
        name = node.tag[1:].rpartition(".")[2]
        found.append(_found("listed", name, path, loader.construct_object(node, deep=True)))
    if isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            _walk(value, (*path, str(number)), loader, found)
    if isinstance(node, yaml.MappingNode):
        keys = [str(key.value) for key, _ in node.value]
        for key, value in node.value:
            if keys.count(str(key.value)) > 1:
                raise RefusedError(
                    "The recipe has the key {} twice{}, and YAML would keep the last one only. Give the second a "
                    "stage or a group of its own.".format(key.value, _at(path))
                )
            name = str(key.value)
            if name.endswith("Modifier") and value.tag.startswith("tag:") and not node.tag.startswith("!"):
                settings = loader.construct_object(value, deep=True)
                found.append(_found("nested", name, (*path, name), settings))
            else:
                _walk(value, (*path, name), loader, found)


def _found(notation: str, name: str, path: tuple[str, ...], settings: Any) -> dict[str, Any]:
    if settings is not None and not isinstance(settings, dict):
        raise RefusedError("The settings of {} are not a mapping of names to values: {!r}.".format(name, settings))
    return {"notation": notation, "name": name, "path": path, "settings": settings or {}}


def _at(path: tuple[str, ...]) -> str:
    return " in {}".format(".".join(path)) if path else ""


def _check_place(found: dict[str, Any], top_level: bool) -> None:
    """Refuse a modifier in a place where SparseML does not look."""
    path, name = found["path"], found["name"]
    if found["notation"] == "listed":
        well = len(path) in (2, 3) and "modifiers" in path[-2] and path[-1].isdigit()
        if well and not (len(path) == 3 and top_level):
            return
        cure = "List it under a key that contains `modifiers`, at the top or one stage deep" + (
            ", and all of them at the same depth: beside a list at the top, stages are not read" if top_level else ""
        )
    else:
        well = len(path) > 2 and path[-2].endswith("_modifiers")
        if well and ((len(path) == 3 and path[0].endswith("_stage")) or (len(path) == 4 and path[0] == "stages")):
            return
        cure = (
            "SparseML reads stages whose name ends in `_stage`, and in them groups whose name ends in `_modifiers`, "
            "such as `prune_stage:` with `pruning_modifiers:`"
        )
    raise RefusedError(
        "{} is at {}, where SparseML does not look: it would be ignored. {}.".format(
            name, ".".join(path) or "the top", cure
        )
    )


def check(recipe: dict[str, Any]) -> list[str]:
    """Refuse a recipe that would not do in one shot what it says; return remarks for the user on the rest.

    Values that are still `eval(...)` are left for the second check, after SparseML has evaluated them.
    """
    known = LISTED if recipe["notation"] == "listed" else NESTED
    modifiers = recipe["modifiers"]
    refused = []
    for each in modifiers:
        if each["name"] not in known:
            near = difflib.get_close_matches(each["name"], known, 1)
            raise RefusedError(
                "SparseML 1.8 has no modifier {} {}{}.".format(
                    each["name"],
                    "in this notation" if each["name"] in {**LISTED, **NESTED} else "at all",
                    "; did you mean {}?".format(near[0]) if near and near[0] != each["name"] else "",
                )
            )
        if known[each["name"]]:
            refused.append("{} ({})".format(each["name"], known[each["name"]]))
    if refused:
        raise RefusedError(
            "--recipe applies a recipe in one shot, without training, where these modifiers do not work: {}. Remove "
            "them and keep those that prune; or train with SparseML, and give the trained model to %hwprune.".format(
                ", ".join(dict.fromkeys(refused))
            )
        )
    working = [each for each in modifiers if each["name"] not in IDLE]
    if not working:
        names = ", ".join(dict.fromkeys(each["name"] for each in modifiers))
        raise RefusedError(
            "The recipe makes no zeros in one shot: it has only {}, which keeps existing zeros. Add a modifier that "
            "prunes, such as MagnitudePruningModifier.".format(names)
        )
    remarks = []
    for each in working:
        _check_stage(each)
        _check_mask(each)
        _check_sparsities(each)
        if each["name"] not in CALIBRATED:
            remarks += _check_schedule(each)
        _check_names(each)
    idle = [each["name"] for each in modifiers if each["name"] in IDLE]
    if idle:
        remarks.append("Without training, {} had nothing to do.".format(", ".join(dict.fromkeys(idle))))
    return remarks


def _check_stage(each: dict[str, Any]) -> None:
    for name in each["path"][:-2]:
        if each["notation"] == "nested" and "train" in name:
            raise RefusedError(
                "The stage {} is for training, by its name, but --recipe trains nothing. If its modifiers are meant "
                "for one shot, rename it, such as prune_stage.".format(name)
            )


def _check_mask(each: dict[str, Any]) -> None:
    for setting in MASKS:
        value = each["settings"].get(setting)
        if isinstance(value, int) and not isinstance(value, bool):
            n, m = divmod(value, 60)
            raise RefusedError(
                "{} has {}: {}, which YAML reads as the number {} (it counts in sixties). Put it in quotes: "
                '{}: "{}:{}".'.format(each["name"], setting, "{}:{}".format(n, m), value, setting, n, m)
            )
        if isinstance(value, list) and any(not isinstance(side, int) or side < 1 for side in value):
            raise RefusedError(
                "{} has the blocks {}, and SparseML replaces a -1 by the first layer's size for all layers. Write both "
                "sides as numbers, such as [1, 4].".format(each["name"], value)
            )
        if each["name"] in CALIBRATED and value is not None and not re.match(r"\d+:\d+$|eval\(", str(value)):
            raise RefusedError(
                '{} has {}: {}. It takes n:m in quotes there, such as "2:4"; or leave {} out.'.format(
                    each["name"], setting, value, setting
                )
            )
        removed = removed_by(each["name"], value)
        if removed is None:
            continue
        for asked in sparsities_of(each):
            if asked and abs(asked - removed) > 1e-2:
                raise RefusedError(
                    "{} asks for a sparsity of {:g} and {} {}, which always removes {:g}. Write {:g}, or another "
                    "mask.".format(each["name"], asked, setting, value, removed, round(removed, 4))
                )


def removed_by(name: str, mask: Any) -> float | None:
    """Return the share that an n:m mask removes: the older modifiers keep n of m, the calibrated ones remove n."""
    if mask == "tensorrt":
        mask = "2:4"
    match = re.match(r"(\d+):(\d+)$", str(mask))
    if match is None or match[2] == "0":
        return None
    n, m = int(match[1]), int(match[2])
    if not 0 < n < m:
        raise RefusedError("{} has the mask {}, but n:m needs an n from 1 to m - 1.".format(name, mask))
    return n / m if name in CALIBRATED else 1 - n / m


def sparsities_of(each: dict[str, Any]) -> list[float]:
    """Return every sparsity that the modifier asks for, without those that are not evaluated yet."""
    asked: list[Any] = []
    for setting in SPARSITIES:
        value = each["settings"].get(setting)
        asked += list(value) if isinstance(value, (dict, list)) else [] if value is None else [value]
    return [value for value in asked if isinstance(value, (int, float))]


def _check_sparsities(each: dict[str, Any]) -> None:
    for value in sparsities_of(each):
        if not 0 < value < 1:
            percent = " It is a share, not a percentage: {:g}.".format(value / 100) if 1 < value < 100 else ""
            raise RefusedError(
                "{} asks for a sparsity of {!r}; it has to be above 0 and below 1.{}".format(
                    each["name"], value, percent
                )
            )
    profile = each["settings"].get("sparsity_profile")
    if profile is not None and str(profile).lower() != "owl":
        raise RefusedError(
            "{} has sparsity_profile: {}, which SparseML would ignore; it knows only owl.".format(each["name"], profile)
        )
    given = [setting for setting in SPARSITIES if each["settings"].get(setting) is not None]
    if each["name"] in CALIBRATED and not given:
        raise RefusedError(
            "{} has no sparsity, so it would remove nothing. Add one, such as sparsity: 0.5.".format(each["name"])
        )


def _check_schedule(each: dict[str, Any]) -> list[str]:
    """Refuse schedules that would stay at their first sparsity in one shot."""
    settings = each["settings"]
    start, end = settings.get("start_epoch"), settings.get("end_epoch")
    if settings.get("inter_func") == "inverse_cubic":
        raise RefusedError(
            "{} has inter_func: inverse_cubic, with which SparseML stays at init_sparsity in one shot. Write cubic: in "
            "one shot only the final sparsity counts.".format(each["name"])
        )
    if not isinstance(start, (int, float)) or not isinstance(end, (int, float)):
        return []
    if each["name"] not in ("ACDCPruningModifier", "TopKASTPruningModifier") and end <= start:
        raise RefusedError(
            "{} ends at epoch {:g} and starts at {:g}; if the end is not after the start, SparseML stays at "
            "init_sparsity in one shot. Write end_epoch: {:g}.".format(each["name"], end, start, max(start, 0) + 1)
        )
    return [
        "{} is a schedule from epoch {:g} to {:g}; it was applied in one shot at its final sparsity.".format(
            each["name"], start, end
        )
    ]


def _check_names(each: dict[str, Any]) -> None:
    for setting in ("params", "targets"):
        value = each["settings"].get(setting)
        if setting == "params" and isinstance(value, str) and value not in TOKENS and not value.startswith("eval("):
            raise RefusedError(
                '{} has {}: {}, a single text, but SparseML takes a list there, or one of {}. Write {}: ["{}"].'.format(
                    each["name"], setting, value, " and ".join(TOKENS), setting, value
                )
            )
        names = list(value) if isinstance(value, list) else []
        names += [n for own in settings_lists(each) for n in own] if setting == "params" else []
        for name in names:
            if str(name).startswith("re:"):
                try:
                    re.compile(name[3:])
                except re.error as error:
                    raise RefusedError(
                        "{} has the pattern {}, which is no regular expression: {}.".format(each["name"], name, error)
                    ) from None


def settings_lists(each: dict[str, Any]) -> list[list[str]]:
    """Return the lists of names in `final_sparsity` if it maps sparsities to names."""
    value = each["settings"].get("final_sparsity")
    return [own for own in value.values() if isinstance(own, list)] if isinstance(value, dict) else []
