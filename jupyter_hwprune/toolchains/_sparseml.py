"""Apply a recipe to a model with SparseML in one shot: weights in and out by file, zeros counted before and after.

The user's class is not available here. The request has its modules' names and kinds, its weights, and, if a modifier
needs activations, an ExportedProgram, which runs through real Linear layers of the same names.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import re
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from ._recipe_model import Model
from ._recipe_rules import CALIBRATED, IDLE, TOKENS, RefusedError, check, names_in, read, removed_by
from ._recipe_zeros import hold_against, mask_of, more_than_asked, recount

NEEDED = {"listed": ("sparseml",), "nested": ("sparseml", "safetensors", "compressed_tensors", "transformers")}


def probe() -> dict[str, Any]:
    os.environ["NM_DISABLE_ANALYTICS"] = "1"  # it would look up the machine's address
    for name in NEEDED["nested"]:
        importlib.import_module(name)
    import torch

    return {"versions": {"sparseml": version("sparseml"), "torch": torch.__version__}, "devices": {}}


def read_recipe(request: dict[str, Any], say: Any) -> dict[str, Any]:
    """Return what the recipe needs, {"calibrated", "names"}, or {"refused": why it would not do what it says}."""
    try:
        recipe = _read(request["recipe"])
        check(recipe)
    except RefusedError as error:
        return {"refused": str(error)}
    lacking = [name for name in NEEDED[recipe["notation"]] if importlib.util.find_spec(name) is None]
    if lacking:
        needed = f"SparseML's environment lacks {', '.join(lacking)}, which this recipe needs."
        return {"refused": f"{needed} Make it again: %hwprune setup sparseml."}
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
        with _refusing("could not apply the recipe to this model"):
            applied = (_Listed if recipe["notation"] == "listed" else _Nested)(model, request["recipe"], recipe)
            say("recipe", ", ".join(each["name"] for each in recipe["modifiers"]))
            with torch.no_grad():
                applied.run()
        params = recount(torch, model.parameters, before, applied.asked)
        hold_against(params, applied.together)
    except RefusedError as error:
        return {"refused": str(error)}
    own = {name: parameter.detach() for name, parameter in model.parameters.items()}
    torch.save({name: tensor for name, tensor in own.items() if not torch.equal(tensor, before[name])}, request["out"])
    return {
        "params": params,
        "left_out": model.left_out,
        "ranked_together": bool(applied.together),
        "remarks": applied.remarks + more_than_asked(params, applied.together),
        "versions": {"sparseml": version("sparseml")},
    }


def _read(path: str) -> dict[str, Any]:
    with open(path, encoding="utf-8") as file:
        return read(file.read())


@contextlib.contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Turn anything that SparseML raises into a refusal, which says `what` it failed at."""
    try:
        yield
    except RefusedError:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:400]}".rstrip(".: ")
        raise RefusedError(f"SparseML {what}: {said}.") from error


class _Applied:
    """A recipe that SparseML has read: the sparsity and mask asked of each parameter, and those ranked together."""

    remarks: list[str]

    def __init__(self, model: Model, path: str, recipe: dict[str, Any]) -> None:
        self.model, self.path, self.recipe = model, path, recipe
        self.asked: dict[str, tuple[float, Any]] = {}
        self.together: list[list[str]] = []

    def _require_all(self, made: list[Any], cure: str = "") -> None:
        wanted = len(self.recipe["modifiers"])
        if len(made) != wanted:
            raise RefusedError(f"SparseML read {len(made)} of the recipe's {wanted} modifiers.{cure}")


class _Listed(_Applied):
    """A recipe of tagged modifiers, through SparseML's manager."""

    def __init__(self, model: Model, path: str, recipe: dict[str, Any]) -> None:
        from sparseml.optim.helpers import evaluate_recipe_yaml_str_equations
        from sparseml.pytorch.optim import ScheduledModifierManager

        super().__init__(model, path, recipe)
        with _refusing("cannot evaluate the recipe's values"), open(path, encoding="utf-8") as file:
            evaluated = read(evaluate_recipe_yaml_str_equations(file.read()))
        self.remarks = check(evaluated)
        with _refusing("cannot read the recipe"):
            self.manager = ScheduledModifierManager.from_yaml(path)
        made = list(self.manager.iter_modifiers())
        self._require_all(made, " List them all under one key, `modifiers:`.")
        for each in evaluated["modifiers"]:
            self._require_matches(each)
        for modifier in made:
            if type(modifier).__name__ not in IDLE:
                self._ask(modifier)

    def _require_matches(self, each: dict[str, Any]) -> None:
        there = [own if "." in own else "." + own for own in self.model.parameters]  # as SparseML calls them
        for name in names_in(each, "params"):
            if name in TOKENS:
                continue
            if not any(re.match(name[3:], own) if name.startswith("re:") else own == name for own in there):
                raise RefusedError(_no_match(each["name"], "params", name, there))

    def _ask(self, modifier: Any) -> None:
        """Note the sparsity asked of each parameter, with the parameters that SparseML itself selects."""
        found = modifier._create_named_layers_and_params(self.model.root)
        names = [f"{each.layer_name}.{each.param_name}".lstrip(".") for each in found]
        settings = ("_final_sparsity", "_compression_sparsity", "_forward_sparsity")
        asked = next(share for name in settings if (share := getattr(modifier, name, None)) is not None)
        kind, mask = type(modifier).__name__, getattr(modifier, "mask_type", "unstructured")
        deep = [name for name in names if self.model.parameters[name].ndim != 2]
        if deep and removed_by(kind, mask) is not None:
            raise RefusedError(
                f"{kind} in SparseML 1.8 makes {mask} masks that fit Linear layers only, but its params include "
                f"{', '.join(deep[:4])}, with another number of dimensions. Leave those out; --pattern "
                f"{mask_of(kind, mask)} also works for convolutions."
            )
        for name, share in zip(names, asked if isinstance(asked, list) else [asked] * len(names)):
            self.asked[name] = (max(share, self.asked.get(name, (0.0, None))[0]), mask_of(kind, mask))
        if modifier.global_sparsity and removed_by(kind, mask) is None:
            self.together.append(names)
        if kind == "StructuredPruningModifier":
            self.remarks.append(
                f"{kind} zeroes whole {mask}s and leaves them in the network, where kernels multiply them; --pattern "
                "channel removes channels."
            )

    def run(self) -> None:
        self.manager.apply(self.model.root)


class _Nested(_Applied):
    """A recipe of stages, through SparseML's session, with the calibration inputs."""

    def __init__(self, model: Model, path: str, recipe: dict[str, Any]) -> None:
        from sparseml.core.recipe import Recipe

        super().__init__(model, path, recipe)
        with _refusing("cannot read the recipe"):
            own = Recipe.create_instance(path)
            own.evaluate()
        made = []
        for stage in own.stages:
            group = f"{stage.group}_stage"
            if (stage.infer_run_type() is not None and stage.infer_run_type().value == "train") or not stage.enabled:
                raise RefusedError(
                    f"The stage {group} is switched off or for training, but --recipe would apply it all the same. "
                    "Remove it, or remove its run_type and enabled."
                )
            for each in stage.modifiers:
                place = (group, f"{each.group}_modifiers", each.type)
                made.append({"notation": "nested", "name": each.type, "path": place, "settings": each.args_evaluated})
        self._require_all(made)
        self.remarks = check({"notation": "nested", "modifiers": made})
        for modifier in made:
            self._require_known_settings(modifier)
            if modifier["name"] in CALIBRATED:
                self._ask(modifier["name"], modifier["settings"])

    def _require_known_settings(self, each: dict[str, Any]) -> None:
        from sparseml.core.factory import ModifierFactory

        if not ModifierFactory._loaded:
            ModifierFactory.refresh()
        known = ModifierFactory._main_registry[each["name"]].model_fields
        unknown = [name for name in each["settings"] if name not in known]
        if unknown:
            there = ", ".join(name for name in known if not name.endswith("_"))
            raise RefusedError(
                f"{each['name']} has no setting {', '.join(unknown)}; SparseML would ignore it. Its settings are: "
                f"{there}."
            )

    def _ask(self, kind: str, settings: dict[str, Any]) -> None:
        """Note the sparsity asked of each layer, and refuse layers that SparseML's calibrated modifiers do not take."""
        from sparseml.utils.pytorch.module import get_layers, get_no_split_params, get_prunable_layers

        root, linear = self.model.root, self.model.torch.nn.Linear
        targets, profile = settings.get("targets"), settings.get("sparsity_profile")
        try:
            found = get_layers(get_no_split_params(root) if targets is None else targets, root)
        except ValueError:
            missing = [target for target in targets or ["__ALL__"] if not _matches_any(get_layers, target, root)]
            raise RefusedError(_no_match(kind, "targets", ", ".join(missing), self.model.modules)) from None
        if "" in found:
            raise RefusedError(
                f"The model is a single layer, but {kind} takes only layers inside a model. Wrap it, such as in "
                "nn.Sequential(layer)."
            )
        sparsity, mask = settings.get("sparsity", 0.0), settings.get("mask_structure", "0:0")
        shares = sparsity if isinstance(sparsity, list) else [sparsity] * len(found)
        names: list[str] = []
        for (outer, layer), share in zip(found.items(), shares):
            if profile and isinstance(layer, linear):
                raise RefusedError(
                    f"{kind} with a sparsity_profile ranks the layers inside each target, but its target {outer} is a "
                    "layer itself. Name the modules around the layers, or leave sparsity_profile out."
                )
            inner = {".".join(n for n in (outer, own) if n): m for own, m in get_prunable_layers(layer).items()}
            twice = next((name for name in inner if name in names), None)
            if twice is not None:
                raise RefusedError(
                    f"The targets of {kind} name {twice} more than once: by itself and inside another target. Name it "
                    f"once, such as by re:.*{twice.rpartition('.')[2]}$."
                )
            others = [name for name, own in inner.items() if not isinstance(own, linear)]
            if others:
                calls = '", "'.join(list(self.model.calls.values())[:8]) or "re:..."
                raise RefusedError(
                    f"{kind} in SparseML 1.8 works on Linear layers only, but its targets include "
                    f"{', '.join(others[:4])}, which {'is' if len(others) == 1 else 'are'} not. Name the Linear "
                    f'layers: targets: ["{calls}"].'
                )
            names += inner
            for name in inner:
                self.asked[(name + ".weight").lstrip(".")] = (removed_by(kind, mask) or share, mask_of(kind, mask))
        if not names:
            raise RefusedError(
                f"The targets of {kind} include no Linear layer that torch's graph of the model calls on this input."
            )
        if profile:
            self.together.append([name + ".weight" for name in names])

    def run(self) -> None:
        from sparseml.core.framework import Framework
        from sparseml.core.session import create_session

        tensor = self.model.torch.tensor
        numbers = range(len(self.model.batches))
        batches = [{"input_ids": tensor([number]), "attention_mask": tensor([1])} for number in numbers]
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
    more = " and more" if len(there) > len(names) else ""
    pattern = "" if name.startswith("re:") else " A pattern begins with re:, such as re:.*weight."
    return (
        f"The {setting} of {modifier} name {name}, but nothing in the model matches that. It has: "
        f"{', '.join(names)}{more}.{pattern}"
    )
