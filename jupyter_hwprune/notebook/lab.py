"""Answer the questions of the JupyterLab side panel with plain data, without touching the user's namespace.

Each function returns an `Answer`, which `user_expressions` carries as JSON. The panel runs `listen()` that way, once,
in an idle kernel. Everything else it asks by comm messages, which a subshell answers while a cell runs. An execution in
the subshell, even a silent and empty one, would end in IPython's `post_execute`, where matplotlib shows and closes all
figures, also those that a running cell is still drawing.
"""

import inspect
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from ..core.errors import InputError
from ..core.options import AUTO, OPTIONS
from .namespace import find_input, find_model, models, tensors

COMM_TARGET = "hwprune"


@dataclass(frozen=True)
class Answer:
    """Plain data; IPython shows it as JSON."""

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {"application/json": asdict(self)}


@dataclass(frozen=True)
class Listening(Answer):
    """The package is installed and answers comms of this target from now on; `subjects` can be asked for."""

    version: str
    comm_target: str
    subjects: tuple[str, ...]


@dataclass(frozen=True)
class Model:
    """A model; `parameters` is None if lazy ones have no shape yet."""

    name: str
    kind: str
    parameters: int | None
    dtype: str
    device: str


@dataclass(frozen=True)
class Tensor:
    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Namespace(Answer):
    """What a line can name: models, inputs, and functions that may score a model.

    `model` and `input` are what `%hwprune` uses if the line names none, or None with the reason. `loaded` says whether
    `%load_ext` has been run, `torch` whether the user has imported it.
    """

    loaded: bool
    torch: bool
    models: tuple[Model, ...]
    tensors: tuple[Tensor, ...]
    scores: tuple[str, ...]
    model: str | None
    no_model: str | None
    input: str | None
    no_input: str | None


@dataclass(frozen=True)
class Misfit:
    """The patterns, of those that the panel offers, which no layer of a model can hold."""

    model: str
    patterns: tuple[str, ...]


@dataclass(frozen=True)
class Misfits(Answer):
    models: tuple[Misfit, ...]


@dataclass(frozen=True)
class JudgeOffered:
    """A toolchain of a target: what it prunes where nothing else is asked for, and the values that --dtype takes."""

    toolchain: str
    pattern: str
    sparsity: float
    dtypes: tuple[str, ...]


@dataclass(frozen=True)
class TargetOffered:
    name: str
    chip: str
    judges: tuple[JudgeOffered, ...]


@dataclass(frozen=True)
class Choices(Answer):
    """The values that options take: targets and their aliases, patterns, importances, allocations."""

    targets: tuple[TargetOffered, ...]
    aliases: dict[str, str]
    patterns: tuple[str, ...]
    channel_importance: tuple[str, ...]
    weight_importance: tuple[str, ...]
    allocations: tuple[str, ...]


@dataclass(frozen=True)
class Obstacle:
    toolchain: str
    reason: str | None
    cure: str | None


@dataclass(frozen=True)
class TargetState:
    """The toolchains that measure a target on this machine, and the obstacles of the others."""

    name: str
    usable: tuple[str, ...]
    obstacles: tuple[Obstacle, ...]


@dataclass(frozen=True)
class Part:
    """A toolchain, an environment, a meter or a profiler: its state, what was found, and the cure."""

    name: str
    state: str
    said: tuple[str, ...]
    cure: str | None


@dataclass(frozen=True)
class Machine(Answer):
    targets: tuple[TargetState, ...]
    parts: tuple[Part, ...]


def listen() -> Listening:
    """Answer the panel's comms from now on."""
    from comm import get_comm_manager

    from .. import __version__

    get_comm_manager().register_target(COMM_TARGET, _answer)
    return Listening(__version__, COMM_TARGET, tuple(SUBJECTS))


def namespace() -> Namespace:
    """List the models, inputs and scores of the user's namespace; takes milliseconds and does not import torch."""
    from IPython import get_ipython

    shell = get_ipython()
    own = dict(shell.user_ns)
    model, no_model = _taken(lambda: find_model(own, None))
    given, no_input = _taken(lambda: find_input(own, None)) if "torch" in sys.modules else (None, "no tensor is here")
    return Namespace(
        loaded="hwprune" in shell.magics_manager.magics["line"],
        torch="torch" in sys.modules,
        models=tuple(_about_model(name, value) for name, value in models(own).items()),
        tensors=tuple(Tensor(name, tuple(value.shape), _dtype(value.dtype)) for name, value in tensors(own).items()),
        scores=tuple(name for name, value in own.items() if not name.startswith("_") and may_score(value)),
        model=model,
        no_model=no_model,
        input=given,
        no_input=no_input,
    )


def misfits() -> Misfits:
    """Hold each offered pattern against the shapes of each model's weights; no model is run."""
    from IPython import get_ipython

    return Misfits(tuple(Misfit(name, _misfits(model)) for name, model in models(get_ipython().user_ns).items()))


def _misfits(model: Any) -> tuple[str, ...]:
    from ..core.pattern import parse_pattern
    from ..pruning.fitting import ZeroPattern, misfit
    from ..pruning.reading import read_weights

    weights = read_weights(model)
    able = [weight.channels for weight in weights if weight.reason is None]
    if len(able) < len(weights):  # only a run tells what the others compute
        return ()
    patterns = {text: parse_pattern(text) for text in OPTIONS["pattern"].choices}
    zeros = {text: pattern for text, pattern in patterns.items() if isinstance(pattern, ZeroPattern)}
    return tuple(text for text, pattern in zeros.items() if all(misfit(*each, pattern) for each in able))


def choices() -> Choices:
    from ..choose.checks import CHANNEL_IMPORTANCE, WEIGHT_IMPORTANCE
    from ..core.target import ALIASES, TARGETS

    rows = tuple(TargetOffered(row.name, row.chip, tuple(map(_offered, row.judges))) for row in TARGETS)
    patterns, allocations = OPTIONS["pattern"].choices, OPTIONS["allocation"].choices
    channels, weights = ((AUTO, *each) for each in (CHANNEL_IMPORTANCE, WEIGHT_IMPORTANCE))
    return Choices(rows, ALIASES, patterns, channels, weights, allocations)


def _offered(judge: Any) -> JudgeOffered:
    from ..choose.choice import dtypes_of

    return JudgeOffered(judge.toolchain, str(judge.offers[0].pattern), judge.offers[0].sparsity, dtypes_of(judge))


def machine() -> Machine:
    """Probe each toolchain in a process of its own and return what can be measured here; this takes seconds."""
    from ..survey.doctor import doctor
    from ..survey.matrix import held_against

    found = doctor()
    here = held_against({status.name: status for status in found.toolchains})
    targets = tuple(
        TargetState(
            row.target.name, row.usable, tuple(Obstacle(name, o.reason, o.cure) for name, o in row.obstacles.items())
        )
        for row in here.rows
    )
    toolchains = [
        Part(status.name, found.state_of(status), _said(status, found.serves[status.name]), status.cure)
        for status in found.toolchains
    ]
    environments = [
        Part(row.name, "missing" if row.obstacle else "ready", (row.about,), row.cure if row.obstacle else None)
        for row in found.environments
    ]
    own = (*found.meters, *found.profilers)
    others = [Part(each.name, "ready" if each.found else "missing", (each.said,), each.cure) for each in own]
    return Machine(targets, (*toolchains, *environments, *others))


SUBJECTS: dict[str, Callable[[], Answer]] = {
    "namespace": namespace,
    "misfits": misfits,
    "choices": choices,
    "machine": machine,
}


def _answer(comm: Any, message: dict[str, Any]) -> None:
    """Answer the question that a comm was opened with, {} for an unknown subject; the panel closes the comm."""
    subject = SUBJECTS.get(message["content"]["data"].get("subject"))
    comm.send({} if subject is None else asdict(subject()))


def _taken(find: Callable[[], tuple[str, Any]]) -> tuple[str | None, str | None]:
    """Return the name that is used if the line has none, or the reason why there is none."""
    try:
        return find()[0], None
    except InputError as error:
        return None, str(error)


def _about_model(name: str, model: Any) -> Model:
    from torch.nn.parameter import is_lazy

    parameters = list(model.parameters())
    count = None if any(map(is_lazy, parameters)) else sum(each.numel() for each in parameters)
    return Model(name, type(model).__name__, count, _dtype(parameters[0].dtype), str(parameters[0].device))


def may_score(value: Any) -> bool:
    """Say whether this is a function of the notebook that can be called with one argument, the model."""
    if not inspect.isfunction(value) or value.__module__ != "__main__":
        return False
    parameters = inspect.signature(value).parameters.values()
    positional = [p for p in parameters if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    needed = [p for p in parameters if p.default is p.empty and p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}]
    return len(positional) >= 1 and needed in ([], positional[:1])


def _said(status: Any, serves: tuple[str, ...]) -> tuple[str, ...]:
    said = [f"serves {', '.join(serves) or 'no target of this package'}"]
    said += [", ".join(f"{name} {version}" for name, version in status.versions.items())] if status.versions else []
    said += [f"{name}: {device.label}" for name, device in status.devices.items()]
    said += [status.reason] if status.reason else []
    said += dict.fromkeys(status.absent.values())
    return (*said, *map(str, status.remarks))


def _dtype(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")
