"""Apply a SparseML recipe to the user's weights, with SparseML itself in its own environment.

SparseML prunes in one shot; the zeros are counted afterwards, to check that they are the ones the recipe asks for.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..choose.choice import Choice
from ..core.errors import InputError, ToolchainError, counted, first_line
from ..core.example import Example, require_runs
from ..core.pattern import Unstructured
from ..export.program import export_program
from ..pruning import Pruned, adopt
from ..pruning.fitting import ZeroPattern, zero_pattern
from ..pruning.layers import weight_name
from ..pruning.prepared import Made
from ..pruning.served import Served
from ..toolchains import HERE, environments
from ..toolchains.process import Failure, Progress, call, guarded_folder, private_folder

WORKER_SIDE = HERE / "_sparseml.py"
READ_TIMEOUT_S = 60
KINDS = ("Linear", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "Embedding")
"""The layers that SparseML can prune, by torch's class; subclasses count too."""
FRONT_MATTER = re.compile(r"\s*^---[^\n]*\n(.*?)^---\s*$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class RecipeRead:
    """A recipe: its text, its name, and whether its modifiers need calibration inputs."""

    name: str
    text: str
    modifiers: tuple[str, ...]
    calibrated: bool


def read_recipe(source: str | Path, progress: Progress, name: str | None = None) -> RecipeRead:
    """Read a recipe from a file (YAML, or Markdown with YAML at its top) or from a text of several lines.

    Raises InputError for a recipe that SparseML cannot follow completely in one shot.
    """
    shown, text = _text_of(source)
    with private_folder() as folder:
        answer = _ask("read", text, folder, progress, READ_TIMEOUT_S, {"answer": []})
    return RecipeRead(name or shown, text, tuple(answer["names"]), answer["calibrated"])


def apply_recipe(
    recipe: RecipeRead, dense: nn.Module, example: Example, calib: Any, choice: Choice, folder: Path, progress: Progress
) -> Made:
    """Prune a copy of `dense` with SparseML, and describe the result.

    `calib` is an input like the example, or a list of such inputs in one shape; None takes the example. Raises
    InputError, PruneError, ExportError, and ToolchainError if the environment's process fails.
    """
    own = folder / "recipe"
    remarks = [f"Pruned by SparseML in one shot, by the recipe {recipe.name}: {', '.join(recipe.modifiers)}."]
    with guarded_folder():
        own.mkdir()
        request = _request(dense, own)
        if recipe.calibrated:
            batches, said = _calibration(dense, example, calib)
            remarks.append(said)
            program = export_program(dense, batches[0], own, "recipe", "float32")
            torch.save([(each.as_float32().args, each.as_float32().kwargs) for each in batches], own / "batches.pt")
            request |= {"program": str(program.model), "expected": str(program.expected)}
            request["batches"] = str(own / "batches.pt")
        else:
            if calib is not None:
                remarks.append("The recipe's modifiers look at weights only, so the calibration inputs were not used.")
            torch.save({name: parameter.detach() for name, parameter in dense.named_parameters()}, own / "weights.pt")
    answer = _ask("recipe", recipe.text, own, progress, choice.timeout_s, request)
    weights: dict[str, Tensor] = torch.load(own / "out.pt", weights_only=True)
    params: dict[str, Any] = answer["params"]
    patterns = {name: zero_pattern(found["mask"]) for name, found in params.items()}
    choice = _filled_in(choice, params, patterns, together=answer["ranked_together"])
    pruned = adopt(dense, example, weights, patterns, answer["left_out"], Served.of(choice))
    remarks += [*answer["remarks"], *_elsewhere(pruned, params, dense)]
    return Made(pruned.remarked(*remarks), choice, answer["versions"])


def _text_of(source: str | Path) -> tuple[str, str]:
    """Return the recipe's name and its YAML text."""
    if not isinstance(source, (str, os.PathLike)):
        raise InputError(f"The recipe is a {type(source).__name__}; it has to be the path of a file, or a YAML text.")
    if isinstance(source, str) and "\n" in source:
        return "recipe", source
    if str(source).startswith("zoo:"):
        raise InputError(
            f"The recipe {source} is a SparseZoo stub, and SparseZoo's server is gone. Give the recipe as a file."
        )
    path = Path(source).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"The recipe {source} cannot be read ({first_line(error)}). Give the path of a YAML file, or of a Markdown "
            "file with YAML at its top."
        ) from None
    if path.suffix.lower() == ".md":
        if (match := FRONT_MATTER.match(text)) is None:
            raise InputError(f"The recipe {source} has no YAML at its top, between two lines of ---.")
        text = match[1]
    return str(source), text


def _ask(
    action: str, text: str, folder: Path, progress: Progress, timeout_s: float, request: Mapping[str, Any]
) -> dict[str, Any]:
    """Run an action in SparseML's environment; raises InputError if it refuses the recipe."""
    python = str(environments.interpreter_of("sparseml"))
    path = folder / "recipe.yaml"
    with guarded_folder():
        path.write_text(text, encoding="utf-8")
    asked = {"action": action, "toolchain": str(WORKER_SIDE), "recipe": str(path), **request}
    answer = call(asked, folder, progress, python=python, threads=1, timeout_s=timeout_s)
    if isinstance(answer, Failure):
        raise ToolchainError(
            f"SparseML failed on the recipe: {answer.reason}. If its environment is broken, "
            "%hwprune setup sparseml makes it again."
        )
    if "refused" in answer:
        raise InputError(answer["refused"])
    return answer


def _request(dense: nn.Module, folder: Path) -> dict[str, Any]:
    """Describe the model without its class: names and kinds of modules, and which parameters are shared."""
    first: dict[nn.Parameter, str] = {}
    return {
        "modules": {
            name: (type(module).__name__, next((kind for kind in KINDS if isinstance(module, getattr(nn, kind))), None))
            for name, module in dense.named_modules()
        },
        "parameters": {n: first.setdefault(p, n) for n, p in dense.named_parameters(remove_duplicate=False)},
        "no_split": json.loads(json.dumps(getattr(dense, "_no_split_modules", None), default=list)),
        "weights": str(folder / "weights.pt"),
        **dict.fromkeys(("program", "expected", "batches")),  # none, where modifiers look at weights only
        "out": str(folder / "out.pt"),
        "answer": [],
    }


def _calibration(dense: nn.Module, example: Example, given: Any) -> tuple[list[Example], str]:
    """Return the calibration inputs, and a remark on them."""
    if given is None:
        return [example], f"Calibrated only on the example input ({counted(example.batch, 'row')}); --calib takes more."
    batches = [Example.of(each).on_cpu() for each in (given if isinstance(given, list) else [given])]
    if not batches:
        raise InputError("The calibration inputs are an empty list; give an input, or a list of inputs.")
    shapes = [[tuple(tensor.shape) for tensor in each.tensors] for each in batches]
    if (odd := next((shape for shape in shapes if shape != shapes[0]), None)) is not None:
        raise InputError(f"The calibration inputs differ in shape: {shapes[0]} and {odd}. Give inputs of one shape.")
    for each in batches:
        require_runs(dense, each)
    return batches, f"Calibrated on {counted(sum(each.batch for each in batches), 'row')} of the calibration inputs."


def _filled_in(
    choice: Choice, params: dict[str, Any], patterns: Mapping[str, ZeroPattern], *, together: bool
) -> Choice:
    """Fill in the recipe's result: the pattern of most zeros, and the sparsity reached."""
    made: Counter[ZeroPattern] = Counter()
    for name, found in params.items():
        made[patterns[name]] += found["after"] - found["before"]
    size = sum(found["size"] for found in params.values())
    sparsity = sum(found["after"] for found in params.values()) / size if size else 0.0
    pattern = made.most_common(1)[0][0] if made else Unstructured()
    return replace(choice, pattern=pattern, sparsity=round(sparsity, 6), allocation="global" if together else "uniform")


def _elsewhere(pruned: Pruned, params: dict[str, Any], dense: nn.Module) -> list[str]:
    """List zeros outside of layers that kernels could skip, and layers without any weight left."""
    layers = {weight_name(dense, layer.name) for layer in pruned.layers}
    others = [name for name, found in params.items() if name not in layers and found["after"] > found["before"]]
    readers = Counter(parameter for _, parameter in dense.named_parameters(remove_duplicate=False))
    shared = [name for name in layers if readers[dense.get_parameter(name)] > 1]
    said = {
        "The recipe also made zeros outside of Linear layers and convolutions:": others,
        "The recipe left no weight in": [name for name, found in params.items() if found["after"] == found["size"]],
        "Shared weights were pruned for all layers that read them:": shared,
    }
    return [f"{text} {', '.join(names[:4])}." for text, names in said.items() if names]
