"""Saved runs: what a fresh process loads, what another model of the same kind becomes, and what is refused."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from jupyter_hwprune import Run, hwprune, load
from jupyter_hwprune.core.errors import InputError, ReportError
from jupyter_hwprune.keep import saved
from jupyter_hwprune.keep.saved.files import CONTENTS, MASKS, WEIGHTS, sha256
from jupyter_hwprune.keep.saved.structure import structure_of
from tests.conftest import fingerprint
from tests.networks import ZOO, Attention, Transformer, cnn

NOT_MEASURED = "tpu-v5e"  # nobody measures it here, so that only the pruning takes time
CASES = [
    ("cnn", "unstructured"),
    ("transformer", "2:4"),
    ("transformer_tied", "unstructured"),
    ("cnn", "channel"),
    ("mobile", "channel/8"),
    ("transformer_fixed_heads", "channel"),
    ("transformer_tied", "channel"),
    ("gated", "channel"),
]
FRESH = """
import json, sys
import torch
from jupyter_hwprune import load
from jupyter_hwprune.core.outputs import tensors_of
from tests.networks import ZOO
found = []
for folder, name in json.load(sys.stdin):
    torch.manual_seed(1)
    run = load(folder, ZOO[name][0]())
    torch.manual_seed(2)
    outputs = tensors_of(run.model.eval()(ZOO[name][1]()))
    found.append([sum(t.double().sum().item() for t in outputs), str(run.report.request), list(run.artifacts)])
print(json.dumps(found))
"""


def pruned(name: str, pattern: str, model: nn.Module | None = None) -> Run:
    torch.manual_seed(0)
    build, inputs = ZOO[name]
    sparsity = None if ":" in pattern else 0.5
    return hwprune(model or build(), inputs(), target=NOT_MEASURED, pattern=pattern, sparsity=sparsity)


def same_state(a: nn.Module, b: nn.Module) -> bool:
    own, other = a.state_dict(), b.state_dict()
    return own.keys() == other.keys() and all(torch.equal(own[name], other[name]) for name in own)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved run of a network with fewer channels."""
    pruned("cnn", "channel").save(tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def zeroed(tmp_path: Path) -> Path:
    """A saved run of a network with zeros."""
    pruned("cnn", "unstructured").save(tmp_path / "run")
    return tmp_path / "run"


# --- there and back ---


def test_a_fresh_process_loads_what_was_saved(tmp_path: Path) -> None:
    expected = []
    for number, (name, pattern) in enumerate(CASES):
        run = pruned(name, pattern)
        run.save(tmp_path / str(number))
        torch.manual_seed(2)
        outputs = run.model.eval()(ZOO[name][1]())
        expected.append([outputs.double().sum().item(), str(run.report.request), []])
    asked = json.dumps([(str(tmp_path / str(number)), name) for number, (name, _) in enumerate(CASES)])
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FRESH],
        input=asked,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode == 0, done.stderr
    for found, own in zip(json.loads(done.stdout), expected, strict=True):
        assert found[1:] == own[1:]
        assert found[0] == pytest.approx(own[0], rel=1e-5)


@pytest.mark.parametrize(("name", "pattern"), CASES)
def test_weights_report_and_network_come_back_exactly(name: str, pattern: str, tmp_path: Path) -> None:
    run = pruned(name, pattern)
    run.save(tmp_path / "run")
    model = ZOO[name][0]().train()
    mark = fingerprint(model)
    again = load(tmp_path / "run", model)
    assert fingerprint(model) == mark
    assert same_state(again.model, run.model)
    assert again.report == run.report
    assert again.artifacts == {}
    assert all(module.training for module in again.model.modules())
    tied = [(a is b) for a in run.model.parameters() for b in run.model.parameters()]
    assert [(a is b) for a in again.model.parameters() for b in again.model.parameters()] == tied
    again.save(tmp_path / "again")
    assert same_state(load(tmp_path / "again", model).model, run.model)


@pytest.mark.parametrize(("name", "pattern"), CASES)
def test_the_contents_prunes_another_model_of_the_same_kind(name: str, pattern: str, tmp_path: Path) -> None:
    """Of the same model it makes the same pruned one again; of another the same cut, with its own weights."""
    torch.manual_seed(0)
    model = ZOO[name][0]()
    run = pruned(name, pattern, model)
    run.save(tmp_path / "run")
    assert same_state(load(tmp_path / "run", model, weights="own").model, run.model)
    torch.manual_seed(7)
    other = ZOO[name][0]()
    mark = fingerprint(other)
    own = load(tmp_path / "run", other, weights="own").model
    assert fingerprint(other) == mark
    assert [t.shape for t in own.state_dict().values()] == [t.shape for t in run.model.state_dict().values()]
    values, theirs = own.state_dict(), other.state_dict()
    for layer in run.report.layers:
        weight = f"{layer.name}.weight"
        if pattern.startswith("channel"):
            assert torch.isin(values[weight], theirs[weight]).all()
        else:
            keep = run.model.get_parameter(weight) != 0
            assert torch.equal(values[weight], torch.where(keep, theirs[weight], 0.0))
    own.eval()(ZOO[name][1]())


def test_heads_that_went_are_gone_in_the_loaded_model_too(tmp_path: Path) -> None:
    run = pruned("transformer_fixed_heads", "channel")
    run.save(tmp_path / "run")
    attention = load(tmp_path / "run", Transformer(fixed_heads=True)).model.attention
    assert isinstance(attention, Attention)
    assert attention.num_heads == 2
    assert attention.q.out_features == 16
    assert attention.head_dim == 8


def test_a_model_that_was_trained_along_comes_back(tmp_path: Path) -> None:
    def finetune(model: nn.Module) -> None:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.5)

    options: dict[str, Any] = {"target": NOT_MEASURED, "finetune": finetune, "schedule": "iterative", "steps": 2}
    for pattern in ("unstructured", "channel"):
        run = hwprune(cnn(), torch.randn(2, 3, 16, 16), pattern=pattern, **options)
        run.save(tmp_path / pattern)
        again = load(tmp_path / pattern, cnn())
        assert same_state(again.model, run.model)
        assert again.report.request.steps == 2


def test_half_precision_and_whole_numbers_come_back_in_their_types(tmp_path: Path) -> None:
    run = hwprune(cnn().half(), torch.randn(2, 3, 16, 16).half(), target=NOT_MEASURED, pattern="unstructured")
    run.save(tmp_path / "run")
    again = load(tmp_path / "run", cnn())
    assert again.model.get_parameter("0.0.weight").dtype == torch.float16
    assert again.model.get_buffer("0.1.num_batches_tracked").dtype == torch.int64
    assert same_state(again.model, run.model)


def test_nothing_in_the_folder_is_code(zeroed: Path) -> None:
    assert sorted(path.name for path in zeroed.iterdir()) == [CONTENTS, MASKS, WEIGHTS]
    assert json.loads((zeroed / CONTENTS).read_text())["format"] == "jupyter-hwprune run"
    weights = load_file(zeroed / WEIGHTS)
    bits = load_file(zeroed / MASKS)
    assert bits["1.0.weight"].numel() == weights["1.0.weight"].numel() // 8
    assert {path.stat().st_mode for path in zeroed.iterdir()} == {(zeroed / CONTENTS).stat().st_mode}


# --- places to save in ---


def test_an_earlier_run_is_replaced_and_an_empty_folder_filled(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    pruned("gated", "unstructured").save(str(tmp_path / "run"))
    run = pruned("cnn", "channel")
    run.save(tmp_path / "run")
    assert same_state(load(tmp_path / "run", cnn()).model, run.model)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("kind", ["other files", "a run and other files", "a file", "no parent", "read-only", "JSON"])
def test_other_places_are_refused_and_left_as_they_were(kind: str, tmp_path: Path) -> None:
    run, place = pruned("gated", "unstructured"), tmp_path / "run"
    if kind == "a run and other files":
        run.save(place)
        (place / "notes.txt").write_text("mine")
    elif kind == "other files":
        place.mkdir()
        (place / "notes.txt").write_text("mine")
    elif kind == "JSON":
        place.mkdir()
        (place / CONTENTS).write_text("{}")
    elif kind == "a file":
        place.write_text("mine")
    elif kind == "no parent":
        place = tmp_path / "not" / "there"
    else:
        place = Path("/proc/self/run")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"Choose another folder|choose a folder that can be written") as caught:
        run.save(place)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_full_disk_leaves_the_earlier_run(tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk: both fail the write."""
    first, second = pruned("gated", "unstructured"), pruned("cnn", "unstructured")
    first.save(tmp_path / "run")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(InputError, match="cannot be saved in") as caught:
            second.save(tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "Nothing was left there" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert same_state(load(tmp_path / "run", ZOO["gated"][0]()).model, first.model)


def test_a_model_that_is_no_longer_the_reports_is_not_saved(tmp_path: Path) -> None:
    run = pruned("cnn", "unstructured")
    with torch.no_grad():
        run.model.get_parameter("1.0.weight").add_(1.0)
    with pytest.raises(InputError, match=r"no longer describes the model \(1\.0\.weight\)"):
        run.save(tmp_path / "run")
    run = pruned("cnn", "channel")
    run.model[4] = nn.Linear(7, 10)  # type: ignore[operator]
    with pytest.raises(InputError, match=r"no longer describes the model \(4\.weight\)"):
        run.save(tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_cut_through_single_positions_cannot_be_said(tmp_path: Path) -> None:
    dense = nn.Sequential(nn.Linear(4, 4))
    keep = torch.ones(4, 4, dtype=torch.bool)
    keep[0, 0] = keep[1, 1] = keep[2, 2] = keep[3, 3] = False
    assert structure_of(dense, dense, {"0.weight": keep}) is None
    run = pruned("gated", "unstructured")
    run._structure = None
    with pytest.raises(InputError, match="removed single positions"):
        run.save(tmp_path / "run")


# --- models that do not fit ---


def with_other_heads() -> nn.Module:
    model = Transformer(fixed_heads=True)
    model.attention.num_heads, model.attention.head_dim = 8, 4
    return model


@pytest.mark.parametrize(
    ("name", "build", "said"),
    [
        ("cnn", ZOO["residual"][0], r"it has no 0\.0\.weight; it has no .*, and \d+ more"),
        ("cnn", lambda: nn.Sequential(*list(cnn().children())[:4]), r"it has no 4\.weight; it has no 4\.bias"),
        ("cnn", lambda: nn.Sequential(*cnn().children(), nn.Linear(10, 2)), r"5\.weight was not there"),
        (
            "cnn",
            lambda: nn.Sequential(*list(cnn().children())[:4], nn.Linear(192, 11)),
            r"4\.weight is \(11, 192\) and was \(10, 192\)",
        ),
        ("transformer_tied", Transformer, "other weights of it are shared"),
        ("transformer_fixed_heads", with_other_heads, r"attention\.num_heads is \(8,\) and was \(4,\)"),
        ("cnn", lambda: 3, "The model is a int"),
    ],
)
@pytest.mark.parametrize("weights", ["saved", "own"])
def test_a_model_of_another_kind_is_refused(
    name: str, build: Callable[[], Any], said: str, weights: Any, tmp_path: Path
) -> None:
    pruned(name, "channel").save(tmp_path / "run")
    model = build()
    mark = fingerprint(model) if isinstance(model, nn.Module) else ""
    with pytest.raises(InputError, match=said) as caught:
        load(tmp_path / "run", model, weights)
    assert "\n" not in str(caught.value)
    assert not mark or fingerprint(model) == mark


def test_weights_of_neither_kind_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="weights is 'mine'"):
        load(folder, cnn(), weights="mine")  # type: ignore[arg-type]


# --- damaged folders ---


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def change_content(folder: Path, change: Callable[[Any], Any], *, resealed: bool) -> None:
    data = json.loads((folder / CONTENTS).read_text())
    change(data["content"])
    if resealed:
        data["sha256"] = saved._digest(data["content"])
    (folder / CONTENTS).write_text(json.dumps(data))


def change_head(folder: Path, **values: Any) -> None:
    (folder / CONTENTS).write_text(json.dumps(json.loads((folder / CONTENTS).read_text()) | values))


def replace_tensors(folder: Path, file: str, tensors: dict[str, Tensor]) -> None:
    """Write other tensors, and a contents that knows their size and checksum."""
    save_file(tensors, folder / file)
    told = {"bytes": (folder / file).stat().st_size, "sha256": sha256(folder / file)}
    change_content(folder, lambda content: content["files"].update({file: told}), resealed=True)


DAMAGED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no contents": (lambda f: (f / CONTENTS).unlink(), "There is no saved run in"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "weights.safetensors, it cannot be read"),
    "weights cut short": (lambda f: cut_short(f / WEIGHTS), r"\d+ bytes are there and \d+ were written"),
    "weights flipped": (lambda f: flip(f / WEIGHTS), "weights.safetensors, its content is not what its checksum says"),
    "contents cut short": (lambda f: cut_short(f / CONTENTS), "contents.json, it is not JSON"),
    "contents empty": (lambda f: (f / CONTENTS).write_text(""), "it is not JSON"),
    "contents binary": (lambda f: (f / CONTENTS).write_bytes(bytes(range(128, 256))), "it is not JSON"),
    "contents a list": (lambda f: (f / CONTENTS).write_text("[]"), "it is not an object"),
    "contents deep": (lambda f: (f / CONTENTS).write_text('{"a":' * 9000 + "1" + "}" * 9000), "it is not JSON"),
    "another format": (lambda f: change_head(f, format="something"), "says that it is something 1; this package reads"),
    "a later version": (lambda f: change_head(f, version=2), "run 2; this package reads jupyter-hwprune run 1"),
    "no content": (lambda f: change_head(f, content=None), "its content is not what its checksum says"),
    "contents tampered": (
        lambda f: change_content(f, lambda c: c["report"]["totals"].update(weights=1), resealed=False),
        "contents.json, its content is not what its checksum says",
    ),
}


def kept_positions(change: Callable[[list[Any]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        change_content(
            folder, lambda content: change(content["structure"]["tensors"]["0.0.weight"]["kept"]), resealed=True
        )

    return apply


def impossible(of: str, shape: list[int]) -> Callable[[Path], None]:
    """Write a shape that no tensor has, in a list of contents whose checksum fits."""

    def change(content: Any) -> None:
        if of == "tensors":
            content["structure"]["tensors"]["0.0.weight"].update(shape=shape, kept=None)
        elif of == "layers":
            content["report"]["layers"][0]["shape"] = shape
        else:
            content["report"]["skipped"].append({"name": "0", "kind": "Conv2d", "shape": shape, "reason": ""})

    return lambda folder: change_content(folder, change, resealed=True)


def count_of_groups(count: int) -> Callable[[Path], None]:
    added = {"module": "0.0", "name": "groups", "dense": [1], "pruned": [count]}
    return lambda folder: change_content(
        folder, lambda content: content["structure"]["attributes"].append(added), resealed=True
    )


FORGED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "beyond the end": (kept_positions(lambda kept: kept[0].append(32)), "kept positions out of 32"),
    "before the start": (kept_positions(lambda kept: kept[0].insert(0, -1)), "kept positions out of 32"),
    "twice": (kept_positions(lambda kept: kept[0].append(kept[0][-1])), "kept positions out of 32"),
    "out of order": (kept_positions(lambda kept: kept[0].reverse()), "kept positions out of 32"),
    "none": (kept_positions(lambda kept: kept[0].clear()), "kept positions out of 32"),
    "no numbers": (kept_positions(lambda kept: kept[0].append("3")), "is not of type int"),
    "too few dimensions": (kept_positions(lambda kept: kept.pop()), "has kept positions for 3"),
    "one fewer": (kept_positions(lambda kept: kept[0].pop()), "its tensors are not those of contents.json"),
    "no tensors": (
        lambda f: change_content(f, lambda content: content["structure"].update(tensors=3), resealed=True),
        "contents.json, ",
    ),
    "a field more": (lambda f: change_content(f, lambda c: c.update(code="x"), resealed=True), "contents.json, .*code"),
    "no report": (lambda f: change_content(f, lambda c: c.pop("report"), resealed=True), "schema version None"),
    "report damaged": (
        lambda f: change_content(f, lambda c: c["report"].update(totals=3), resealed=True),
        "This report is damaged",
    ),
    **{
        f"{shape} as the shape of {of}": (impossible(of, shape), "no tensor has the shape")
        for of in ("tensors", "layers", "skipped")
        for shape in ([-5, 3, 3, 3], [10**30, 3, 3, 3], [2**40, 2**40])
    },
    **{f"{count} groups": (count_of_groups(count), "was 1, and no cut makes") for count in (-5, 0, 2, 10**30)},
    "no word of the weights": (
        lambda f: change_content(f, lambda c: c["files"].pop(WEIGHTS), resealed=True),
        "it says nothing of weights",
    ),
    "other tensors": (
        lambda f: replace_tensors(f, WEIGHTS, {"0.0.weight": torch.zeros(16, 3, 3, 3)}),
        "its tensors are not those of contents.json",
    ),
    "an attribute of another value": (
        lambda f: change_content(
            f,
            lambda c: c["structure"]["attributes"].append(
                {"module": "0", "name": "forward", "dense": [], "pruned": []}
            ),
            resealed=True,
        ),
        r"0\.forward is None and was \(\)",
    ),
}


@pytest.mark.parametrize("case", [*DAMAGED, *FORGED])
def test_a_damaged_folder_is_one_paragraph_and_changes_nothing(case: str, folder: Path) -> None:
    change, said = (DAMAGED | FORGED)[case]
    change(folder)
    model = cnn()
    mark = fingerprint(model)
    with pytest.raises((ReportError, InputError), match=said) as caught:
        load(folder, model)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 900
    assert fingerprint(model) == mark


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: flip(f / MASKS), "masks.safetensors, its content is not what its checksum says"),
        (
            lambda f: replace_tensors(f, MASKS, {"9.weight": torch.zeros(8, dtype=torch.uint8)}),
            "9.weight is not the mask of a weight",
        ),
        (
            lambda f: replace_tensors(f, MASKS, {"4.weight": torch.zeros(8, dtype=torch.uint8)}),
            "4.weight is not the mask of a weight",
        ),
        (lambda f: replace_tensors(f, MASKS, {"4.weight": torch.zeros(240)}), "4.weight is not the mask of a weight"),
        (lambda f: (f / MASKS).write_bytes(b"\xff" * (f / MASKS).stat().st_size), "its content is not"),
    ],
)
def test_damaged_masks_are_refused_where_they_are_needed(
    change: Callable[[Path], Any], said: str, zeroed: Path
) -> None:
    change(zeroed)
    with pytest.raises(ReportError, match=said):
        load(zeroed, cnn(), weights="own")
    assert load(zeroed, cnn()).report.layers  # the weights that were saved hold their zeros


def test_a_file_of_tensors_that_is_none_is_refused(zeroed: Path) -> None:
    (zeroed / WEIGHTS).write_bytes(b"\xff" * 64)
    told = {"bytes": 64, "sha256": sha256(zeroed / WEIGHTS)}
    change_content(zeroed, lambda content: content["files"].update({WEIGHTS: told}), resealed=True)
    with pytest.raises(ReportError, match=r"weights\.safetensors, it cannot be read"):
        load(zeroed, cnn())


def test_a_contents_too_large_is_not_read(zeroed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved, "LARGEST_CONTENTS_BYTES", 1000)
    with pytest.raises(ReportError, match=r"contents\.json, it is larger than"):
        load(zeroed, cnn())


def test_masks_of_reordered_channels_say_nothing_of_other_weights(tmp_path: Path) -> None:
    model, x = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8)), torch.randn(4, 16)
    run = hwprune(model, x, target=NOT_MEASURED, pattern="2:4", permute=True)
    run.save(tmp_path / "run")
    assert same_state(load(tmp_path / "run", model).model, run.model)
    with pytest.raises(InputError, match="reordered its channels"):
        load(tmp_path / "run", model, weights="own")
