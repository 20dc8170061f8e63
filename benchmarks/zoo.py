"""Which networks of tests/architectures are cut correctly, by us and by torch-pruning: `python -m benchmarks.zoo`.

    python -m benchmarks.zoo --peer-python PATH    # an interpreter with torch, transformers and torch-pruning

Half of each set of channels goes. Every network is a process of its own with a minute of processor time, and both sides
are held to one standard: the smaller model computes what the dense one does with zeros for what was removed,
normalisations counting what is left. torch-pruning is used as its README says: MagnitudePruner, output layers ignored,
heads declared where attention is, its modules' counts of heads set afterwards. Its operation runs on a copy whose
weights are their own positions, so that what is left says which of the dense values survived.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import resource
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.masks import cpu_name, installed
from jupyter_hwprune.core.outputs import tensors_of
from tests.architectures import ARCHITECTURES
from tests.architectures.reference import masked, unsettle

RESULTS = Path(__file__).parent / "results" / "zoo.json"
LIMIT_S = 60
TOLERANCE = 1e-4
PROJECTIONS = ("q", "k", "v", "query", "key", "value", "q_proj", "k_proj", "v_proj", "qkv", "attn")
HEAD_WIDTHS = ("head_dim", "attention_head_size")
HEAD_COUNTS = ("num_heads", "heads", "n_head", "num_attention_heads")
WIDTHS = ("all_head_size", "split_size")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", type=Path, help="the interpreter that has torch-pruning")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--networks", nargs="*", default=list(ARCHITECTURES), help="the others keep their rows")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        with redirect_stdout(sys.stderr):  # what a library loads at its first use is no part of the time
            SIDES[options.child](nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)), torch.randn(2, 8))
        for name in options.networks:
            print(json.dumps({name: in_fork(options.child, name)}), flush=True)
        return
    sides = {"ours": (Path(sys.executable), "ours")}
    if options.peer_python:
        sides["torch_pruning"] = (options.peer_python, "torch-pruning")
    with ThreadPoolExecutor() as both:  # side by side, since it is processor time that counts
        answers = both.map(lambda side: in_child(side[0], side[1], options.networks), sides.values())
        found = dict(zip(sides, answers, strict=True))
    known = json.loads(options.out.read_text())["rows"] if options.out.exists() else []
    by_name: dict[str, dict[str, Any]] = {row["network"]: row for row in known}
    for name in options.networks:
        by_name[name] = {"network": name, **{who: each[name] for who, each in found.items()}}
    rows = [by_name[name] for name in ARCHITECTURES if name in by_name]
    data = {**provenance(options.peer_python), "limit_s": LIMIT_S, "rows": rows}
    shown = "\n".join([where(data), "", table(rows), "", *counts(rows)])
    print(shown)
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(data, indent=1) + "\n")
    options.out.with_suffix(".md").write_text(shown + "\n")
    print(f"Written to {options.out} and beside it")


def in_child(python: Path, who: str, networks: list[str]) -> dict[str, dict[str, Any]]:
    """Try networks for one side in an interpreter of its own."""
    command = [str(python), "-m", "benchmarks.zoo", "--child", who, "--networks", *networks]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)  # noqa: S603 - our own module
    return {name: found for line in run.stdout.splitlines() for name, found in json.loads(line).items()}


def in_fork(who: str, name: str) -> dict[str, Any]:
    """Try one network in a process of its own, which ends after a minute of processor time."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        resource.setrlimit(resource.RLIMIT_CPU, (LIMIT_S, LIMIT_S))
        os.write(writer, json.dumps(child(who, name)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        text = answer.read()
    _, status = os.waitpid(pid, 0)
    found: dict[str, Any] = json.loads(text) if text else {"verdict": "no end", "detail": ending(status)}
    print(name, who, found["verdict"], file=sys.stderr, flush=True)
    return found


def ending(status: int) -> str:
    """Say how a process ended that gave no answer; at its limit of processor time it is killed by SIGXCPU."""
    number = os.waitstatus_to_exitcode(status)
    return f"killed after {LIMIT_S} s" if number == -signal.SIGXCPU else f"ended with exit code {number}"


def child(who: str, name: str) -> dict[str, Any]:
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    entry = ARCHITECTURES[name]
    model, example = entry.build().eval(), entry.example()
    unsettle(model)
    operate = SIDES[who]
    with redirect_stdout(sys.stderr):
        start = time.process_time()
        try:
            small, keep = operate(model, example)
        except Exception as error:  # noqa: BLE001 - that it raised, and how, is the result
            kinds = [kind.__name__ for kind in type(error).__mro__]
            verdict = "clear error" if "PruneError" in kinds else "raised"
            return {"verdict": verdict, "detail": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        seconds = time.process_time() - start
        return {**judged(model, small, keep, example), "seconds": round(seconds, 2)}


def ours(model: nn.Module, example: Any) -> tuple[nn.Module, dict[str, Tensor]]:
    from jupyter_hwprune.core.example import Example
    from jupyter_hwprune.core.pattern import Channel
    from jupyter_hwprune.pruning.channels import Channels, remove_channels
    from jupyter_hwprune.pruning.planning import plan_channels

    channels = Channels.of(model, Example.of(example))
    surgery = remove_channels(channels, plan_channels(channels, Channel(), 0.5))
    return surgery.model, surgery.keep


def torch_pruning(model: nn.Module, example: Any) -> tuple[nn.Module, dict[str, Tensor]]:
    import torch_pruning as tp

    own = copy.deepcopy(model)
    heads = head_counts(own)
    pruner = tp.pruner.MagnitudePruner(
        own,
        example,
        importance=tp.importance.MagnitudeImportance(),
        pruning_ratio=0.5,
        ignored_layers=output_layers(own, example),
        num_heads=dict(heads),
        prune_num_heads=bool(heads),
        prune_head_dims=not heads,
        head_pruning_ratio=0.5,
    )
    for _, tensor in floating(own):
        tensor.data = positions(tensor)
    pruner.step()
    for module in own.modules():  # as its examples for transformers do
        layer = next((getattr(module, p) for p in PROJECTIONS if getattr(module, p, None) in pruner.num_heads), None)
        if layer is not None:
            for attribute in (a for a in HEAD_COUNTS if isinstance(getattr(module, a, None), int)):
                setattr(module, attribute, pruner.num_heads[layer])
            for attribute in (a for a in WIDTHS if isinstance(getattr(module, a, None), int)):
                setattr(module, attribute, pruner.num_heads[layer] * head_width(module))
    return own, restore(own, model)


SIDES = {"ours": ours, "torch-pruning": torch_pruning}


def head_counts(model: nn.Module) -> dict[nn.Module, int]:
    """Return each projection of an attention that names its heads' width, with its count of heads."""
    found: dict[nn.Module, int] = {}
    for module in model.modules():
        for name in PROJECTIONS:
            layer = getattr(module, name, None)
            if isinstance(layer, nn.Linear) and head_width(module):
                parts = 3 if name in {"qkv", "attn"} else 1
                found[layer] = layer.out_features // parts // head_width(module)
    return found


def head_width(module: nn.Module) -> int:
    return next((int(getattr(module, a)) for a in HEAD_WIDTHS if isinstance(getattr(module, a, None), int)), 0)


def output_layers(model: nn.Module, example: Any) -> list[nn.Module]:
    """Return the layers whose output is an output of the model."""
    made: dict[int, tuple[nn.Module, Tensor]] = {}

    def note(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            made[id(output)] = module, output

    hooks = [m.register_forward_hook(note) for m in model.modules() if not list(m.children())]
    outputs = outputs_of(model, example)
    for hook in hooks:
        hook.remove()
    return [made[id(tensor)][0] for tensor in outputs if id(tensor) in made]


def floating(model: nn.Module) -> list[tuple[str, Tensor]]:
    named = (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False))
    return [(name, tensor) for name, tensor in named if tensor.ndim and tensor.is_floating_point()]


def positions(tensor: Tensor) -> Tensor:
    """Return the elements' numbers, which float32 holds exactly up to 2^24. [..] -> [..]."""
    return torch.arange(tensor.numel(), dtype=torch.float32).reshape(tensor.shape)


def restore(small: nn.Module, dense: nn.Module) -> dict[str, Tensor]:
    """Replace positions by the dense values that stood there; return the mask of each tensor that shrank."""
    keep, originals = {}, dict(floating(dense))
    for name, tensor in floating(small):
        index = tensor.detach().long()
        original = originals[name].detach()
        if index.numel() < original.numel():
            keep[name] = torch.zeros(original.numel(), dtype=torch.bool).index_fill(0, index.flatten(), 1)
            keep[name] = keep[name].reshape(original.shape)
    values = {name: originals[name].detach().flatten()[tensor.detach().long()] for name, tensor in floating(small)}
    for name, tensor in floating(small):
        tensor.data = values[name]
    return keep


def judged(model: nn.Module, small: nn.Module, keep: dict[str, Tensor], example: Any) -> dict[str, Any]:
    before, after = (sum(p.numel() for p in each.parameters()) for each in (model, small))
    gone = round(1 - after / before, 3)
    if not gone:
        return {"verdict": "left whole in silence", "gone": 0.0}
    try:
        outputs, dense = outputs_of(small.eval(), example), outputs_of(model, example)
    except Exception as error:  # noqa: BLE001 - a model that was returned and does not run
        return {"verdict": "wrong", "gone": gone, "detail": f"does not run: {' '.join(str(error).split())[:200]}"}
    if [t.shape for t in outputs] != [t.shape for t in dense]:
        return {"verdict": "wrong", "gone": gone, "detail": "the output changes its shape"}
    off = difference(outputs, outputs_of(masked(model, small, keep), example))
    if not off <= TOLERANCE:
        return {"verdict": "wrong", "gone": gone, "detail": f"its output is off by {off:.0e} of its largest value"}
    return {"verdict": "correct", "gone": gone}


def outputs_of(model: nn.Module, example: Any) -> list[Tensor]:
    with torch.no_grad():
        if isinstance(example, dict):
            output = model(**example)
        else:
            output = model(*example) if isinstance(example, tuple) else model(example)
    return tensors_of(output)


def difference(actual: list[Tensor], expected: list[Tensor]) -> float:
    return max(float((a - e).abs().max() / e.abs().max()) for a, e in zip(actual, expected, strict=True))


def provenance(peer: Path | None) -> dict[str, Any]:
    versions = {"torch": torch.__version__, "transformers": installed("transformers")}
    if peer is not None:
        ask = "from importlib.metadata import version; print(version('torch-pruning'))"
        versions["torch-pruning"] = subprocess.check_output([str(peer), "-c", ask], text=True).strip()  # noqa: S603
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return {"created": created, "cpu": cpu_name(), "cores": os.cpu_count(), "python": platform.python_version()} | {
        "versions": versions
    }


def where(data: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {found or 'not installed'}" for name, found in data["versions"].items())
    return (
        f"{data['cpu']}, {data['cores']} cores that others used as well, one thread, {data['created']}; Python "
        f"{data['python']}, {versions}. Half of each set of channels; gone: share of all weights. Seconds are "
        "processor time: reading the graph, the cut and, of ours, its proof. A network has a minute of it."
    )


def table(rows: list[dict[str, Any]]) -> str:
    lines = ["| network | ours | gone | s | torch-pruning | gone | s |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        cells = [cell for who in ("ours", "torch_pruning") for cell in shown(row.get(who))]
        lines.append(f"| {row['network']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def shown(found: dict[str, Any] | None) -> tuple[str, str, str]:
    if found is None:
        return "not run", "", ""
    detail = found.get("detail", "").replace("|", "/")
    gone = found.get("gone")
    return (
        f"{found['verdict']}: {detail[:110]}" if detail else found["verdict"],
        "" if gone is None else f"{gone:.0%}",
        f"{found['seconds']:.2f}" if "seconds" in found else "",
    )


def counts(rows: list[dict[str, Any]]) -> list[str]:
    lines = []
    for who in ("ours", "torch_pruning"):
        found = Counter(row[who]["verdict"] for row in rows if who in row)
        if found:
            total = ", ".join(f"{verdict} {count}" for verdict, count in found.most_common())
            lines.append(f"- {who.replace('_', '-')}, of {len(rows)}: {total}")
    return lines


if __name__ == "__main__":
    main()
