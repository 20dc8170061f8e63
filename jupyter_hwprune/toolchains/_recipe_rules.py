"""Read SparseML recipes, and refuse those that SparseML would accept without doing what they say.

There are two notations. The older one lists tagged modifiers (`- !GMPruningModifier`) under keys that contain
`modifiers`; the newer one nests names in mappings (`prune_stage: pruning_modifiers: SparseGPTModifier:`). This file
needs only PyYAML, so that a mistake is found before torch is loaded.
"""

from __future__ import annotations

import difflib
import re
from typing import Any

IDLE = ("ConstantPruningModifier", "EpochRangeModifier", "SparsificationLoggingModifier")  # no zeros in one shot
CALIBRATED = ("SparseGPTModifier", "WandaPruningModifier")
TRAINS = "it controls training"
QUANTISES = "it makes or prepares a quantised network"
LISTED_BY_REASON = {  # why they do not work in one shot -> modifiers
    "": "MagnitudePruningModifier GMPruningModifier GlobalMagnitudePruningModifier ACDCPruningModifier "
    "TopKASTPruningModifier StructuredPruningModifier ConstantPruningModifier EpochRangeModifier "
    "SparsificationLoggingModifier",
    "it ranks weights by gradients during training, and there are none in one shot": "MovementPruningModifier "
    "MFACPruningModifier OBSPruningModifier RigLPruningModifier",
    "it removes layers or channels, which changes the network's structure": "LayerPruningModifier "
    "LayerThinningModifier",
    QUANTISES: "QuantizationModifier",
    TRAINS: "DistillationModifier PerLayerDistillationModifier PowerpropagationModifier ASRegModifier "
    "GradualParamModifier SetParamModifier TrainableParamsModifier LearningRateFunctionModifier LearningRateModifier "
    "SetLearningRateModifier SetWeightDecayModifier",
}
NESTED_BY_REASON = {
    "": "SparseGPTModifier WandaPruningModifier ConstantPruningModifier",
    "in a stage it prunes during training only, and in one shot it changes no weight; the older notation, `modifiers:` "
    "with `- !MagnitudePruningModifier`, works in one shot": "MagnitudePruningModifier",
    QUANTISES: "SmoothQuantModifier LogarithmicEqualizationModifier GPTQModifier QuantizationModifier "
    "LegacyQuantizationModifier",
    TRAINS: "OutputDistillationModifier",
}
LISTED, NESTED = (
    {name: reason for reason, names in by_reason.items() for name in names.split()}
    for by_reason in (LISTED_BY_REASON, NESTED_BY_REASON)
)
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
    found: list[dict[str, Any]] = []
    try:
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode) or not root.tag.startswith("tag:"):
            raise RefusedError("The recipe is not a mapping of keys; it should begin with a key such as `modifiers:`.")
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
        found.append(_found("listed", node.tag[1:].rpartition(".")[2], path, loader.construct_object(node, deep=True)))
    if isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            _walk(value, (*path, str(number)), loader, found)
    if isinstance(node, yaml.MappingNode):
        names = [str(key.value) for key, _ in node.value]
        for name, (_, value) in zip(names, node.value):
            if names.count(name) > 1:
                place = " in " + ".".join(path) if path else ""
                raise RefusedError(
                    f"The recipe has the key {name} twice{place}, and YAML would keep the last one only. Give the "
                    "second a stage or a group of its own."
                )
            if name.endswith("Modifier") and value.tag.startswith("tag:") and not node.tag.startswith("!"):
                found.append(_found("nested", name, (*path, name), loader.construct_object(value, deep=True)))
            else:
                _walk(value, (*path, name), loader, found)


def _found(notation: str, name: str, path: tuple[str, ...], settings: Any) -> dict[str, Any]:
    if settings is not None and not isinstance(settings, dict):
        raise RefusedError(f"The settings of {name} are not a mapping of names to values: {settings!r}.")
    return {"notation": notation, "name": name, "path": path, "settings": settings or {}}


def _check_place(found: dict[str, Any], top_level: bool) -> None:
    """Refuse a modifier in a place where SparseML does not look."""
    path = found["path"]
    if found["notation"] == "listed":
        well = len(path) in (2, 3) and "modifiers" in path[-2] and path[-1].isdigit()
        well = well and not (len(path) == 3 and top_level)
        cure = "List it under a key that contains `modifiers`, at the top or one stage deep"
        if top_level:
            cure += ", and all of them at the same depth: beside a list at the top, stages are not read"
    else:
        in_stage = (len(path) == 3 and path[0].endswith("_stage")) or (len(path) == 4 and path[0] == "stages")
        well = in_stage and path[-2].endswith("_modifiers")
        cure = (
            "SparseML reads stages whose name ends in `_stage`, and in them groups whose name ends in `_modifiers`, "
            "such as `prune_stage:` with `pruning_modifiers:`"
        )
    if not well:
        place = ".".join(path) or "the top"
        raise RefusedError(f"{found['name']} is at {place}, where SparseML does not look: it would be ignored. {cure}.")


def check(recipe: dict[str, Any]) -> list[str]:
    """Refuse a recipe that would not do in one shot what it says; return remarks for the user on the rest.

    Values that are still `eval(...)` are left for the second check, after SparseML has evaluated them.
    """
    known = LISTED if recipe["notation"] == "listed" else NESTED
    names = list(dict.fromkeys(each["name"] for each in recipe["modifiers"]))
    for name in names:
        if name not in known:
            where = "in this notation" if name in {**LISTED, **NESTED} else "at all"
            near = [f"; did you mean {other}?" for other in difflib.get_close_matches(name, known, 1) if other != name]
            raise RefusedError(f"SparseML 1.8 has no modifier {name} {where}{''.join(near)}.")
    refused = [f"{name} ({known[name]})" for name in names if known[name]]
    if refused:
        raise RefusedError(
            "--recipe applies a recipe in one shot, without training, where these modifiers do not work: "
            f"{', '.join(refused)}. Remove them and keep those that prune; or train with SparseML, and give the "
            "trained model to %hwprune."
        )
    idle = [name for name in names if name in IDLE]
    if len(idle) == len(names):
        raise RefusedError(
            f"The recipe makes no zeros in one shot: it has only {', '.join(names)}, which keeps existing zeros. Add "
            "a modifier that prunes, such as MagnitudePruningModifier."
        )
    remarks = []
    for each in recipe["modifiers"]:
        if each["name"] in IDLE:
            continue
        _check_stage(each)
        _check_mask(each)
        _check_sparsities(each)
        if each["name"] not in CALIBRATED:
            remarks += _check_schedule(each)
        _check_names(each)
    if idle:
        remarks.append(f"Without training, {', '.join(idle)} had nothing to do.")
    return remarks


def _check_stage(each: dict[str, Any]) -> None:
    for name in each["path"][:-2]:
        if each["notation"] == "nested" and "train" in name:
            raise RefusedError(
                f"The stage {name} is for training, by its name, but --recipe trains nothing. If its modifiers are "
                "meant for one shot, rename it, such as prune_stage."
            )


def _check_mask(each: dict[str, Any]) -> None:
    name = each["name"]
    for setting in MASKS:
        value = each["settings"].get(setting)
        if isinstance(value, int) and not isinstance(value, bool):
            mask = "{}:{}".format(*divmod(value, 60))
            raise RefusedError(
                f"{name} has {setting}: {mask}, which YAML reads as the number {value} (it counts in sixties). Put it "
                f'in quotes: {setting}: "{mask}".'
            )
        if isinstance(value, list) and any(not isinstance(side, int) or side < 1 for side in value):
            raise RefusedError(
                f"{name} has the blocks {value}, and SparseML replaces a -1 by the first layer's size for all layers. "
                "Write both sides as numbers, such as [1, 4]."
            )
        if name in CALIBRATED and value is not None and not re.match(r"\d+:\d+$|eval\(", str(value)):
            raise RefusedError(
                f'{name} has {setting}: {value}. It takes n:m in quotes there, such as "2:4"; or leave {setting} out.'
            )
        removed = removed_by(name, value)
        for asked in sparsities_of(each):
            if removed is not None and asked and abs(asked - removed) > 1e-2:
                raise RefusedError(
                    f"{name} asks for a sparsity of {asked:g} and {setting} {value}, which always removes "
                    f"{removed:g}. Write {round(removed, 4):g}, or another mask."
                )


def removed_by(name: str, mask: Any) -> float | None:
    """Return the share that an n:m mask removes: the older modifiers keep n of m, the calibrated ones remove n."""
    match = re.match(r"(\d+):(\d+)$", "2:4" if mask == "tensorrt" else str(mask))
    if match is None or match[2] == "0":
        return None
    n, m = int(match[1]), int(match[2])
    if not 0 < n < m:
        raise RefusedError(f"{name} has the mask {mask}, but n:m needs an n from 1 to m - 1.")
    return n / m if name in CALIBRATED else 1 - n / m


def sparsities_of(each: dict[str, Any]) -> list[float]:
    """Return every sparsity that the modifier asks for, without those that are not evaluated yet."""
    asked: list[Any] = []
    for setting in SPARSITIES:
        value = each["settings"].get(setting)
        asked += value if isinstance(value, (dict, list)) else [value]
    return [value for value in asked if isinstance(value, (int, float))]


def _check_sparsities(each: dict[str, Any]) -> None:
    name, settings = each["name"], each["settings"]
    for value in sparsities_of(each):
        if not 0 < value < 1:
            percent = f" It is a share, not a percentage: {value / 100:g}." if 1 < value < 100 else ""
            raise RefusedError(f"{name} asks for a sparsity of {value!r}; it has to be above 0 and below 1.{percent}")
    profile = settings.get("sparsity_profile")
    if profile is not None and str(profile).lower() != "owl":
        raise RefusedError(f"{name} has sparsity_profile: {profile}, which SparseML would ignore; it knows only owl.")
    if name in CALIBRATED and all(settings.get(setting) is None for setting in SPARSITIES):
        raise RefusedError(f"{name} has no sparsity, so it would remove nothing. Add one, such as sparsity: 0.5.")


def _check_schedule(each: dict[str, Any]) -> list[str]:
    """Refuse schedules that would stay at their first sparsity in one shot."""
    name, settings = each["name"], each["settings"]
    start, end = settings.get("start_epoch"), settings.get("end_epoch")
    if settings.get("inter_func") == "inverse_cubic":
        raise RefusedError(
            f"{name} has inter_func: inverse_cubic, with which SparseML stays at init_sparsity in one shot. Write "
            "cubic: in one shot only the final sparsity counts."
        )
    if not isinstance(start, (int, float)) or not isinstance(end, (int, float)):
        return []
    if name not in ("ACDCPruningModifier", "TopKASTPruningModifier") and end <= start:
        raise RefusedError(
            f"{name} ends at epoch {end:g} and starts at {start:g}; if the end is not after the start, SparseML stays "
            f"at init_sparsity in one shot. Write end_epoch: {max(start, 0) + 1:g}."
        )
    return [f"{name} is a schedule from epoch {start:g} to {end:g}; it was applied in one shot at its final sparsity."]


def _check_names(each: dict[str, Any]) -> None:
    value = each["settings"].get("params")
    if isinstance(value, str) and value not in TOKENS and not value.startswith("eval("):
        raise RefusedError(
            f"{each['name']} has params: {value}, a single text, but SparseML takes a list there, or one of "
            f'{" and ".join(TOKENS)}. Write params: ["{value}"].'
        )
    for name in names_in(each, "params") + names_in(each, "targets"):
        if str(name).startswith("re:"):
            try:
                re.compile(name[3:])
            except re.error as error:
                raise RefusedError(
                    f"{each['name']} has the pattern {name}, which is not a regular expression: {error}."
                ) from None


def names_in(each: dict[str, Any], setting: str) -> list[str]:
    """Return the names that a setting lists; `params` are also those to which `final_sparsity` maps sparsities."""
    value, shares = each["settings"].get(setting), each["settings"].get("final_sparsity")
    lists = [value, *(shares.values() if setting == "params" and isinstance(shares, dict) else ())]
    return [name for names in lists if isinstance(names, list) for name in names]
