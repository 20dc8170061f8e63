"""Tab after `%hwprune`, as IPython in a terminal and a kernel's `complete_request` answer it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from IPython.core.completer import provisionalcompleter

from jupyter_hwprune.core.options import OPTIONS
from jupyter_hwprune.notebook.offers import SAID
from tests.front import Front
from tests.networks import cnn

NOTEBOOK = """import torch
from torch import nn
import jupyter_hwprune
net, x = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4)), torch.ones(2, 16)
data = [x, x]
def accuracy(model): return 0.5
%load_ext jupyter_hwprune"""
OFFERED: dict[str, dict[str, str]] = {
    "%hwprune --target ": {"cpu": "target: ", "hopper": "target: NVIDIA", "tpu-v6e": "target: Google"},
    "%hwprune --target tpu-v5": {"tpu-v5e": "target: Google", "tpu-v5p": "target: Google"},
    "%hwprune --target x86-cpu:op": {"x86-cpu:openvino": "toolchain: here"},
    "%hwprune net --target hopper --pattern 2": {"2:4": "pattern: 2 of 4 weights"},
    "%hwprune net --pattern=channel/": {"channel/8": "pattern: channels, left in 8s"},
    "%hwprune net --input ": {"x": "tensor: 2x16", "data": "list: 2 tensors"},
    "%hwprune net --toolchain op": {"openvino": "toolchain: here"},
    "%hwprune net --toolchain de": {"deepsparse": "toolchain: not set up"},
    "%hwprune net --dtype ": {"int8": "dtype: 8 bits"},
    "%hwprune net --importance se": {"second-order": "importance: by what the layer loses"},
    "%%hwprune net --schedule cu": {"cubic": "schedule: large steps first"},
    "%hwprune net --ev": {"--eval": "option: score"},
    "%hwprune net --permute --dt": {"--dtype": "option: dtype"},
    "%hwprune net --eval ": {"accuracy": "score: function"},
    "%hwprune net --dense ": {"0": "layer: Linear", "2": "layer: Linear"},
    "%hwprune net --sparsity ": {"0.5": "sparsity: for example", "0.75": "", "0.9": ""},
    "%hwprune net --sparsity 0.37": {"0.37": "number"},
    "%hwprune net --threads ": {"1": "threads"},
    "%hwprune net --ignore HWP113": {"HWP113": "mistake: "},
    "%hwprune ne": {"net": "model: Sequential"},
    "run = %hwprune ne": {"net": "model: Sequential"},
    "%%hwprune ne": {"net": "model: Sequential"},
    "%hwprune doc": {"doctor": "subcommand: "},
    "%hwprune doctr": {"doctor": "subcommand: "},
    "%hwprune doctor --": {"--smoke": "option: no value"},
    "%hwprune doctor amp": {"ampere": "target: NVIDIA"},
    "%hwprune setup deep": {"deepsparse": "environment: not set up"},
    "%hwprune advise --target cpu,ho": {"hopper": "target: NVIDIA"},
    "%hwprune \\\n net --pattern dep": {"depth": "pattern: residual blocks", "depth+channel/8": "pattern: "},
}
WHOLE = {"--threads ", "--target "}  # of these more is offered than is listed


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    found = Front()
    assert found.run(NOTEBOOK)["status"] == "ok"
    yield found
    found.close()


@pytest.fixture
def user(shell: Any) -> Any:
    shell.run_cell(NOTEBOOK)
    return shell


def matches(shell: Any, line: str, after: str = "") -> dict[str, str]:
    """Return what Tab offers at the end of the line, each as the word it makes, with its type."""
    start = max(line.rfind(" "), line.rfind("="), line.rfind(",")) + 1
    with provisionalcompleter():
        found = shell.Completer.completions(line + after, len(line))
        return {line[start : match.start] + match.text: spaced(match.type) for match in found}


def asked_of_kernel(front: Front, line: str, after: str = "") -> dict[str, str]:
    content = front.client.complete(line + after, len(line), reply=True, timeout=30)["content"]
    start = max(line.rfind(" "), line.rfind("="), line.rfind(",")) + 1
    typed = content["metadata"]["_jupyter_types_experimental"]
    return {line[start : match["start"]] + match["text"]: spaced(match["type"]) for match in typed}


def spaced(said: str) -> str:
    assert not {" ", "-"} & set(said)  # where JupyterLab would break it, over the next line
    return said.replace("\N{NO-BREAK SPACE}", " ").replace("\N{NON-BREAKING HYPHEN}", "-")


def check(line: str, found: dict[str, str]) -> None:
    for text, said in OFFERED[line].items():
        assert found[text].startswith(said), line
    if not any(line.endswith(flag) for flag in WHOLE):
        assert set(found) == set(OFFERED[line]), line


def test_tab_offers_only_what_fits_with_its_type(user: Any) -> None:
    for line in OFFERED:
        check(line, matches(user, line))
        check(line, matches(user, line, after=" --threads 1"))  # in the middle of a line


def test_tab_asks_no_slower_completer(user: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def jedi(*_: Any, text: str, **__: Any) -> Iterator[Any]:
        asked.append(text)
        return iter([])

    user.Completer.use_jedi = True
    monkeypatch.setattr(user.Completer, "_jedi_matches", jedi)
    for line in OFFERED:
        check(line, matches(user, line))
    assert asked == []
    matches(user, "y = ne")
    assert asked == ["y = ne"]


def test_a_kernel_offers_the_same_in_the_same_order(front: Front, user: Any) -> None:
    for line in OFFERED:
        found = asked_of_kernel(front, line)
        check(line, found)
        assert list(found.items()) == list(matches(user, line).items())


def test_options_come_without_python_and_without_those_that_are_given(user: Any) -> None:
    found = matches(user, "%hwprune net --pattern 2:4 --")
    flags = {option.flag for option in OPTIONS.values() if "a run" in option.forms and option.name != "variable"}
    assert set(found) == flags - {"--pattern"}
    assert {"--dense", "--ignore"} <= set(matches(user, "%hwprune net --dense 0 --ignore HWP113 --"))


def test_a_word_that_python_completes_is_left_to_it(user: Any) -> None:
    user.push({"nets": {"first": cnn()}, "batch": torch.ones(2, 16)})
    assert "batch.shape" in {
        f"{'batch.'}{text.rpartition('.')[2]}" for text in matches(user, "%hwprune --input batch.sh")
    }
    for line in ("%hwprune nets", "%hwprune --input nets", "%hwprune --eval nets"):
        assert matches(user, line) == {"nets": "dict"}  # an expression may begin so
    assert "and" in matches(user, "y = 5 % hwprune an")
    with provisionalcompleter():
        cell = "%%hwprune net\nacc"
        assert "accuracy" in {match.text for match in user.Completer.completions(cell, len(cell))}


def test_files_and_folders_are_offered_where_they_fit(
    user: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models" / "resnet").mkdir(parents=True)
    for name in ("models/resnet.yaml", "recipe.md", "there.json", "notes.txt"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert matches(user, "%hwprune --zoo mo") == {"models/": "folder"}
    assert matches(user, "%hwprune --zoo models/res") == {"models/resnet/": "folder", "models/resnet.yaml": "file"}
    assert matches(user, "%hwprune --zoo=models/resnet.") == {"models/resnet.yaml": "file"}
    assert matches(user, "%hwprune net --recipe re") == {"recipe.md": "file"}
    assert matches(user, "%hwprune merge th") == {"there.json": "file"}


def test_unloading_takes_the_magic_and_its_completions_away(user: Any) -> None:
    before = len(user.Completer.custom_matchers)
    user.run_line_magic("reload_ext", "jupyter_hwprune")
    assert len(user.Completer.custom_matchers) == before
    user.run_line_magic("unload_ext", "jupyter_hwprune")
    assert len(user.Completer.custom_matchers) == before - 1
    assert user.find_line_magic("hwprune") is None
    assert "hopper" not in matches(user, "%hwprune --target ")


def test_every_choice_says_what_it_is() -> None:
    choices = {value for option in OPTIONS.values() if not option.open for value in option.choices}
    assert choices == set(SAID)
