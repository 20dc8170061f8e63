"""Apply a recipe to a model with SparseML in one shot: weights in and out by file, zeros counted before and after.

The user's class is not available here. The request has its modules' names and kinds, its weights, and, if a modifier
needs activations, an ExportedProgram, which runs through real Linear layers of the same names.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
from typing import Any

from ._recipe_model import Model
from ._recipe_rules import CALIBRATED, IDLE, RefusedError, check, read, removed_by, settings_lists
from ._recipe_zeros import hold_against, mask_of, more_than_asked, recount

NEEDED = {"listed": ("sparseml",), "nested": ("sparseml", "safetensors", "compressed_tensors", "transformers")}


def probe() -> dict[str, Any]:
    os.environ["NM_DISABLE_ANALYTICS"] = "1"  # it would look up the machine's address
    for name in NEEDED["nested"]:
        importlib.import_module(name)
    import torch

    return {"versions": dict(_versions(), torch=torch.__version__), "devices": {}}


def read_recipe(request: dict[str, Any], say: Any) -> dict[str, Any]:
    """Return what the recipe needs, {"calibrated", "names"}, or {"refused": why it would not do what it says}."""
    try:
        recipe = _read(request["recipe"])
        check(recipe)
    except RefusedError as error:
        return {"refused": str(error)}
    lacking = [name for name in NEEDED[recipe["notation"]] if importlib.util.find_spec(name) is None]
    if lacking:
        said = "SparseML's environment lacks {}, which this recipe needs. Make it again: %hwprune setup sparseml."
        return {"refused": said.format(", ".join(lacking))}
    names = [each["name"] for each in recipe["modifiers"] if each["name"] not in IDLE]
    return {"calibrated": any(name in CALIBRATED for name in names), "names": list(dict.fromkeys(names))}


def apply_recipe(request: dict[str, Any], say: Any) -> dict[str, Any]:
    """Apply the recipe to the model of `request`, and write the weights that changed.

    Returns {"params": {name: {"size", "before", "after", "asked", "mask"}}, "left_out", "ranked_together", "remarks",
    "versions"}, or {"refused": ...}.
    """
    os.environ["NM_DISABLE_ANALYTICS"] = "1"  # it would look up the machine's address
    import torch

    recipe = _read(request["recipe"])
    model = Model(torch, request)
    before = {name: parameter.detach().clone() for name, parameter in model.parameters.items()}
    say("recipe", "importing SparseML")
    try:
        try:
            applied = (_Listed if recipe["notation"] == "listed" else _Nested)(model, request["recipe"], recipe)
            say("recipe", ", ".join(each["name"] for each in recipe["modifiers"]))
            with torch.no_grad():
                applied.run()
        except RefusedError:
            raise
        except Exception as error:
            raise RefusedError(
                "SparseML could not apply the recipe to this model: {}.".format(_first_line(error))
            ) from error
        params = recount(torch, model.parameters, before, applied.asked)
        hold_against(params, applied.together)
    except RefusedError as error:
        return {"refused": str(error)}
    changed = {
        name: parameter.detach()
        for name, parameter in model.parameters.items()
        if not torch.equal(parameter, before[name])
    }
    torch.save(changed, request["out"])
    return {
        "params": params,
        "left_out": model.left_out,
        "ranked_together": bool(applied.together),
        "remarks": applied.remarks + more_than_asked(params, applied.together),
        "versions": _versions(),
    }


def _read(path: str) -> dict[str, Any]:
    with open(path, encoding="utf-8") as file:
        return read(file.read())


def _first_line(error: BaseException) -> str:
    return "{}: {}".format(type(error).__name__, " ".join(str(error).split())[:400]).rstrip(".: ")


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {"sparseml": version("sparseml")}


class _Listed:
    """A recipe of tagged modifiers, through SparseML's manager."""

    def __init__(self, model: Model, path: str, recipe: dict[str, Any]) -> None:
        from sparseml.optim.helpers import evaluate_recipe_yaml_str_equations
        from sparseml.pytorch.optim import ScheduledModifierManager

        try:
            with open(path, encoding="utf-8") as file:
                evaluated = read(evaluate_recipe_yaml_str_equations(file.read()))
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise RefusedError(
                "SparseML cannot evaluate the recipe's values: {}.".format(_first_line(error))
            ) from error
        self.model, self.remarks = model, check(evaluated)
        try:
            self.manager = ScheduledModifierManager.from_yaml(path)
        except Exception as error:
            raise RefusedError("SparseML cannot read the recipe: {}.".format(_first_line(error))) from error
        made = list(self.manager.iter_modifiers())
        if len(made) != len(recipe["modifiers"]):
            raise RefusedError(
                "SparseML read {} of the recipe's {} modifiers. List them all under one key, `modifiers:`.".format(
                    len(made), len(recipe["modifiers"])
                )
            )
        for each in evaluated["modifiers"]:
            self._require_matches(each)
        self.asked: dict[str, tuple[float, Any]] = {}
        self.together: list[list[str]] = []
        for modifier in made:
            if type(modifier).__name__ not in IDLE:
                self._ask(modifier)

    def _require_matches(self, each: dict[str, Any]) -> None:
        names = each["settings"].get("params")
        wanted = list(names) if isinstance(names, list) else []
        for own in settings_lists(each):
            wanted += own
        there = [own if "." in own else "." + own for own in self.model.parameters]  # as SparseML calls them
        for name in wanted:
            if name in ("__ALL__", "__ALL_PRUNABLE__"):
                continue
            if not any(re.match(name[3:], own) if name.startswith("re:") else own == name for own in there):
                raise RefusedError(_no_match(each["name"], "params", name, there))

    def _ask(self, modifier: Any) -> None:
        """Note the sparsity asked of each parameter, with the parameters that SparseML itself selects."""
        found = modifier._create_named_layers_and_params(self.model.root)
        names = ["{}.{}".format(each.layer_name, each.param_name).lstrip(".") for each in found]
        settings = ("_final_sparsity", "_compression_sparsity", "_forward_sparsity")
        asked = next(share for name in settings if (share := getattr(modifier, name, None)) is not None)
        shares = asked if isinstance(asked, list) else [asked] * len(names)
        mask = getattr(modifier, "mask_type", "unstructured")
        kind = type(modifier).__name__
        deep = [name for name in names if self.model.parameters[name].ndim != 2]
        if deep and removed_by(kind, mask) is not None:
            raise RefusedError(
                "{} in SparseML 1.8 makes {} masks that fit Linear layers only, but its params include {}, with "
                "another number of dimensions. Leave those out; --pattern {} also works for convolutions.".format(
                    kind, mask, ", ".join(deep[:4]), mask_of(kind, mask)
                )
            )
        for name, share in zip(names, shares):
            self.asked[name] = (max(share, self.asked.get(name, (0.0, None))[0]), mask_of(kind, mask))
        if modifier.global_sparsity and removed_by(kind, mask) is None:
            self.together.append(names)
        if kind == "StructuredPruningModifier":
            self.remarks.append(
                "{} zeroes whole {}s and leaves them in the network, where kernels multiply them; --pattern channel "
                "removes channels.".format(kind, mask)
            )

    def run(self) -> None:
        self.manager.apply(self.model.root)


class _Nested:
    """A recipe of stages, through SparseML's session, with the calibration inputs."""

    def __init__(self, model: Model, path: str, recipe: dict[str, Any]) -> None:
        from sparseml.core.recipe import Recipe

        self.model, self.path = model, path
        try:
            own = Recipe.create_instance(path)
            own.evaluate()
        except Exception as error:
            raise RefusedError("SparseML cannot read the recipe: {}.".format(_first_line(error))) from error
        made = []
        for stage in own.stages:
            group = "{}_stage".format(stage.group)
            if (stage.infer_run_type() is not None and stage.infer_run_type().value == "train") or not stage.enabled:
                raise RefusedError(
                    "The stage {} is switched off or for training, but --recipe would apply it all the same. Remove "
                    "it, or remove its run_type and enabled.".format(group)
                )
            for modifier in stage.modifiers:
                place = (group, "{}_modifiers".format(modifier.group), modifier.type)
                made.append(
                    {"notation": "nested", "name": modifier.type, "path": place, "settings": modifier.args_evaluated}
                )
        if len(made) != len(recipe["modifiers"]):
            raise RefusedError(
                "SparseML read {} of the recipe's {} modifiers.".format(len(made), len(recipe["modifiers"]))
            )
        self.remarks = check({"notation": "nested", "modifiers": made})
        self.asked: dict[str, tuple[float, Any]] = {}
        self.together: list[list[str]] = []
        for each in made:
            self._require_known_settings(each)
            if each["name"] in CALIBRATED:
                self._ask(each)

    def _require_known_settings(self, each: dict[str, Any]) -> None:
        from sparseml.core.factory import ModifierFactory

        if not ModifierFactory._loaded:
            ModifierFactory.refresh()
        known = ModifierFactory._main_registry[each["name"]].model_fields
        unknown = [name for name in each["settings"] if name not in known]
        if unknown:
            raise RefusedError(
                "{} has no setting {}; SparseML would ignore it. Its settings are: {}.".format(
                    each["name"], ", ".join(unknown), ", ".join(name for name in known if not name.endswith("_"))
                )
            )

    def _ask(self, each: dict[str, Any]) -> None:
        """Note the sparsity asked of each layer, and refuse layers that SparseML's calibrated modifiers do not take."""
        from sparseml.utils.pytorch.module import get_layers, get_no_split_params, get_prunable_layers

        settings, root = each["settings"], self.model.root
        targets = settings.get("targets")
        try:
            found = get_layers(get_no_split_params(root) if targets is None else targets, root)
        except ValueError:
            missing = [target for target in targets or ["__ALL__"] if not _matches_any(get_layers, target, root)]
            raise RefusedError(_no_match(each["name"], "targets", ", ".join(missing), self.model.modules)) from None
        sparsity = settings.get("sparsity", 0.0)
        shares = sparsity if isinstance(sparsity, list) else [sparsity] * len(found)
        names: list[str] = []
        if "" in found:
            raise RefusedError(
                "The model is a single layer, but {} takes only layers inside a model. Wrap it, such as in "
                "nn.Sequential(layer).".format(each["name"])
            )
        for (outer, layer), share in zip(found.items(), shares):
            if settings.get("sparsity_profile") and isinstance(layer, self.model.torch.nn.Linear):
                raise RefusedError(
                    "{} with a sparsity_profile ranks the layers inside each target, but its target {} is a layer "
                    "itself. Name the modules around the layers, or leave sparsity_profile out.".format(
                        each["name"], outer
                    )
                )
            inner = {".".join(n for n in (outer, own) if n): m for own, m in get_prunable_layers(layer).items()}
            twice = [name for name in inner if name in names]
            if twice:
                raise RefusedError(
                    "The targets of {} name {} more than once: by itself and inside another target. Name it once, "
                    "such as by re:.*{}$.".format(each["name"], twice[0], twice[0].rpartition(".")[2])
                )
            others = [name for name in inner if not isinstance(inner[name], self.model.torch.nn.Linear)]
            if others:
                raise RefusedError(
                    "{} in SparseML 1.8 works on Linear layers only, but its targets include {}, which {} not. Name "
                    'the Linear layers: targets: ["{}"].'.format(
                        each["name"],
                        ", ".join(others[:4]),
                        "is" if len(others) == 1 else "are",
                        '", "'.join(list(self.model.calls.values())[:8]) or "re:...",
                    )
                )
            names += inner
            removed = removed_by(each["name"], settings.get("mask_structure", "0:0"))
            for name in inner:
                asked = removed or share
                mask = mask_of(each["name"], settings.get("mask_structure", "0:0"))
                self.asked[(name + ".weight").lstrip(".")] = (asked, mask)
        if not names:
            said = "The targets of {} include no Linear layer that torch's graph of the model calls on this input."
            raise RefusedError(said.format(each["name"]))
        if settings.get("sparsity_profile"):
            self.together.append([name + ".weight" for name in names])

    def run(self) -> None:
        from sparseml.core.framework import Framework
        from sparseml.core.session import create_session

        torch = self.model.torch
        batches = [
            {"input_ids": torch.tensor([number]), "attention_mask": torch.tensor([1])}
            for number in range(len(self.model.batches))
        ]
        with create_session() as session:
            session.apply(
                framework=Framework.pytorch,
                recipe=self.path,
                model=self.model.root,
                calib_data=batches,
                copy_data=False,
                start=-1,  # any other value skips modifiers that name no epoch
            )


def _matches_any(get_layers: Any, target: str, root: Any) -> bool:
    try:
        return bool(get_layers([target], root))
    except ValueError:
        return False


def _no_match(modifier: str, setting: str, name: str, there: Any) -> str:
    names = [own for own in there if own][:8]
    return "The {} of {} name {}, but nothing in the model matches that. It has: {}{}.{}".format(
        setting,
        modifier,
        name,
        ", ".join(names),
        " and more" if len(there) > len(names) else "",
        "" if name.startswith("re:") else " A pattern begins with re:, such as re:.*weight.",
    )
