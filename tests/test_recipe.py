"""SparseML recipes, in and out, with the real SparseML in its own environment."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from jupyter_hwprune import Report, Run, hwprune
from jupyter_hwprune.core.errors import InputError, PruneError, ToolchainError
from jupyter_hwprune.recipe.write import recipe_text
from jupyter_hwprune.report import NOT_COMPARED, Returned, words
from jupyter_hwprune.toolchains import environments
from tests import networks
from tests.conftest import fingerprint

UNMEASURED: dict[str, Any] = {
    "target": "tpu-v5e",
    "toolchain": "xla",
}  # no toolchain to wait for: what is tested is the pruning


def listed(name: str = "GMPruningModifier", **settings: str) -> str:
    """A recipe of the older notation; a setting of "" is left out."""
    own = {
        "init_sparsity": "0.05",
        "final_sparsity": "0.75",
        "start_epoch": "0.0",
        "end_epoch": "2.0",
        "update_frequency": "1.0",
        "params": '["re:.*weight"]',
    } | settings
    return f"modifiers:\n  - !{name}\n" + "".join(f"    {key}: {value}\n" for key, value in own.items() if value)


def nested(name: str = "SparseGPTModifier", stage: str = "prune_stage", group: str = "a_modifiers", **own: str) -> str:
    """A recipe of the newer notation."""
    settings = "".join(f"      {key}: {value}\n" for key, value in ({"sparsity": "0.5"} | own).items() if value)
    return f"{stage}:\n  {group}:\n    {name}:\n{settings or '      index: 0'}\n"


TWICE = nested() + "    SparseGPTModifier:\n      sparsity: 0.6\n"
REFUSED = {
    "no YAML": ("modifiers: [\n", "is not YAML"),
    "a list": ("- !GMPruningModifier\n  params: []\n", "not a mapping of keys"),
    "nothing in it": ("version: 1.1.0\n", "holds no modifier"),
    "a key without modifiers": (
        listed().replace("modifiers:", "pruning:"),
        "is at pruning.0, where SparseML does",
    ),
    "a stage beside a list": (
        listed() + "late_stage:\n  a_modifiers:\n    - !ConstantPruningModifier\n      params: __ALL__\n",
        "beside a list at the top, stages are not read",
    ),
    "two notations": (listed() + nested(), "mixes SparseML's two notations"),
    "a stage by another name": (
        nested(stage="prune"),
        r"at prune\.a_modifiers\.Sp.*name ends in `_stage`",
    ),
    "a group by another name": (nested(group="pruning"), "groups whose name ends in `_modifiers`"),
    "no stage at all": ("a_modifiers:\n  SparseGPTModifier:\n    sparsity: 0.5\n", "is at a_modifiers"),
    "the same key twice": (TWICE, "key SparseGPTModifier twice in prune_stage.a_modifiers"),
    "an unknown modifier": (listed("GMPruneModifier"), "no modifier GMPruneModifier at all; did you mean GMPruning"),
    "a modifier of the other notation": (nested("GMPruningModifier"), "no modifier GMPruningModifier in this notation"),
    "a learning rate": (
        listed() + "  - !SetLearningRateModifier\n    learning_rate: 0.1\n",
        "SetLearningRate.*controls training",
    ),
    "quantisation": (nested("GPTQModifier"), "GPTQModifier .*quantised network.* Remove them"),
    "gradients": (listed("MovementPruningModifier"), "ranks weights by gradients"),
    "layers removed": ("modifiers:\n  - !LayerPruningModifier\n    layers: ['0']\n", "removes layers or channels"),
    "magnitude in a stage": (nested("MagnitudePruningModifier"), "in one shot it changes no weight"),
    "nothing but what is there": ("modifiers:\n  - !EpochRangeModifier\n    end_epoch: 3.0\n", "makes no zeros"),
    "an unquoted mask": (listed(final_sparsity="0.5", mask_type="2:4"), 'number 124 .*mask_type: "2:4"'),
    "an unquoted structure": (nested(mask_structure="2:4"), 'number 124 .*mask_structure: "2:4"'),
    "a mask against a sparsity": (
        listed(mask_type='"2:4"'),
        "a sparsity of 0.75 and mask_type 2:4, which always removes 0.5",
    ),
    "blocks left open": (listed(mask_type="[1, -1]"), "replaces a -1 by the first layer"),
    "sparsity 0": (listed(final_sparsity="0.0"), "a sparsity of 0.0; it has to be above 0"),
    "per cent": (listed(final_sparsity="80.0"), "It is a share, not a percentage: 0.8"),
    "a profile that does not exist": (nested(sparsity_profile="owly"), "would ignore; it knows only owl"),
    "a structure by name": (nested(mask_structure="unstructured"), 'takes n:m in quotes there, such as "2:4"'),
    "no sparsity": (nested("WandaPruningModifier", sparsity=""), "it would remove nothing"),
    "an end before the start": (listed(end_epoch="-1.0"), "ends at epoch -1 and starts at 0.*stays at init_sparsity"),
    "inverse_cubic": (listed(inter_func="inverse_cubic"), "inverse_cubic, with which SparseML stays at init_sparsity"),
    "a single text": (listed(params='"re:.*weight"'), "a single text, but SparseML takes a list"),
    "no regular expression": (listed(params='["re:*weight"]'), "is not a regular expression"),
    "a stage of a training": (nested(stage="train_stage"), "train_stage is for training"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.usefixtures("sparseml_environment")
def test_what_sparseml_would_pass_over_in_silence_is_refused(case: str, image: torch.Tensor) -> None:
    text, said = REFUSED[case]
    model = networks.cnn()
    mark = fingerprint(model)
    with pytest.raises(InputError, match=said) as caught:
        hwprune(model, image, recipe=text, **UNMEASURED)
    assert "\n" not in str(caught.value)
    assert fingerprint(model) == mark


APPLIED_AND_REFUSED: dict[str, tuple[Any, Any, str, type[Exception], str]] = {
    "params that match nothing": (
        networks.cnn, networks.images, listed(params='["0.0.weight", "layer1.weight"]'), InputError,
        "params of GMPruningModifier name layer1.weight, but nothing in the model matches",
    ),
    "an expression that ends wrong": (
        networks.cnn, networks.images, "final: 1.2\n" + listed(final_sparsity="eval(final)"), InputError,
        "a sparsity of 1.2",
    ),
    "a setting that does not exist": (
        networks.Transformer, networks.ids, nested(sparsty="0.9"), InputError, "no setting sparsty; SparseML would",
    ),
    "targets that match nothing": (
        networks.Transformer, networks.ids, nested(targets='["nothing"]'), InputError, "targets of SparseGPT.* nothing",
    ),
    "a convolution with activations": (
        networks.cnn, networks.images, nested(), InputError, "works on Linear layers only",
    ),
    "a stage switched off": (
        networks.Transformer, networks.ids, nested().replace("  a_mod", "  enabled: False\n  a_mod"), InputError,
        "prune_stage is switched off",
    ),
    "a layer named twice": (
        networks.Transformer, networks.ids, nested(targets='["re:attention.*"]'), InputError, "more than once",
    ),
    "too small to lose any": (
        lambda: nn.Sequential(nn.Linear(8, 3), nn.Linear(3, 8)), lambda: torch.randn(4, 8),
        nested("WandaPruningModifier", sparsity="0.3"), InputError, r"fewer.*1\.weight has 0\.0% instead of 30",
    ),
    "n:m in a convolution": (
        networks.cnn, networks.images, listed(final_sparsity="0.5", mask_type='"2:4"', params='["re:.*[04].weight"]'),
        InputError, r"2:4 masks that fit Linear layers only, but its params include 0\.0\.weight, 1\.0\.weight",
    ),
    "groups across rows": (
        lambda: nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 6)), lambda: torch.randn(4, 8),
        listed(final_sparsity="0.5", mask_type='"2:4"'), PruneError, "1: 2:4 needs input channels in multiples of 4",
    ),
    "blocks that are none": (
        lambda: nn.Sequential(nn.Linear(16, 16)), lambda: torch.randn(4, 16), listed(mask_type="[4, 4]"), PruneError,
        r"not the pattern that was asked for \(0: .* hold 4x4",
    ),
    "only where no kernel is": (
        networks.Transformer, networks.ids, listed(params='["tokens.weight"]'), PruneError,
        "No Linear layer or convolution got zeros",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", APPLIED_AND_REFUSED)
@pytest.mark.usefixtures("sparseml_environment")
def test_what_comes_out_otherwise_than_asked_is_refused(case: str) -> None:
    build, example, text, kind, said = APPLIED_AND_REFUSED[case]
    with pytest.raises(kind, match=said) as caught:
        hwprune(build(), example(), recipe=text, **UNMEASURED)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("sparseml_environment")
def test_a_schedule_is_applied_at_its_final_sparsity_and_all_of_it_is_told(tmp_path: Path) -> None:
    card = tmp_path / "recipe.md"
    parts = "  - !EpochRangeModifier\n    start_epoch: 0.0\n    end_epoch: 3.0\n"
    card.write_text(f"---\nfinal: 0.75\n{listed(final_sparsity='eval(final)')}{parts}---\n# A card\n--- and more\n")
    model = networks.Transformer()
    mark = fingerprint(model)
    run = hwprune(model, networks.ids(), recipe=card, **UNMEASURED)
    report = run.report
    assert fingerprint(model) == mark
    assert {layer.name for layer in report.layers} >= {"attention.q", "up", "head"}
    assert all(layer.pattern == "unstructured" and layer.valid for layer in report.layers)
    for layer in report.layers:
        weight = run.model.get_parameter(f"{layer.name}.weight")
        assert 1 - int(weight.count_nonzero()) / weight.numel() == pytest.approx(0.75, abs=1e-3)
        assert layer.sparsity == pytest.approx(0.75, abs=1e-3)
        assert layer.picture is not None
    assert report.request.recipe is not None
    assert report.request.recipe.name == str(card)
    assert report.request.sparsity == pytest.approx(0.75, abs=1e-3)
    said = " ".join(report.reasons)
    assert "a schedule from epoch 0 to 2; it was applied in one shot at its final sparsity" in said
    assert "Without training, EpochRangeModifier had nothing to do" in said
    assert "zeros outside of Linear layers and convolutions: tokens.weight, norm1.weight" in said
    assert report.versions["sparseml"] == "1.8.0"
    left = sum(int(p.count_nonzero()) for p in run.model.parameters())
    before = sum(int(p.count_nonzero()) for p in model.parameters())
    assert report.totals.weights - report.totals.pruned_weights == before - left
    assert Report.from_json(report.to_json()) == report
    assert run.to_sparseml() == report.request.recipe.text
    dense_again = replace(report, returned=(Returned("up", "Linear", (64, 32), "slower", None, NOT_COMPARED),))
    with pytest.raises(InputError, match="the recipe would prune those too"):
        recipe_text(run.model, dense_again)
    assert f"--recipe {card} " in words.line(report)  # the target's toolchain may be here, and then its dtype follows
    assert words.line(report).endswith(" --batch 2 -o run")


@pytest.mark.parametrize("name", ["SparseGPTModifier", "WandaPruningModifier"])
@pytest.mark.usefixtures("sparseml_environment")
def test_activations_come_from_the_calibration_inputs(name: str) -> None:
    model = networks.Transformer(tied=True)
    text = nested(name, mask_structure='"2:4"', targets='["attention", "re:(up|down)$"]')
    calib = [networks.ids() for _ in range(3)]
    run = hwprune(model, networks.ids(), recipe=text, calib=calib, target="ampere", keep_all=True)
    report = run.report
    assert {layer.name for layer in report.layers} == {f"attention.{n}" for n in "qkvo"} | {"up", "down"}
    assert all(layer.pattern == "2:4" and layer.valid and layer.served_by for layer in report.layers)
    assert report.request.pattern == "2:4"
    assert "Calibrated on 6 rows of the calibration inputs." in report.reasons
    changed = not torch.equal(
        run.model.get_parameter("up.weight")[run.model.get_parameter("up.weight") != 0],
        model.get_parameter("up.weight")[run.model.get_parameter("up.weight") != 0],
    )
    assert changed == (name == "SparseGPTModifier")  # it moves the weights that stay, too
    skipped = {each.name: each.reason for each in report.skipped}
    assert skipped["head"] == "no zeros were made in it"
    alone = hwprune(model, networks.ids(), recipe=text, **UNMEASURED)
    assert "Calibrated only on the example input (2 rows); --calib takes more." in alone.report.reasons


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"recipe": "zoo:cv/classification"}, "SparseZoo's server is gone"),
        ({"recipe": "nowhere.yaml"}, "nowhere.yaml cannot be read"),
        ({"recipe": 5}, "recipe is a int"),
        ({"recipe": "a:\nb", "pattern": "2:4"}, "--pattern is 2:4, but the recipe sets that itself"),
        ({"recipe": "a:\nb", "sparsity": 0.5}, "--sparsity is 0.5"),
        ({"recipe": "a:\nb", "allocation": "global"}, "--allocation is global"),
        (
            {"calib": torch.zeros(1), "keep_statistics": True, "importance": "magnitude"},
            "--calib is for options that use inputs",
        ),
    ],
)
def test_bad_options_beside_a_recipe_are_one_paragraph(options: dict[str, Any], said: str, image: torch.Tensor) -> None:
    with pytest.raises(InputError, match=said):
        hwprune(networks.cnn(), image, **options)


@pytest.mark.usefixtures("sparseml_environment")
def test_calibration_inputs_of_two_shapes_are_refused() -> None:
    with pytest.raises(InputError, match=r"differ in shape: \[\(2, 6\)\] and \[\(2, 5\)\]"):
        hwprune(
            networks.Transformer(), networks.ids(), recipe=nested(), calib=[networks.ids(), networks.ids()[:, :5]],
            **UNMEASURED,
        )  # fmt: skip


@pytest.mark.smoke
def test_the_magic_takes_a_file_or_a_variable(shell: Any, sparseml_environment: Path, tmp_path: Path) -> None:
    assert sparseml_environment
    text = listed(params='["4.weight"]')
    (tmp_path / "prune.yaml").write_text(text)
    shell.push({"net": networks.cnn(), "x": networks.images(), "rec": text})
    shell.run_line_magic("cd", f"-q {tmp_path}")
    for named in ("prune.yaml", "rec"):
        shell.run_cell(f"%hwprune net --input x --target tpu-v5e --toolchain xla --recipe {named} -o run;")
        run: Run = shell.user_ns.pop("run")
        assert [layer.name for layer in run.report.layers] == ["4"]
        assert f"--recipe {named}" in str(run)


def test_without_the_environment_the_cure_is_said(image: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Path:
        raise InputError(f"{name} has no environment here. Make it: %hwprune setup {name}.")

    monkeypatch.setattr(environments, "interpreter_of", missing)
    with pytest.raises(InputError, match="%hwprune setup sparseml"):
        hwprune(networks.cnn(), image, recipe=listed())
    monkeypatch.setattr(environments, "interpreter_of", lambda _: Path(sys.executable))
    with pytest.raises((InputError, ToolchainError), match="%hwprune setup sparseml"):
        hwprune(networks.cnn(), image, recipe=nested())


# What hwprune writes, applied by SparseML itself to the user's own classes.

WRITTEN: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "cnn": (networks.cnn, networks.images, {"pattern": "unstructured", "sparsity": 0.7}),
    "global": (networks.cnn, networks.images, {"pattern": "unstructured", "sparsity": 0.83, "allocation": "global"}),
    "mobile": (networks.Mobile, networks.images, {"pattern": "unstructured", "sparsity": 0.61}),
    "unet": (networks.UNet, networks.images, {"pattern": "unstructured", "sparsity": 0.9, "allocation": "global"}),
    "transformer 2:4": (networks.Transformer, networks.ids, {"pattern": "2:4"}),
    "transformer 1:4": (networks.Transformer, networks.ids, {"pattern": "1:4"}),
    "tied": (lambda: networks.Transformer(tied=True), networks.ids, {"pattern": "unstructured", "sparsity": 0.55}),
    "encoder": (networks.TorchEncoder, networks.series, {"pattern": "unstructured", "sparsity": 0.37}),
    "1x4 blocks": (networks.Residual, networks.images, {"pattern": "1x4", "sparsity": 0.6}),
    "8x1 blocks": (networks.Gated, networks.series, {"pattern": "8x1", "sparsity": 0.5, "allocation": "global"}),
    "uneven": (
        lambda: nn.Sequential(nn.Linear(8, 13), nn.ReLU(), nn.Linear(13, 7), nn.Linear(7, 3)),
        networks.series,
        {"pattern": "unstructured", "sparsity": 0.666},
    ),
    "ties": (lambda: _rounded(nn.Sequential(nn.Linear(8, 32), nn.Linear(32, 8))), networks.series, {"sparsity": 0.5}),
}
BY_SPARSEML = """
import json, sys, torch
from sparseml.pytorch.optim import ScheduledModifierManager
for recipe, model in json.load(open(sys.argv[1])):
    net = torch.load(model, weights_only=False)
    ScheduledModifierManager.from_yaml(recipe).apply(net)
    torch.save(net.state_dict(), model + ".zeros")
"""


def _rounded(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_((parameter * 20).round() / 20)
    return model


def test_a_written_recipe_makes_the_same_zeros(sparseml_environment: Path, tmp_path: Path) -> None:
    runs, jobs = {}, []
    for number, (name, (build, example, options)) in enumerate(WRITTEN.items()):
        own = {"pattern": "unstructured"} | options
        model = build().eval()
        runs[name] = hwprune(model, example(), **own, **UNMEASURED)
        recipe, dense = tmp_path / f"{number}.yaml", tmp_path / f"{number}.pt"
        assert runs[name].to_sparseml(recipe) == recipe.read_text()
        torch.save(model, dense)
        jobs.append((str(recipe), str(dense)))
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    home = {"PYTHONPATH": str(Path(networks.__file__).parent.parent), "NM_DISABLE_ANALYTICS": "1"}
    subprocess.run(
        [sparseml_environment, "-c", BY_SPARSEML, tmp_path / "jobs.json"],
        cwd=tmp_path, env=home, check=True, capture_output=True,
    )  # fmt: skip
    for (name, run), (_, saved) in zip(runs.items(), jobs, strict=True):
        theirs = torch.load(f"{saved}.zeros", weights_only=True)
        for key, parameter in run.model.named_parameters():
            assert torch.equal(parameter, theirs[key]), f"{name}: {key}"


@pytest.mark.parametrize(
    ("build", "example", "options", "said"),
    [
        (
            networks.cnn,
            networks.images,
            {"pattern": "channel"},
            "removed channels, but a SparseML recipe can only zero weights",
        ),
        (networks.cnn, networks.images, {"pattern": "2:4"}, "zeros of 1.0, a Conv2d with 2:4"),
        (networks.Transformer, networks.ids, {"pattern": "4x4"}, "runs of weights in memory, not rectangles"),
    ],
)
def test_zeros_that_no_recipe_makes_are_refused(build: Any, example: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        hwprune(build(), example(), **options, **UNMEASURED).to_sparseml()


@pytest.mark.usefixtures("sparseml_environment")
def test_a_model_that_is_one_layer_comes_back_through_its_own_recipe() -> None:
    model = nn.Linear(16, 12)
    run = hwprune(model, torch.randn(2, 16), pattern="unstructured", sparsity=0.6, **UNMEASURED)
    again = hwprune(model, torch.randn(2, 16), recipe=run.to_sparseml(), **UNMEASURED)
    assert torch.equal(run.model.get_parameter("weight"), again.model.get_parameter("weight"))
