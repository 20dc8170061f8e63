"""SparseZoo as input: a real folder of its layout, through the public door, with SparseZoo in its own environment."""

from __future__ import annotations

import json
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
from torch import nn

from jupyter_hwprune import Report, zoo
from jupyter_hwprune.choose.effort import Effort
from jupyter_hwprune.core.errors import HwpruneError, InputError, MismatchError, ToolchainError
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.core.quiet import quiet
from jupyter_hwprune.modelzoo.samples import Port, inputs_for
from jupyter_hwprune.modelzoo.twin import fix_shapes, load, write_twins
from jupyter_hwprune.modelzoo.weights import WeightOfFile, describe, pattern_of, weights_of
from jupyter_hwprune.pruning import plan_and_prune as make_zeros
from jupyter_hwprune.toolchains import environments
from tests import networks
from tests.reports import timed

HERE = "x86-cpu:onnxruntime"
GONE = "http://127.0.0.1:9"  # a port that nobody listens on
STUB = "zoo:cv/classification/cnn-small/pytorch/sparseml/digits/pruned90-none"


def prune(model: nn.Module, sparsity: float = 0.9) -> nn.Module:
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            kept = layer.weight.abs().flatten().topk(round(layer.weight.numel() * (1 - sparsity))).values.min()
            layer.weight.data *= layer.weight.data.abs() >= kept
    return model.eval()


def export(model: nn.Module, example: torch.Tensor, path: Path, **settings: Any) -> None:
    fixed: dict[str, Any] = {"input_names": ["input"], "output_names": ["output"], "external_data": False}
    with quiet():
        torch.onnx.export(model, (example,), str(path), dynamo=True, verbose=False, **fixed, **settings)


def write(folder: Path, model: nn.Module, example: torch.Tensor, **settings: Any) -> Path:
    """Lay out a model as SparseZoo does, with three samples that have no dimension for the batch."""
    for name in ("deployment", "training", "sample-inputs", "sample-outputs"):
        (folder / name).mkdir(parents=True)
    export(model, example, folder / "model.onnx", opset_version=18, **settings)
    shutil.copy(folder / "model.onnx", folder / "deployment" / "model.onnx")
    (folder / "model.md").write_text("# a card\n")
    (folder / "recipe.md").write_text("---\nmodifiers: []\n---\n")
    for number in range(3):
        x = torch.randn_like(example[:1]) if example.is_floating_point() else torch.randint(0, 50, example[:1].shape)
        np.savez(folder / "sample-inputs" / f"inp-{number:04d}.npz", input=x[0].numpy())
        with torch.no_grad():
            np.savez(folder / "sample-outputs" / f"out-{number:04d}.npz", output=model(x)[0].numpy())
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return write(tmp_path_factory.mktemp("zoo") / "cnn", prune(networks.cnn()), torch.randn(1, 3, 16, 16))


@pytest.fixture
def own(small: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(small, tmp_path / "cnn"))


SHORT = Effort(min_rounds=3, measure_s=0.1, profile_s=0.1, min_profile_rounds=4)


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.smoke
def test_a_folder_is_measured_against_its_dense_twin(small: Path, sparsezoo_environment: None) -> None:
    before = listing(small)
    shown = zoo(small, target=HERE)
    report = shown.report
    assert report.measurement.evidence.kind == "measured"
    assert timed(report).comparison.speedup == pytest.approx(1, abs=0.3)  # no kernel of this runtime skips zeros
    assert (report.request.model, report.request.pattern, report.request.batch) == ("cnn", "unstructured", 1)
    assert report.request.sparsity == pytest.approx(0.9, abs=0.001)
    layers = {layer.name: layer for layer in report.layers}
    assert set(layers) == {"0.0", "1.0", "4"}
    assert layers["1.0"].macs == 8 * 8 * 48 * 32 * 9
    assert layers["4"].shape == (10, 192)
    for layer in report.layers:
        assert layer.kernel
        assert layer.used is False
        assert layer.picture is not None
        assert layer.sparsity == pytest.approx(0.9, abs=0.01)
    assert report.check is not None
    assert report.check.reference == "the folder's sample outputs"
    assert 0 < report.check.pruned_error < 1e-5
    assert report.versions["sparsezoo"] == "1.8.1"
    said = " ".join(report.reasons)
    assert "deployment/model.onnx" in said
    assert "SparseZoo's analysis counts the same zeros in 3 layers." in said
    assert f"--recipe {small / 'recipe.md'}" in said
    assert "those of the folder's sample outputs within" in str(shown)
    assert Report.from_json(report.to_json()) == report
    assert listing(small) == before  # SparseZoo itself would leave files there


def test_deepsparse_runs_sparse_kernels_for_a_folder(
    small: Path, deepsparse_environment: None, sparsezoo_environment: None
) -> None:
    report = zoo(small, target="x86-cpu:deepsparse").report
    assert report.request.toolchain == "deepsparse"
    assert report.measurement.evidence.kind == "measured"
    assert any(layer.used for layer in report.layers)
    assert report.check is not None
    assert report.check.pruned_error < 1e-4
    assert {each.toolchain for each in report.baselines if each.dense_ms} == {"onnxruntime", "openvino"}


def test_archives_and_an_open_batch(tmp_path: Path, sparsezoo_environment: None) -> None:
    batch = torch.export.Dim("batch")
    whole = write(
        tmp_path / "whole",
        prune(networks.Transformer()),
        networks.ids(),
        dynamic_shapes=({0: batch},),
    )
    packed = tmp_path / "packed"
    packed.mkdir()
    for name in ("deployment", "sample-inputs", "sample-outputs"):
        with tarfile.open(packed / f"{name}.tar.gz", "w:gz") as archive:
            archive.add(whole / name, name)
    report = zoo(packed, target=HERE, batch=5, effort=SHORT).report
    assert sorted(path.name for path in packed.iterdir()) == [
        "deployment.tar.gz",
        "sample-inputs.tar.gz",
        "sample-outputs.tar.gz",
    ]
    assert report.request.batch == 5
    assert len(report.layers) == 7
    assert report.check is not None
    assert report.check.reference == "the folder's sample outputs"
    assert "the folder's own samples, 3 of them" in " ".join(report.reasons)


def test_without_samples_inputs_are_random_and_onnx_runtime_is_the_reference(
    own: Path, sparsezoo_environment: None
) -> None:
    shutil.rmtree(own / "sample-inputs")
    shutil.rmtree(own / "sample-outputs")
    report = zoo(own, target=HERE, effort=SHORT).report
    said = " ".join(report.reasons)
    assert "The inputs are random" in said
    assert "no sample outputs" in said
    assert report.check is not None
    assert report.check.reference == "onnxruntime"


def test_sample_outputs_of_another_model_are_no_reference(own: Path, sparsezoo_environment: None) -> None:
    for path in (own / "sample-outputs").iterdir():
        np.savez(path, output=np.ones(10, np.float32))
    report = zoo(own, target=HERE, effort=SHORT).report
    assert "they belong to another file" in " ".join(report.reasons)
    assert report.check is not None
    assert report.check.reference == "onnxruntime"


class Samples(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, folder: Path) -> None:
        self.samples = iter([{"input": np.load(path)["input"][None]} for path in sorted(folder.iterdir())])

    def get_next(self) -> Any:
        return next(self.samples, None)


@pytest.mark.parametrize("form", ["qdq", "dynamic"])
def test_quantised_weights_are_zero_at_their_zero_points(
    own: Path, tmp_path: Path, form: str, sparsezoo_environment: None
) -> None:
    folder = own if form == "qdq" else write(tmp_path / "words", prune(networks.Transformer()), networks.ids()[:1])
    shutil.rmtree(folder / "deployment")
    source = str(folder / "model.onnx")
    if form == "qdq":
        quantize_static(source, source, Samples(folder / "sample-inputs"), weight_type=QuantType.QInt8)
    else:
        quantize_dynamic(source, source, weight_type=QuantType.QInt8)
    report = zoo(folder, target=HERE, effort=SHORT).report
    assert report.request.dtype == "int8"
    assert report.measurement.evidence.kind == "measured"
    assert report.check is not None
    assert report.check.tolerance > 0.1
    assert all(layer.sparsity > 0.89 and layer.kernel for layer in report.layers)
    assert "are quantised: their zeros are their zero points" in " ".join(report.reasons)


def test_a_toolchain_that_only_compiles_compiles_a_folder_too(small: Path, sparsezoo_environment: None) -> None:
    report = zoo(small, target="x86-cpu", toolchain="tests.fakes.compiling").report
    assert report.measurement.evidence.kind == "compiled"
    assert report.footprint is not None


def test_a_file_of_too_new_an_onnx_is_not_measured(
    own: Path, deepsparse_environment: None, sparsezoo_environment: None
) -> None:
    model = onnx.load(own / "deployment" / "model.onnx")
    model.opset_import[0].version = 20
    onnx.save(model, own / "deployment" / "model.onnx")
    report = zoo(own, target="x86-cpu:deepsparse").report
    assert report.verdict == "not measured"
    assert "version 20" in (report.measurement.evidence.reason or "")


@pytest.mark.parametrize("writer", ["model_analysis", "command_line"])
def test_an_analysis_shows_its_counts_as_not_measured(
    small: Path, tmp_path: Path, writer: str, sparsezoo_environment: None
) -> None:
    path = tmp_path / "analysis.yaml"
    script = {
        "model_analysis": "from sparsezoo.analyze_v1 import ModelAnalysis as M; M.from_onnx(model).yaml(path)",
        "command_line": "from sparsezoo import analyze; open(path, 'w').write(analyze(model).to_yaml())",
    }[writer]
    model = shutil.copy(small / "model.onnx", tmp_path)
    python(f"model, path = {str(model)!r}, {str(path)!r}; {script}")
    shown = zoo(path, target=HERE)
    report = shown.report
    assert report.verdict == "not measured"
    assert "counts and no weights" in str(shown)
    assert {layer.kind for layer in report.layers} == {"Conv", "Gemm"}
    assert report.request.sparsity == pytest.approx(0.9, abs=0.001)
    assert (report.totals.macs is None) == (writer == "command_line")


def python(script: str) -> None:
    import subprocess

    interpreter = environments.interpreter_of("sparsezoo")
    subprocess.run(
        [interpreter, "-I", "-c", f"import os; os.environ['NM_DISABLE_ANALYTICS'] = '1'; {script}"], check=True
    )


Damage = Callable[[Path], Path | str]


def cut_short(folder: Path) -> Path:
    path = folder / "deployment" / "model.onnx"
    path.write_bytes(path.read_bytes()[:9000])
    return folder


def emptied_model(folder: Path) -> Path:
    (folder / "deployment" / "model.onnx").write_bytes(b"")
    return folder


def without_model(folder: Path) -> Path:
    shutil.rmtree(folder / "deployment")
    (folder / "model.onnx").unlink()
    return folder


def empty(folder: Path) -> Path:
    shutil.rmtree(folder)
    folder.mkdir()
    return folder


def broken_archive(folder: Path) -> Path:
    shutil.rmtree(folder / "sample-inputs")
    (folder / "sample-inputs.tar.gz").write_bytes(b"no archive")
    return folder


def broken_sample(folder: Path) -> Path:
    (folder / "sample-inputs" / "inp-0000.npz").write_bytes(b"PK no sample")
    return folder


def samples_of_another_shape(folder: Path) -> Path:
    for path in (folder / "sample-inputs").iterdir():
        np.savez(path, input=np.zeros((1, 28, 28), np.float32))
    return folder


def text(name: str, words: str) -> Damage:
    def write_text(folder: Path) -> Path:
        path = folder.parent / name
        path.write_text(words)
        return path

    return write_text


BAD: dict[str, tuple[Damage, str]] = {
    "nothing there": (lambda folder: folder / "nowhere", "There is nothing at"),
    "an empty folder": (empty, "is empty"),
    "no model": (without_model, "holds no model.onnx"),
    "a file cut short": (cut_short, "damaged or incomplete"),
    "an empty file": (emptied_model, "damaged or incomplete"),
    "a broken archive": (broken_archive, "cannot be read as SparseZoo's model folder"),
    "a broken sample": (broken_sample, "sample-inputs/inp-0000.npz"),
    "other samples": (samples_of_another_shape, "do not fit its model: the input input is 1x3x16x16"),
    "an ONNX file alone": (lambda folder: folder / "model.onnx", "for an ONNX file, give its folder"),
    "no analysis": (text("other.yaml", "a: 1\n"), "holds no list of nodes"),
    "no YAML": (text("other.yaml", "a: [1\n"), "cannot be read as SparseZoo's analysis file"),
    "nodes of something else": (text("other.yaml", "nodes: [{name: 1}]\n"), "analysis file: KeyError"),
    "no stub": (lambda _: "zoo:what", "not a stub in a form that SparseZoo knows"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_paragraph(
    own: Path, case: str, monkeypatch: pytest.MonkeyPatch, sparsezoo_environment: None
) -> None:
    monkeypatch.setenv("SPARSEZOO_API_URL", GONE)
    damage, said = BAD[case]
    with pytest.raises(HwpruneError) as caught:
        zoo(damage(own), target=HERE)
    paragraph = str(caught.value)
    assert said in paragraph
    assert "\n" not in paragraph
    assert "Traceback" not in paragraph


def test_a_model_without_zeros_and_a_batch_that_the_file_fixes_are_refused(
    tmp_path: Path, small: Path, sparsezoo_environment: None
) -> None:
    dense = write(tmp_path / "dense", networks.cnn().eval(), torch.randn(1, 3, 16, 16))
    with pytest.raises(InputError, match="so there is no pruning to measure"):
        zoo(dense, target=HERE)
    with pytest.raises(InputError, match="fixes its batch at 1"):
        zoo(small, target=HERE, batch=3)
    with pytest.raises(InputError, match="converts models to"):
        zoo(small, target="ampere")


def test_without_the_environment_the_cure_is_named(small: Path) -> None:
    with pytest.raises(InputError, match="%hwprune setup sparsezoo"):
        zoo(small, target=HERE)


def test_a_toolchain_that_computes_something_else_is_caught(
    small: Path, sparsezoo_environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HWPRUNE_FAULT", "check:wrong")
    with pytest.raises(MismatchError, match="and the folder's sample outputs disagree"):
        zoo(small, target="x86-cpu", toolchain="tests.fakes.faulty")


def test_a_stub_whose_server_does_not_answer_says_what_was_tried(
    monkeypatch: pytest.MonkeyPatch, sparsezoo_environment: None
) -> None:
    monkeypatch.setenv("SPARSEZOO_API_URL", GONE)
    with pytest.raises(ToolchainError) as caught:
        zoo(STUB, target=HERE)
    paragraph = str(caught.value)
    assert STUB in paragraph
    assert "ConnectionError" in paragraph
    assert "--zoo FOLDER" in paragraph


@pytest.fixture
def server(own: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """Answer as SparseZoo's server did: a query for the model's files, and the files."""
    files = {"model.onnx": "onnx", "model.md": "card", "recipe_original.md": "recipe"}
    (own / "recipe.md").rename(own / "recipe_original.md")
    for name, kind in (("deployment", "deployment"), ("sample-inputs", "inputs"), ("sample-outputs", "outputs")):
        with tarfile.open(own / f"{name}.tar.gz", "w:gz") as archive:
            archive.add(own / name, name)
        files[f"{name}.tar.gz"] = kind

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(own))

        def log_message(self, *_: Any) -> None:
            pass

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            address = "http://" + self.headers["Host"]
            listed = [
                {
                    "displayName": name,
                    "fileType": kind,
                    "downloadUrl": f"{address}/{name}",
                    "fileSize": 1,
                    "modelId": "m",
                }
                for name, kind in files.items()
            ]
            model = {"modelId": "m", "files": listed, "benchmarkResults": [], "trainingResults": []}
            body = json.dumps({"data": {"models": [model | {"repoName": "cnn", "repoNamespace": "small"}]}}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    there = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=there.serve_forever, daemon=True).start()
    monkeypatch.setenv("SPARSEZOO_API_URL", f"http://127.0.0.1:{there.server_address[1]}")
    monkeypatch.setenv("SPARSEZOO_MODELS_PATH", str(tmp_path / "models"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield STUB
    there.shutdown()
    there.server_close()


def test_a_stub_is_fetched_and_measured_where_the_server_answers(server: str, sparsezoo_environment: None) -> None:
    report = zoo(server, target=HERE, effort=SHORT).report
    assert report.measurement.evidence.kind == "measured"
    assert report.request.model == STUB
    assert report.check is not None
    assert report.check.reference == "the folder's sample outputs"
    assert "recipe_original.md" in " ".join(report.reasons)


def weights_in(path: Path, model: nn.Module, example: torch.Tensor) -> tuple[Any, list[WeightOfFile]]:
    export(model, example, path)
    proto = load(path)
    (port,) = proto.graph.input
    return proto, weights_of(proto, fix_shapes(proto, {port.name: example.numpy()}))


def test_every_kind_of_weight_is_read_along_its_input_channels(tmp_path: Path) -> None:
    model = prune(networks.UNet(), 0.8)
    model.get_parameter("up.weight").data[0] = 0  # one input channel each
    model.get_parameter("deep.0.weight").data[:, 0] = 0
    _, weights = weights_in(tmp_path / "unet.onnx", model, networks.images())
    by_op = {weight.layer: weight for weight in weights}
    up, deep = by_op["up"].matrix, by_op["deep.0"].matrix
    assert up is not None
    assert deep is not None
    assert up.shape == (16, 4, 32)
    assert deep.shape == (32, 9, 16)
    assert not up[:, :, 0].any()
    assert not deep[:, :, 0].any()


@pytest.mark.parametrize(("pattern", "sparsity"), [("2:4", 0.5), ("16x16", 0.75), ("unstructured", 0.8)])
def test_the_pattern_is_recognised_from_the_weights(tmp_path: Path, pattern: str, sparsity: float) -> None:
    from jupyter_hwprune.core.pattern import parse_pattern

    model, x = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64)).eval(), torch.randn(2, 64)
    pruned = make_zeros(model, Example.of(x), parse_pattern(pattern), sparsity).model
    _, weights = weights_in(tmp_path / "mlp.onnx", pruned, x)
    assert [layer.pattern for layer in describe(weights)[0]] == [pattern] * 2
    assert str(pattern_of(torch.rand(64, 1, 64) > 0.97)) == "unstructured"


def test_the_twin_has_no_zeros_and_is_small_where_they_were(tmp_path: Path) -> None:
    proto, weights = weights_in(tmp_path / "cnn.onnx", prune(networks.cnn()), torch.randn(1, 3, 16, 16))
    (port,) = proto.graph.input
    cases = write_twins(proto, weights, {port.name: np.zeros((1, 3, 16, 16), np.float32)}, tmp_path)
    found = {
        name: {each.name: onnx.numpy_helper.to_array(each) for each in onnx.load(case.model).graph.initializer}
        for name, case in cases.items()
    }
    for weight in weights:
        pruned, dense = found["pruned"][weight.initializer], found["dense"][weight.initializer]
        kept = pruned != 0
        assert (dense != 0).all()
        assert (dense[kept] == pruned[kept]).all()
        assert 0 < np.abs(dense[~kept]).max() < 0.05 * np.abs(pruned[kept]).mean()


def test_random_inputs_fill_open_sides_and_say_so() -> None:
    ports = [Port("ids", np.dtype("int64"), (None, None)), Port("image", np.dtype("uint8"), (None, 3, 8))]
    inputs = inputs_for(ports, [], 4)
    assert {name: array.shape for name, array in inputs.arrays.items()} == {"ids": (4, 1), "image": (4, 3, 8)}
    assert inputs.arrays["ids"].max() <= 1
    assert inputs.arrays["image"].max() > 1
    assert any("ids is ?x?" in remark for remark in inputs.remarks)


def test_the_magic_measures_a_folder_and_refuses_what_has_no_say(
    shell: Any, small: Path, sparsezoo_environment: None, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.run_cell(f"found = %hwprune --zoo {small} --target {HERE}")
    assert shell.user_ns["found"].report.request.model == "cnn"
    capsys.readouterr()
    shell.run_cell(f"%hwprune net --zoo {small} --pattern 2:4 --sparsity 0.5")
    printed = "".join(capsys.readouterr())
    assert "remove a model, --sparsity, --pattern" in printed
    assert "Traceback" not in printed
