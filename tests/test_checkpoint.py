"""`--from`: a transformers folder pruned block by block, from files to files, is the model pruned in memory."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from jupyter_hwprune import InputError, Report, prune_folder
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.core.pattern import parse_pattern
from jupyter_hwprune.pruning import plan_and_prune
from jupyter_hwprune.pruning.allocation import curve_of
from jupyter_hwprune.pruning.calibration import Calibration
from jupyter_hwprune.pruning.method import Method

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:transformers")

LLAMA = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 96, "max_position_embeddings": 32,
}  # fmt: skip
GPT2 = {"n_embd": 32, "n_layer": 3, "n_head": 4, "vocab_size": 96, "n_positions": 32}
SIZES = {"Llama": ("LlamaForCausalLM", LLAMA), "GPT2": ("GPT2LMHeadModel", GPT2)}
IDS = torch.randint(0, 96, (8, 16), generator=torch.Generator().manual_seed(1))


def written(folder: Path, name: str = "Llama", dtype: torch.dtype = torch.float32, **changed: Any) -> nn.Module:
    """Write a small model of random weights, in files of at most 60 kB, and return it."""
    kind, sizes = SIZES[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: nn.Module = getattr(transformers, kind)(getattr(transformers, f"{name}Config")(**sizes | changed))
    model.to(dtype).eval().save_pretrained(folder, max_shard_size="60kB")  # type: ignore[operator]
    return model


def tensors(folder: Path) -> dict[str, Tensor]:
    names = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    files = {file: load_file(folder / file) for file in set(names.values())}
    return {name: files[file][name] for name, file in names.items()}


@pytest.mark.parametrize(
    ("name", "pattern", "share", "importance"),
    [
        ("Llama", "2:4", 0.5, "second-order"),
        ("Llama", "unstructured", 0.6, "activation"),
        ("GPT2", "unstructured", 0.7, "second-order"),
        ("GPT2", "8x4", 0.5, "magnitude"),
    ],
)
def test_the_folder_written_is_the_model_pruned_in_memory(
    tmp_path: Path, name: str, pattern: str, share: float, importance: Any
) -> None:
    model = written(tmp_path / "dense", name)
    calib = Calibration([Example((), {"input_ids": IDS, "use_cache": False})], None)
    method = Method(importance, calibration=calib, dense=("lm_head",))
    expected = plan_and_prune(model, calib.batches[0], parse_pattern(pattern), share, method)

    new = tmp_path / "pruned"
    found = prune_folder(
        tmp_path / "dense", out=new, pattern=pattern, sparsity=share, importance=importance, calib=IDS
    ).report

    again = type(model).from_pretrained(new)  # type: ignore[attr-defined]
    for key, wanted in expected.model.named_parameters():
        own = again.get_parameter(key)
        assert torch.equal(own == 0, wanted == 0), key
        torch.testing.assert_close(own, wanted, rtol=1e-4, atol=1e-5)
    assert [(each.name, each.sparsity) for each in found.layers] == [
        (each.name, each.sparsity) for each in expected.layers
    ]
    assert (
        found.totals.weights - found.totals.pruned_weights == expected.totals.weights - expected.totals.pruned_weights
    )
    with torch.no_grad():  # the last block's output is what the norm after it reads, in both models
        last = [_last_hidden(each) for each in (model, again)]
    assert found.blockwise is not None
    error = float((last[1] - last[0]).square().sum() / last[0].square().sum())
    assert found.blockwise.blocks[-1].error == pytest.approx(error, rel=1e-3)
    assert found.verdict == "not measured"
    assert Report.load(new / "hwprune-report.json") == found
    assert {path.suffix for path in new.iterdir()} == {".json", ".safetensors"}


def _last_hidden(model: Any) -> Tensor:
    seen: list[Tensor] = []
    norm = model.model.norm if hasattr(model, "model") else model.transformer.ln_f
    with norm.register_forward_pre_hook(lambda _module, args: seen.append(args[0])):
        model(IDS)
    return seen[0]


@pytest.mark.parametrize("ended_in", ["block 1 of 3, self_attn.q_proj", "block 2 of 3, mlp.up_proj", "block 3 of 3"])
def test_a_run_that_was_ended_goes_on_with_the_first_block_that_is_not_done(tmp_path: Path, ended_in: str) -> None:
    written(tmp_path / "dense", dtype=torch.bfloat16)
    asked: dict[str, Any] = {"pattern": "2:4", "importance": "second-order", "calib": IDS, "dense": ["*.o_proj"]}
    whole = prune_folder(tmp_path / "dense", out=tmp_path / "whole", **asked)
    assert whole.report.blockwise is not None

    def progress(_phase: str, detail: str) -> None:
        if detail == ended_in:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune_folder(tmp_path / "dense", out=tmp_path / "new", **asked, progress=progress)
    with pytest.raises(InputError, match="unfinished run with another pattern"):
        prune_folder(tmp_path / "dense", out=tmp_path / "new", **asked | {"pattern": "1:4"})
    found = prune_folder(tmp_path / "dense", out=tmp_path / "new", **asked).report

    assert found.blockwise is not None
    assert found.blockwise.taken_up == int(ended_in[6]) - 1
    assert found.layers == whole.report.layers
    assert [each.error for each in found.blockwise.blocks] == [each.error for each in whole.report.blockwise.blocks]
    one, other = tensors(tmp_path / "whole"), tensors(tmp_path / "new")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    dense = {
        name: each for file in (tmp_path / "dense").glob("*.safetensors") for name, each in load_file(file).items()
    }
    for name, each in one.items():
        assert each.dtype == torch.bfloat16
        groups = each.reshape(len(each), -1, 4) if each.ndim == 2 else None
        zeroed = "layers" in name and "proj" in name and "o_proj" not in name
        assert (bool(((groups != 0).sum(-1) <= 2).all()) if groups is not None else False) == zeroed, name
        assert zeroed or torch.equal(each, dense[name])
    with pytest.raises(InputError, match="holds a pruned model"):
        prune_folder(tmp_path / "dense", out=tmp_path / "new", **asked)


def test_mixed_shares_come_from_the_errors_of_blocks_and_meet_the_budget(tmp_path: Path) -> None:
    written(tmp_path / "dense")
    asked: dict[str, Any] = {"pattern": "unstructured", "sparsity": 0.6, "calib": IDS, "allocation": "mixed"}
    found = prune_folder(tmp_path / "dense", out=tmp_path / "new", **asked).report
    assert found.sensitivity is not None
    curves = {curve.layer: curve for curve in found.sensitivity.curves}
    assert curves.keys() == {layer.name for layer in found.layers} | {layer.name for layer in found.skipped}
    total = sum(curve.weights for curve in curves.values())
    zeros = found.totals.weights - found.totals.pruned_weights
    assert abs(zeros - 0.6 * total) <= len(curves)  # a weight of each layer, by rounding
    shares = {layer.name: layer.sparsity for layer in found.layers}
    assert max(shares.values()) > 0.62
    errors = curve_of(found.sensitivity)
    mixed, uniform = (
        sum(each(shares.get(n, 0) if own else 0.6) for n, each in errors.items()) for own in (True, False)
    )
    assert mixed < uniform
    with pytest.raises(InputError, match="looks at all of the model at once"):
        prune_folder(tmp_path / "dense", out=tmp_path / "other", **asked | {"allocation": "global"})


def test_one_block_at_a_time_is_in_memory(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {
        "hidden_size": 512,
        "intermediate_size": 1536,
        "num_hidden_layers": 16,
        "num_attention_heads": 8,
    }
    model = written(tmp_path / "dense", **sizes)
    total = sum(each.numel() * 4 for each in model.parameters())  # 208 MB
    del model
    found = prune_folder(tmp_path / "dense", out=tmp_path / "new", pattern="2:4", calib=IDS).report.blockwise
    assert found is not None
    peaks = [each.peak_bytes for each in found.blocks]
    if None in peaks:
        pytest.skip("this system does not count a process's peak of memory")
    assert all(0 <= peak < total / 2 for peak in peaks if peak is not None)


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _cut_file(folder: Path) -> None:
    path = next(folder.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-100])


def _lost_file(folder: Path) -> None:
    next(folder.glob("*.safetensors")).unlink()


def _lost_tensor(folder: Path) -> None:
    path = max(folder.glob("*.safetensors"))
    held = load_file(path)
    save_file(dict(list(held.items())[1:]), path)


def _with(**changed: Any) -> Any:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changed))

    return change


def _pickled(folder: Path) -> None:
    for path in folder.glob("model*"):
        path.unlink()
    torch.save({}, folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (shutil.rmtree, "does not exist"),
        (_no_config, "There is no config.json"),
        (_cut_file, "is no whole safetensors file"),
        (_lost_file, "files are missing"),
        (_lost_tensor, "where it is not"),
        (_pickled, "holds pytorch_model.bin: write it anew with save_pretrained"),
        (_with(architectures=["MyOwnModel"]), "has no architecture MyOwnModel"),
        (_with(architectures=None), "none is named"),
        (_with(hidden_size=64), "the two are not of one model"),
        (_with(quantization_config={"quant_method": "gptq"}), "quantised already"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused_in_one_paragraph(tmp_path: Path, spoil: Any, said: str) -> None:
    written(tmp_path / "dense")
    spoil(tmp_path / "dense")
    with pytest.raises(InputError, match=said) as caught:
        prune_folder(tmp_path / "dense", out=tmp_path / "new", pattern="2:4", calib=IDS)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"pattern": "channel"}, "takes channels or blocks away"),
        ({"importance": "second-order", "calib": None}, "Give --calib"),
        ({"calib": "ids"}, "calibration data is a str"),
        ({"calib": IDS + 1000}, "does not run on batch 0"),
        ({"out": None}, "name that with --out"),
        ({"dense": ["*.nothing"]}, "No layer that could be pruned is called"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path, changed: Any, said: str) -> None:
    written(tmp_path / "dense")
    with pytest.raises(InputError, match=said):
        prune_folder(tmp_path / "dense", **{"out": tmp_path / "new", "pattern": "2:4", "calib": IDS} | changed)
    assert not (tmp_path / "new").exists()


def test_a_model_of_two_rows_of_blocks_is_refused(tmp_path: Path) -> None:
    sizes = {"d_model": 16, "d_ff": 32, "d_kv": 4, "num_heads": 4, "num_layers": 2, "vocab_size": 96}
    transformers.T5ForConditionalGeneration(transformers.T5Config(**sizes)).save_pretrained(tmp_path / "dense")
    with pytest.raises(InputError, match="an encoder and a decoder"):
        prune_folder(tmp_path / "dense", out=tmp_path / "new", pattern="2:4")


def test_the_line_reads_a_folder_and_shows_the_report(shell: Any, tmp_path: Path) -> None:
    written(tmp_path / "dense")
    shell.push({"ids": IDS})
    line = f"--from {tmp_path / 'dense'} --out {tmp_path / 'new'} --calib ids --importance activation --pattern 1:4"
    report = shell.run_line_magic("hwprune", line).report
    assert report.request.calib == "ids"
    assert report.request.model == "dense"
    assert {layer.sparsity for layer in report.layers} == {0.75}
    with pytest.raises(Exception, match="--from reads a model from files, and measures no time: remove --threads"):
        shell.run_line_magic("hwprune", f"--from {tmp_path} --out new --threads 2")
