"""SparseML applies a recipe to a model in one shot: weights in and out by file, zeros counted before and after.

The user's class cannot come here. What comes are its modules' names and kinds, its weights, and where a modifier needs
activations an ExportedProgram, which runs through real Linear layers of the same names.
"""

from __future__ import annotations

import importlib.util
import os
import re
from typing import Any

from ._recipe_rules import CALIBRATED, IDLE, Refused, check, read, removed_by, settings_lists

NEEDED = {"listed": ("sparseml",), "nested": ("sparseml", "safetensors", "compressed_tensors", "transformers")}
PRUNED_BY_IT = "Linear"
SAME = 1e-3  # of two computations of one model in float32


def read_recipe(request: dict[str, Any], say: Any) -> dict[str, Any]:
    """Say what the recipe needs: {"calibrated", "names"}; or {"refused": why it would not do what it says}."""
    try:
        recipe = _read(request["recipe"])
        check(recipe)
        lacking = [name for name in NEEDED[recipe["notation"]] if importlib.util.find_spec(name) is None]
        if lacking:
            raise Refused(
                "SparseML's environment lacks {}, and without it SparseML does nothing and says nothing. Make the "
                "environment again: %hwprune setup sparseml.".format(", ".join(lacking))
            )
    except Refused as error:
        return {"refused": str(error)}
    names = [each["name"] for each in recipe["modifiers"] if each["name"] not in IDLE]
    return {"calibrated": any(name in CALIBRATED for name in names), "names": list(dict.fromkeys(names))}


def apply_recipe(request: dict[str, Any], say: Any) -> dict[str, Any]:
    """Apply the recipe to the model of `request` and write the weights that changed.

    Returns {"params": {name: {"size", "before", "after", "asked", "mask"}}, "left_out", "ranked_together", "remarks",
    "versions"}, or {"refused": ...}.
    """
    os.environ["NM_DISABLE_ANALYTICS"] = "1"  # it would look up the machine's address
    import torch

    recipe = _read(request["recipe"])
    model = _Model(torch, request)
    before = {name: parameter.detach().clone() for name, parameter in model.parameters.items()}
    say("recipe", "importing SparseML")
    try:
        apply = _Listed if recipe["notation"] == "listed" else _Nested
        applied = apply(model, request["recipe"], len(recipe["modifiers"]))
        say("recipe", ", ".join(each["name"] for each in recipe["modifiers"]))
        try:
            with torch.no_grad():
                applied.run()
        except Exception as error:  # noqa: BLE001 - whatever SparseML makes of it, the user has to hear it
            raise Refused(
                "SparseML could not apply the recipe to this model: {}.".format(_first_line(error))
            ) from error
        params = _recount(torch, model.parameters, before, applied.asked)
        _hold_against(params, applied.together)
    except Refused as error:
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
        "remarks": applied.remarks + _more_than_asked(params, applied.together),
        "versions": _versions(),
    }


def _read(path: str) -> dict[str, Any]:
    with open(path, encoding="utf-8") as file:
        return read(file.read())


def _first_line(error: BaseException) -> str:
    return "{}: {}".format(type(error).__name__, " ".join(str(error).split())[:400]).rstrip(".: ")


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("sparseml", "torch")}


class _Model:
    """A tree of modules with the user's names, kinds and weights; with a program it can be run, too."""

    def __init__(self, torch: Any, request: dict[str, Any]) -> None:
        self.torch, self.modules, self.left_out = torch, request["modules"], {}  # type: Any, Any, dict[str, str]
        self.program = None
        if request["program"] is None:
            tensors = torch.load(request["weights"], weights_only=True)
        else:
            self.program = torch.export.load(request["program"])
            tensors = dict(self.program.state_dict)
        self.parameters: dict[str, Any] = {}
        for name, source in request["parameters"].items():  # a tied weight is one parameter under several names
            if source not in self.parameters:
                tensor = tensors[source].detach()
                self.parameters[source] = torch.nn.Parameter(tensor.clone(), requires_grad=tensor.is_floating_point())
            self.parameters[name] = self.parameters[source]
        self.calls = self._calls() if self.program is not None else {}
        self.root = self._tree()
        if request["no_split"]:
            self.root._no_split_modules = request["no_split"]
        if self.program is not None:
            self._run_through_layers(request)

    def _tree(self) -> Any:
        torch, model = self.torch, self

        class Root(torch.nn.Module):  # type: ignore[name-defined,misc]
            def forward(self, input_ids: Any, attention_mask: Any) -> Any:
                return model.run(int(input_ids[0]))

        root = Root()
        for name, (kind, base) in self.modules.items():
            weight = self.parameters.get((name + ".weight").lstrip("."))
            if self.program is not None and base == PRUNED_BY_IT and name not in self.calls.values():
                self.left_out[name] = "torch's graph of the model does not call it as a layer on this input"
                base = None
            own = root if not name and base is None else self._module(kind, base, weight)
            if not name:
                root = own
            else:
                parent, _, last = name.rpartition(".")
                root.get_submodule(parent).add_module(last, own)
        for name, parameter in self.parameters.items():
            owner, _, last = name.rpartition(".")
            root.get_submodule(owner).register_parameter(last, parameter)
        return root.eval()

    def _module(self, kind: str, base: str | None, weight: Any) -> Any:
        """Make a module that SparseML takes for what it is, by its class and by its class's name."""
        nn = self.torch.nn
        if base is None or weight is None:
            own = nn.Module()
        elif base in ("Linear", "Embedding"):
            sizes = (weight.shape[1], weight.shape[0]) if base == "Linear" else tuple(weight.shape)
            own = getattr(nn, base)(*sizes, device="meta", **({"bias": False} if base == "Linear" else {}))
        else:  # a convolution: what a modifier asks of it are its class and its weight
            own = getattr(nn, base)(weight.shape[1], weight.shape[0], tuple(weight.shape[2:]), bias=False, device="meta")
        own.__class__ = type(str(kind), (type(own),), {})
        return own

    def _calls(self) -> dict[Any, str]:
        """Return the graph's nodes that are exactly one Linear layer with its own weight and bias."""
        self.graph = self.program.module()  # type: ignore[attr-defined]
        calls = {}
        for node in self.graph.graph.nodes:
            if node.target is not self.torch.ops.aten.linear.default or node.args[1].op != "get_attr":
                continue
            layer, _, last = str(node.args[1].target).rpartition(".")
            own_bias = (layer + ".bias").lstrip(".")
            bias = node.args[2] if len(node.args) > 2 else None
            fits = (own_bias not in self.parameters) if bias is None else str(bias.target) == own_bias
            if last == "weight" and fits and self.modules.get(layer, ("", ""))[1] == PRUNED_BY_IT:
                calls[node] = layer
        return calls

    def _run_through_layers(self, request: dict[str, Any]) -> None:
        """Hold the program, run through the layers of the tree, against what torch computed for the user's model."""
        import numpy as np

        torch = self.torch
        self.batches = [self.program.example_inputs]  # type: ignore[attr-defined]
        if request["batches"] is not None:
            self.batches = torch.load(request["batches"], weights_only=True)
        with torch.no_grad(), np.load(request["expected"]) as file:
            outputs = self._outputs(self.program.example_inputs)  # type: ignore[attr-defined]
            for output, key in zip(outputs, file.files):
                want = torch.from_numpy(file[key])
                if float((output - want).abs().max()) > SAME * max(1e-30, float(want.abs().max())):
                    raise RuntimeError("the exported model computes something else than torch through its layers")

    def run(self, number: int) -> Any:
        return self._outputs(self.batches[number])

    def _outputs(self, inputs: Any) -> Any:
        """Run the program with the tree's weights, and its Linear layers as they stand in the tree at this moment."""
        torch, calls, parameters, root = self.torch, self.calls, self.parameters, self.root
        from torch.utils import _pytree as pytree

        class Interpreter(torch.fx.Interpreter):  # type: ignore[name-defined,misc]
            def run_node(self, node: Any) -> Any:
                if node.op == "call_module" and node.target == "_guards_fn":
                    return None
                if node in calls:
                    return root.get_submodule(calls[node])(self.env[node.args[0]])
                return super().run_node(node)

            def fetch_attr(self, target: str) -> Any:
                return parameters[target] if target in parameters else super().fetch_attr(target)

        return Interpreter(self.graph).run(*pytree.tree_leaves(tuple(inputs)), enable_io_processing=False)


class _Listed:
    """A recipe of tagged modifiers, through SparseML's manager."""

    def __init__(self, model: _Model, path: str, count: int) -> None:
        from sparseml.optim.helpers import evaluate_recipe_yaml_str_equations
        from sparseml.pytorch.optim import ScheduledModifierManager

        try:
            with open(path, encoding="utf-8") as file:
                evaluated = read(evaluate_recipe_yaml_str_equations(file.read()))
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise Refused("SparseML cannot work out the recipe's values: {}.".format(_first_line(error))) from error
        self.model, self.remarks = model, check(evaluated)
        try:
            self.manager = ScheduledModifierManager.from_yaml(path)
        except Exception as error:  # noqa: BLE001 - its readers raise whatever their libraries do
            raise Refused("SparseML cannot read the recipe: {}.".format(_first_line(error))) from error
        made = list(self.manager.iter_modifiers())
        if len(made) != count:
            raise Refused(
                "SparseML read {} of the recipe's {} modifiers. List them all under one key, `modifiers:`.".format(
                    len(made), count
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
        for name in wanted:
            there = self.model.parameters
            if name in ("__ALL__", "__ALL_PRUNABLE__"):
                continue
            if not any(re.match(name[3:], own) if name.startswith("re:") else own == name.lstrip(".") for own in there):
                raise Refused(_no_match(each["name"], "params", name, there))

    def _ask(self, modifier: Any) -> None:
        """Note what each parameter is to lose, by SparseML's own choice of parameters."""
        found = modifier._create_named_layers_and_params(self.model.root)
        names = ["{}.{}".format(each.layer_name, each.param_name).lstrip(".") for each in found]
        for setting in ("_final_sparsity", "_compression_sparsity", "_forward_sparsity"):
            asked = getattr(modifier, setting, None)
            if asked is not None:
                break
        shares = asked if isinstance(asked, list) else [asked] * len(names)
        mask = getattr(modifier, "mask_type", "unstructured")
        kind = type(modifier).__name__
        for name, share in zip(names, shares):
            self.asked[name] = (max(share, self.asked.get(name, (0.0, None))[0]), _mask(kind, mask))
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

    def __init__(self, model: _Model, path: str, count: int) -> None:
        from sparseml.core.recipe import Recipe

        self.model, self.path = model, path
        try:
            recipe = Recipe.create_instance(path)
            recipe.evaluate()
        except Exception as error:  # noqa: BLE001 - its readers raise whatever their libraries do
            raise Refused("SparseML cannot read the recipe: {}.".format(_first_line(error))) from error
        made = []
        for stage in recipe.stages:
            group = "{}_stage".format(stage.group)
            if stage.infer_run_type() is not None and stage.infer_run_type().value == "train" or not stage.enabled:
                raise Refused(
                    "The stage {} is switched off or made for a training, and --recipe would apply it all the same. "
                    "Take it out, or take out its run_type and enabled.".format(group)
                )
            for modifier in stage.modifiers:
                place = (group, "{}_modifiers".format(modifier.group), modifier.type)
                made.append(
                    {"notation": "nested", "name": modifier.type, "path": place, "settings": modifier.args_evaluated}
                )
        if len(made) != count:
            raise Refused("SparseML read {} of the recipe's {} modifiers.".format(len(made), count))
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
            raise Refused(
                "{} has no setting {}, and SparseML would ignore it. It has: {}.".format(
                    each["name"], ", ".join(unknown), ", ".join(name for name in known if not name.endswith("_"))
                )
            )

    def _ask(self, each: dict[str, Any]) -> None:
        """Note what each layer is to lose, and refuse those that SparseML's calibrated modifiers do not take."""
        from sparseml.utils.pytorch.module import get_layers, get_no_split_params, get_prunable_layers

        settings, root = each["settings"], self.model.root
        targets = settings.get("targets")
        try:
            found = get_layers(get_no_split_params(root) if targets is None else targets, root)
        except ValueError:
            missing = [target for target in targets or ["__ALL__"] if not _matches_any(get_layers, target, root)]
            raise Refused(_no_match(each["name"], "targets", ", ".join(missing), self.model.modules)) from None
        sparsity = settings.get("sparsity", 0.0)
        shares = sparsity if isinstance(sparsity, list) else [sparsity] * len(found)
        names: list[str] = []
        for (outer, layer), share in zip(found.items(), shares):
            inner = {".".join(n for n in (outer, own) if n): m for own, m in get_prunable_layers(layer).items()}
            twice = [name for name in inner if name in names]
            if twice:
                raise Refused(
                    "The targets of {} name {} more than once: by itself and inside of another target. Name it once, "
                    "such as by re:.*{}$.".format(each["name"], twice[0], twice[0].rpartition(".")[2])
                )
            others = [name for name in inner if not isinstance(inner[name], self.model.torch.nn.Linear)]
            if others:
                raise Refused(
                    "{} in SparseML 1.8 works on Linear layers only, and its targets hold {}, which {} none. Name the "
                    'Linear layers: targets: ["{}"].'.format(
                        each["name"],
                        ", ".join(others[:4]),
                        "is" if len(others) == 1 else "are",
                        '", "'.join([n for n in self.model.calls.values()][:8]) or "re:...",
                    )
                )
            names += inner
            removed = removed_by(each["name"], settings.get("mask_structure", "0:0"))
            for name in inner:
                asked = removed or share
                mask = _mask(each["name"], settings.get("mask_structure", "0:0"))
                self.asked[(name + ".weight").lstrip(".")] = (asked, mask)
        if not names:
            raise Refused("The targets of {} hold no Linear layer that could be pruned.".format(each["name"]))
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
                start=-1,  # with any other, modifiers that name no epoch are passed over
            )


def _matches_any(get_layers: Any, target: str, root: Any) -> bool:
    try:
        return bool(get_layers([target], root))
    except ValueError:
        return False


def _no_match(modifier: str, setting: str, name: str, there: Any) -> str:
    names = [own for own in there if own][:8]
    return "The {} of {} name {}, and nothing in the model matches that. There are: {}{}.{}".format(
        setting,
        modifier,
        name,
        ", ".join(names),
        " and more" if len(there) > len(names) else "",
        "" if name.startswith("re:") else " A pattern begins with re:, such as re:.*weight.",
    )


def _mask(modifier: str, mask: Any) -> str:
    """Write a mask in the notation of hwprune's patterns; n:m is n kept of m there."""
    if mask == "tensorrt":
        mask = "2:4"
    if removed_by(modifier, mask) is not None:
        n, m = (int(part) for part in str(mask).split(":"))
        return "{}:{}".format(m - n if modifier in CALIBRATED else n, m)
    if mask == "block4":
        return "1x4"
    if isinstance(mask, list):
        return "x".join(str(side) for side in mask)
    return "unstructured"


def _recount(torch: Any, parameters: Any, before: Any, asked: Any) -> dict[str, dict[str, Any]]:
    """Count the zeros of every parameter that was to lose some, or did."""
    params = {}
    for name, parameter in parameters.items():
        zeros = [int(each.numel() - each.count_nonzero()) for each in (before[name], parameter)]
        if name in asked or zeros[1] > zeros[0] or not torch.equal(before[name], parameter):
            share, mask = asked.get(name, (None, "unstructured"))
            params[name] = {
                "size": parameter.numel(),
                "columns": parameter.shape[1] if parameter.ndim > 1 else 1,
                "before": zeros[0],
                "after": zeros[1],
                "asked": share,
                "mask": mask,
            }
    return params


def _hold_against(params: dict[str, dict[str, Any]], together: list[list[str]]) -> None:
    """Refuse a result with fewer zeros than the recipe asked for, whatever the reason."""
    ranked_together = {name for names in together for name in names}
    short = []
    for name, found in params.items():
        if found["asked"] is None or name in ranked_together:
            continue
        if found["after"] / found["size"] < found["asked"] - _grain(found) or not found["after"]:
            short.append((name, found["after"] / found["size"], found["asked"]))
    for names in together:
        size, after = (sum(params[name][key] for name in names) for key in ("size", "after"))
        asked = sum(params[name]["asked"] * params[name]["size"] for name in names) / size
        if after / size < asked - 0.01:
            short.append((names[0] + " and the others it is ranked with", after / size, asked))
    if short:
        raise Refused(
            "SparseML ran the recipe and made fewer zeros than it asks for: {}. Leave such layers out of the recipe, "
            "or ask for what they can hold.".format(
                "; ".join("{} has {:.1%} instead of {:.1%}".format(*each) for each in short[:6])
            )
        )


def _grain(found: dict[str, Any]) -> float:
    """How far rounding may miss the share: a block of the mask, or one weight of each row."""
    block = 1
    if "x" in found["mask"]:
        rows, columns = (max(1, int(side)) for side in found["mask"].split("x"))
        block = rows * columns
    return max(block / found["size"], 1 / max(1, found["columns"])) + 1e-9


def _more_than_asked(params: dict[str, dict[str, Any]], together: list[list[str]]) -> list[str]:
    """Say where far more went than was asked for: SparseGPT drops inputs that are zero all through the calibration."""
    more = [
        "{} ({:.0%})".format(name, found["after"] / found["size"])
        for name, found in params.items()
        if found["asked"] is not None
        and found["before"] == 0
        and found["after"] / found["size"] > found["asked"] + 0.1
        and not any(name in names for names in together)
    ]
    return ["More zeros than asked for: {}.".format(", ".join(more[:4]))] if more else []
