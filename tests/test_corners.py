"""Dense and pruned, in float and in int8, on the CPU runtimes: what is made, compared, scored and said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from jupyter_hwprune import Report, Run, hwprune
from jupyter_hwprune.choose.effort import Effort
from jupyter_hwprune.core.errors import InputError
from jupyter_hwprune.measure.candidates import Findings
from jupyter_hwprune.report import MIME_TYPE, NOT_COMPARED, Comparison, Corner, Corners, Evidence, to_data
from jupyter_hwprune.report.words import headline, words_of
from jupyter_hwprune.report.words.line import line as words_line
from jupyter_hwprune.reporting.reasons import int8_and_pruning
from tests.networks import cnn
from tests.reports import layer, report, timed

SHORT = Effort(min_rounds=5, max_rounds=5, measure_s=0.1, profile_s=0.1)
TOOLCHAINS = ("onnxruntime", "openvino")


def quantised(model: nn.Module, example: Any, toolchain: str = "onnxruntime", **options: Any) -> Run:
    return hwprune(model, example, target=f"cpu:{toolchain}", dtype="int8", effort=SHORT, **options)


def corners_of(run: Run) -> Corners:
    assert run.report.corners is not None
    assert run.report.corners.rows, run.report.corners.evidence
    return run.report.corners


def bert() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256}
    model: nn.Module = transformers.BertForSequenceClassification(transformers.BertConfig(vocab_size=50, **sizes))
    return model


BERT_INPUT = {"input_ids": torch.arange(16).reshape(2, 8), "attention_mask": torch.ones(2, 8, dtype=torch.int64)}
NETWORKS: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "cnn": (cnn, torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))),
    "bert": (bert, BERT_INPUT),
}


@pytest.fixture(scope="module", params=[(name, tool) for name in NETWORKS for tool in TOOLCHAINS], ids="-".join)
def run(request: pytest.FixtureRequest) -> Run:
    name, toolchain = request.param
    torch.manual_seed(0)
    build, example = NETWORKS[name]
    return quantised(build().eval(), example, toolchain, pattern="channel/8")


def test_four_models_are_compiled_checked_and_timed_in_turn(run: Run) -> None:
    corners = corners_of(run)
    assert [(row.pruned, row.dtype) for row in corners.rows] == [
        (False, "float32"),
        (True, "float32"),
        (False, "int8"),
        (True, "int8"),
    ]
    dense, *others = corners.rows
    assert dense.speed == NOT_COMPARED
    rounds = len(timed(run.report).dense.cpu_ms)
    for row in others:
        assert row.speed.speedup is not None
        assert row.ms > 0
    for row in corners.rows[2:]:
        assert row.samples is not None
        assert len(row.samples.cpu_ms) == rounds
    for row in corners.rows[:2]:
        assert row.error is not None
        assert row.error < 1e-4
    assert run.report.deciding == min(others, key=lambda row: row.ms).speed


def test_the_int8_models_are_smaller_and_run_int8_kernels(run: Run) -> None:
    dense, pruned, dense_int8, both = corners_of(run).rows
    sizes = [row.file_bytes or 0 for row in (dense, pruned, dense_int8, both)]
    assert 0 < sizes[2] < sizes[0]
    assert 0 < sizes[3] < sizes[1]
    for row in (dense, pruned):
        assert row.int8_layers == 0
    for row in (dense_int8, both):
        assert (row.int8_layers or 0) > 0
        assert row.error is not None
        assert 1e-6 < row.error < 1  # rounded to 256 steps, and not something else


def test_the_files_hold_8_bit_weights(run: Run) -> None:
    if run.report.request.toolchain == "onnxruntime":
        import onnx

        graph = onnx.load(str(run.artifacts["int8_onnx"])).graph
        assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in graph.node}
        found = [each for each in graph.initializer if each.data_type == onnx.TensorProto.INT8 and len(each.dims) > 1]
    else:
        import openvino

        model = openvino.Core().read_model(run.artifacts["int8_xml"])
        constants = [node for node in model.get_ops() if node.get_type_name() == "Constant"]
        found = [each for each in constants if each.get_element_type().get_type_name() == "i8" and len(each.shape) > 1]
    products = [each for each in run.report.layers if each.kind != "Embedding"]
    assert len(found) >= len(products)


def test_every_form_shows_the_four_models_and_what_each_step_bought(run: Run) -> None:
    bundle: Any = run._repr_mimebundle_()
    assert Report.from_json(run.report.to_json()) == run.report
    table = bundle[MIME_TYPE]["words"]["corners"]
    assert [row[0] for row in table["rows"]] == ["dense float32", "pruned float32", "dense int8", "pruned int8"]
    said = {fact["name"]: fact["said"] for fact in bundle[MIME_TYPE]["words"]["facts"]}
    assert {"int8 alone", "pruned alone", "both", "on int8", "on pruned", "int8 by"} <= said.keys()
    assert all(" in float" in said[name] for name in ("copies", "footprint", "outputs"))
    for form in (bundle["text/plain"], bundle["text/html"].replace("&nbsp;", " ")):
        for row in table["rows"]:
            assert row[0] in form
        assert "The fastest of the four is" in " ".join(form.split())
    assert words_of(run.report).title.endswith(", int8")


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
def test_zeros_stay_zeros_in_int8(toolchain: str) -> None:
    model = nn.Sequential(nn.Linear(24, 48), nn.ReLU(), nn.Linear(48, 40), nn.ReLU(), nn.Linear(40, 8)).eval()
    run = quantised(model, torch.randn(4, 24), toolchain, pattern="2:4")
    kept = [module.weight.detach().numpy() for module in run.model.modules() if isinstance(module, nn.Linear)]
    stored = _int8_matrices(run)
    for weight in kept:
        assert (weight == 0).mean() == 0.5
        own = next(each for each in stored if each.shape in (weight.shape, weight.T.shape))
        own = own if own.shape == weight.shape else own.T
        assert not own[weight == 0].any()


class Outlier(nn.Module):
    """A network with one hidden value a thousand times the others, which steps of one range cannot tell apart."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.inner, self.outer, self.head = (
            nn.Linear(*s) for s in ((16, 32), (32, 32), (32, 32), (32, 8))
        )
        with torch.no_grad():
            self.inner.bias[0] = 3000.0
            self.outer.weight[:, 0] = 0.0

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(torch.relu(self.outer(torch.nn.functional.gelu(self.inner(torch.relu(self.before(x)))))))
        return y


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
def test_a_limit_leaves_the_layer_in_float_that_int8_hurts(toolchain: str) -> None:
    torch.manual_seed(0)
    net, x = Outlier().eval(), torch.randn(64, 16)
    given: dict[str, Any] = {"pattern": "2:4", "calib": list(torch.split(x, 4))}
    plain, limited = (quantised(net, x[:4], toolchain, int8_error=each, **given) for each in (None, 0.1))
    for before, after in zip(corners_of(plain).rows[2:], corners_of(limited).rows[2:], strict=True):
        assert before.error is not None
        assert after.error is not None
        assert before.error > 0.1
        assert after.error < before.error / 2
    assert not corners_of(plain).left_in_float
    left = {each.layer: each.reason for each in corners_of(limited).left_in_float}
    assert "outer" in left
    assert "head" not in left
    assert "above --int8-error 0.1" in left["outer"]
    assert "on 4 batches that were held back" in str(corners_of(limited).quantiser)
    assert [corners_of(each).calibration_rows for each in (plain, limited)] == [64, 48]
    assert "--int8-error 0.1" in words_line(limited.report)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"int8_error": 0}, "--int8-error is 0; it is a share"),
        ({"int8_error": 0.1, "dtype": None}, "nothing is quantised here. Add --dtype int8"),
        ({"int8_error": 0.1, "target": "cpu:executorch"}, "cannot choose which layers stay in float. Take --toolchain"),
    ],
)
def test_a_limit_that_cannot_be_kept_is_refused(options: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"target": "cpu:onnxruntime", "dtype": "int8"}
    with pytest.raises(InputError, match=said):
        hwprune(nn.Linear(8, 8), torch.randn(2, 8), **given | options)


def _int8_matrices(run: Run) -> list[np.ndarray]:
    if "int8_onnx" in run.artifacts:
        import onnx

        graph = onnx.load(str(run.artifacts["int8_onnx"])).graph
        return [onnx.numpy_helper.to_array(e) for e in graph.initializer if e.data_type == onnx.TensorProto.INT8]
    import openvino

    nodes = openvino.Core().read_model(run.artifacts["int8_xml"]).get_ops()
    constants = [node for node in nodes if node.get_type_name() == "Constant"]
    return [each.data for each in constants if each.get_element_type().get_type_name() == "i8"]


class Sequence(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.memory, self.head = nn.Linear(8, 16), nn.LSTM(16, 16, batch_first=True), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.memory(torch.relu(self.first(x)))[0])
        return y


def test_a_layer_that_the_library_cannot_quantise_is_listed_with_the_reason() -> None:
    run = quantised(Sequence().eval(), torch.randn(2, 5, 8), pattern="unstructured", sparsity=0.5)
    left = {each.layer: each.reason for each in corners_of(run).left_in_float}
    assert list(left) == ["memory.weight_ih_l0", "memory.weight_hh_l0"]
    assert all("no quantiser for LSTM" in each for each in left.values())
    assert "memory.weight_hh_l0: onnxruntime.quantization has no quantiser for LSTM" in " ".join(str(run).split())


def mean_of(x: Tensor) -> Callable[[nn.Module], float]:
    return lambda model: float(model(x).mean())


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
def test_the_score_of_int8_is_that_of_the_compiled_model(toolchain: str) -> None:
    """Calibrated on inputs a hundredth as large, int8 clips what the score feeds it, and float does not."""
    model = nn.Sequential(nn.Linear(16, 32, bias=False), nn.ReLU(), nn.Linear(32, 4, bias=False)).eval()
    x = torch.rand(5, 16) + 0.5
    run = quantised(model, x[:2], toolchain, calib=x / 100, score=lambda own: float(own(x).abs().max()))
    dense, pruned, dense_int8, both = corners_of(run).rows
    assert run.report.scores is not None
    assert (dense.score, pruned.score) == (run.report.scores.dense, run.report.scores.pruned)
    for in_float, in_int8 in ((dense, dense_int8), (pruned, both)):
        assert in_float.score is not None
        assert in_int8.score is not None
        assert in_int8.score < in_float.score / 4
    assert any("int8 lowered the pruned model's score" in reason for reason in run.report.reasons)


def test_a_score_on_more_rows_than_were_compiled_sees_each_row_once() -> None:
    import onnxruntime

    model, x = cnn().eval(), torch.randn(7, 3, 16, 16)
    run = quantised(model, x[:2], calib=x, score=mean_of(x))
    session = onnxruntime.InferenceSession(str(run.artifacts["int8_onnx"]), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    batches = [x[[at, min(at + 1, 6)]].numpy() for at in range(0, 7, 2)]
    outputs = np.concatenate([session.run(None, {name: each})[0] for each in batches])[:7]
    assert corners_of(run).rows[3].score == pytest.approx(float(outputs.mean()), abs=1e-6)
    assert corners_of(run).calibration_rows == 7


def test_a_score_may_read_outputs_by_name_and_give_keywords() -> None:
    ids, mask = BERT_INPUT["input_ids"], BERT_INPUT["attention_mask"]

    def spread(model: Any) -> float:
        assert model.config.vocab_size == 50
        return float(model(input_ids=ids.repeat(3, 1), attention_mask=mask.repeat(3, 1)).logits.std())

    run = quantised(bert().eval(), BERT_INPUT, score=spread)
    scores = [row.score for row in corners_of(run).rows]
    assert None not in scores
    assert scores[3] != scores[1]
    assert corners_of(run).unscored is None


@pytest.mark.parametrize(
    ("score", "said"),
    [
        (lambda model: float(model[0](torch.ones(2, 3, 16, 16)).mean()), "calls 0, a part of the model"),
        (lambda model: float(model(torch.ones(2, 3, 32, 32)).mean()), "has other rows than the example's"),
        (lambda model: float(sum(p.numel() for p in model.parameters())), "never calls the model"),
    ],
    ids=["a part", "another size", "no call"],
)
def test_a_score_that_a_compiled_model_cannot_give_is_missing_with_the_reason(score: Any, said: str) -> None:
    run = quantised(cnn().eval(), torch.randn(2, 3, 16, 16), score=score)
    corners = corners_of(run)
    assert [row.score is None for row in corners.rows] == [False, False, True, True]
    assert corners.unscored is not None
    assert said in corners.unscored
    assert "int8 score" in {fact.name for fact in words_of(run.report).facts}


def test_at_most_128_calibration_rows_are_used_and_their_number_is_said() -> None:
    run = quantised(cnn().eval(), torch.randn(2, 3, 16, 16), calib=[torch.randn(50, 3, 16, 16) for _ in range(4)])
    assert corners_of(run).calibration_rows == 128
    assert "ranges from 128 calibration rows" in " ".join(str(run).split())


def test_the_magic_takes_int8_and_repeats_it_in_its_line(shell: Any) -> None:
    shell.user_ns |= {"net": cnn(), "x": torch.randn(2, 3, 16, 16)}
    shell.user_ns["score"] = lambda model: float(model(torch.ones(3, 3, 16, 16)).sum())
    run = shell.run_line_magic("hwprune", "net --input x --target cpu:onnxruntime --dtype int8 --calib x --eval score")
    assert run.report.request.dtype == "int8"
    assert run.report.request.calib == "x"
    assert None not in [row.score for row in corners_of(run).rows]
    from jupyter_hwprune.report.words import line

    assert "--dtype int8" in line(run.report)
    assert to_data(run.report)["corners"]["rows"][3]["dtype"] == "int8"


def test_without_a_toolchain_the_first_that_quantises_is_taken() -> None:
    run = hwprune(cnn(), torch.randn(2, 3, 16, 16), target="x86-cpu", dtype="int8", effort=SHORT)
    assert run.report.request.toolchain == "onnxruntime"
    assert corners_of(run).rows


def test_a_toolchain_that_does_not_quantise_says_so_and_which_do() -> None:
    with pytest.raises(
        InputError, match=r"deepsparse keeps the model's own dtype; remove --dtype int8\. For int8"
    ) as it:
        hwprune(cnn(), torch.randn(2, 3, 16, 16), target="x86-cpu:deepsparse", dtype="int8")
    assert "For int8 take --toolchain onnxruntime, --toolchain openvino" in str(it.value)
    assert "\n" not in str(it.value)


@pytest.mark.parametrize(
    ("fault", "said"), [("", "No module named 'a_quantiser'"), ("quantise:kill", "was killed by SIGKILL")]
)
def test_where_nothing_could_be_quantised_float_is_measured_and_the_reason_is_said(
    fault: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HWPRUNE_FAULT", fault or ":")
    model, x = cnn(), torch.randn(2, 3, 16, 16)
    run = hwprune(
        model, x, target="cpu", toolchain="tests.fakes.faulty", dtype="int8", pattern="channel/8", effort=SHORT
    )
    corners = run.report.corners
    assert corners is not None
    assert corners.rows == ()
    assert said in (corners.evidence.reason or "")
    assert "pip install a-quantiser" in (corners.evidence.cure or "")
    assert run.report.deciding == timed(run.report).comparison
    assert "pip install a-quantiser" in str(run)


SLOWER = Comparison(0.8, 0.75, 0.85, 0.03, "slower")
FASTER = Comparison(2.0, 1.9, 2.1, 0.03, "faster")
NOISE = Comparison(1.0, 0.99, 1.01, 0.03, "no measurable gain")


def with_corners(*speeds: Comparison, fast_int8: tuple[str, ...] | None = ()) -> Report:
    """Return a report of four models, the dense one in float taking 2 ms."""
    kinds = ((False, "float32"), (True, "float32"), (False, "int8"), (True, "int8"))
    rows = tuple(
        Corner(pruned, dtype, 2 / (speed.speedup or 1), speed, 1000)
        for (pruned, dtype), speed in zip(kinds, (NOT_COMPARED, *speeds), strict=True)
    )
    corners = Corners(Evidence("measured", device="a CPU"), rows, NOISE, NOISE, "a library", 8, (), fast_int8)
    own = report((layer("a", 8, 8),))
    return replace(own, corners=corners, request=replace(own.request, dtype="int8", takes_dtype=True))


def test_one_verdict_names_the_fastest_model() -> None:
    assert headline(with_corners(NOISE, NOISE, FASTER)) == (
        "FASTER 2.00x: pruned int8 against dense float32, score not taken"
    )
    said = headline(with_corners(FASTER, SLOWER, NOISE))
    assert said == "FASTER 2.00x: pruned float32 against dense float32, score not taken"
    slow = replace(SLOWER, speedup=0.9)
    assert headline(with_corners(slow, SLOWER, SLOWER)).startswith(
        "SLOWER 0.90x: pruned float32 against dense float32, which is the fastest of the four"
    )
    assert with_corners(slow, SLOWER, SLOWER).verdict == "slower"


@pytest.mark.parametrize(
    ("fast_int8", "said"),
    [
        ((), "has no VNNI or AMX"),
        (None, "is not known"),
        (("AVX-512 VNNI",), "this CPU has instructions for it (AVX-512 VNNI)"),
    ],
)
def test_where_int8_buys_nothing_it_says_so_and_what_the_chip_has(fast_int8: Any, said: str) -> None:
    own = with_corners(FASTER, NOISE, FASTER, fast_int8=fast_int8)
    reasons = [*int8_and_pruning(Findings(own.measurement, own.layers, corners=own.corners))]
    assert reasons[0].startswith("The fastest of the four is pruned float32. int8 alone buys nothing measurable")
    assert said in reasons[1]
    assert reasons[1].startswith("int8 alone saves no time here")


def test_where_int8_is_faster_nothing_is_said_of_the_chip() -> None:
    own = with_corners(NOISE, FASTER, FASTER)
    (only,) = int8_and_pruning(Findings(own.measurement, own.layers, corners=own.corners))
    assert "int8 alone buys 2.00x" in only
