"""What the side panel asks: the forms of the answers, and that asking leaves no trace."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from jupyter_hwprune.core.options import SUBCOMMANDS
from jupyter_hwprune.notebook import lab
from tests.conftest import fingerprint
from tests.networks import cnn


@pytest.fixture
def user(shell: Any) -> Any:
    shell.push({"net": cnn(), "x": torch.randn(2, 3, 16, 16), "loss": nn.CrossEntropyLoss(), "size": len})
    shell.run_cell("def accuracy(model, rows=8): return 0.5\ndef train(model, loader): ...\ndef helper(): ...")
    return shell


def as_the_panel_asks(shell: Any, function: str) -> dict[str, Any]:
    """Return the JSON that a front end gets for a user expression."""
    expression = f"__import__('jupyter_hwprune.notebook.lab', fromlist=['lab']).{function}()"
    [reply] = shell.user_expressions({"asked": expression}).values()
    assert reply["status"] == "ok", reply
    answer: dict[str, Any] = json.loads(json.dumps(reply["data"]["application/json"]))
    return answer


def test_the_namespace_names_models_inputs_and_scores(user: Any) -> None:
    found = as_the_panel_asks(user, "namespace")
    assert found["models"] == [
        {
            "name": "net",
            "kind": "Sequential",
            "parameters": sum(p.numel() for p in user.user_ns["net"].parameters()),
            "dtype": "float32",
            "device": "cpu",
        }
    ]
    assert found["tensors"] == [{"name": "x", "shape": [2, 3, 16, 16], "dtype": "float32"}]
    assert found["scores"] == ["accuracy"]
    assert (found["model"], found["input"]) == ("net", "x")
    assert (found["loaded"], found["torch"]) == (True, True)


def test_what_is_not_clear_is_said_and_nothing_is_chosen(user: Any) -> None:
    user.push({"other": cnn(), "y": torch.zeros(1)})
    del user.user_ns["x"]
    user.push({"z": torch.zeros(1)})
    found = as_the_panel_asks(user, "namespace")
    assert found["model"] is None
    assert "several models here: net, other" in found["no_model"]
    assert found["input"] is None
    assert "The tensors here are: y, z" in found["no_input"]


def test_a_lazy_model_has_no_number_of_parameters_yet(user: Any) -> None:
    user.push({"lazy": nn.Sequential(nn.LazyLinear(4))})
    found = {model["name"]: model for model in as_the_panel_asks(user, "namespace")["models"]}
    assert found["lazy"]["parameters"] is None


def test_asking_leaves_the_namespace_and_the_model_as_they_were(user: Any) -> None:
    names, mark, count = set(user.user_ns), fingerprint(user.user_ns["net"]), user.execution_count
    for function in ("listen", "namespace", "choices"):
        as_the_panel_asks(user, function)
    assert (set(user.user_ns), user.execution_count) == (names, count)
    assert fingerprint(user.user_ns["net"]) == mark


def test_the_choices_are_those_of_the_matrix(user: Any) -> None:
    found = as_the_panel_asks(user, "choices")
    [row] = [target for target in found["targets"] if target["name"] == "x86-cpu"]
    offered = {"toolchain": "onnxruntime", "pattern": "channel/8", "sparsity": 0.5, "dtypes": ["int8"]}
    assert row["judges"][0] == offered
    assert found["aliases"]["tpu"] == "tpu-v5e"
    assert "taylor" in found["channel_importance"]
    assert "taylor" not in found["weight_importance"]


def test_the_machine_says_what_can_be_measured_here_and_the_cure_where_not(user: Any) -> None:
    found = as_the_panel_asks(user, "machine")
    states = {target["name"]: target for target in found["targets"]}
    parts = {part["name"]: part for part in found["parts"]}
    assert parts["onnxruntime"]["state"] == "ready"
    assert parts["deepsparse"]["state"] == "missing"
    assert parts["deepsparse"]["cure"] == "%hwprune setup deepsparse --accept-licence"
    assert states["tpu-v5e"]["usable"] == []
    assert [each["toolchain"] for each in states["tpu-v5e"]["obstacles"]] == ["xla"]
    assert all(each["reason"] for each in states["tpu-v5e"]["obstacles"])


def test_a_user_without_torch_is_not_made_to_import_it() -> None:
    code = (
        "import sys, json, warnings; warnings.simplefilter('ignore')\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance(); from jupyter_hwprune.notebook import lab\n"
        "found = [lab.listen(), lab.namespace(), lab.choices()][1]\n"
        "print(json.dumps([found.torch, found.loaded, found.no_model, 'torch' in sys.modules]))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    torch_said, loaded, no_model, imported = json.loads(said)
    assert (torch_said, loaded, imported) == (False, False, False)
    assert "There is no model here" in no_model


def test_the_panels_know_every_form_of_the_magic_that_a_model_may_be_called_as() -> None:
    shared = json.loads((Path(__file__).parent / "magic_lines.json").read_text(encoding="utf-8"))
    assert set(SUBCOMMANDS) <= {row["form"].get("model") for row in shared}


def test_every_subject_has_a_function_of_its_name() -> None:
    assert {name: getattr(lab, name) for name in lab.SUBJECTS} == lab.SUBJECTS
    assert lab.listen().subjects == tuple(lab.SUBJECTS)
