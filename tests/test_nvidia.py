"""NVIDIA's chips without one: the shipped code on a stand-in for the GPU, and what is known on any machine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from jupyter_hwprune import Report, Run, doctor, hwprune, layer_ranges, merge
from jupyter_hwprune.choose.effort import Effort
from jupyter_hwprune.core.errors import InputError, MismatchError, ReportError
from jupyter_hwprune.measure import job
from jupyter_hwprune.pruning.compressed import compress
from jupyter_hwprune.pruning.masks import keep_n_of_m
from jupyter_hwprune.toolchains._linear24 import Algorithms, dense_plans, make, reference
from jupyter_hwprune.toolchains._nsight import counters_of_layers
from jupyter_hwprune.toolchains._nvidia import counters_remark, is_sparse, kernels_of
from tests.fakes import cusparselt_on_cpu
from tests.reports import timed

FAKES = Path(__file__).parent / "fakes"
STAND_IN = "tests.fakes.cusparselt_on_cpu"


class Net(nn.Module):
    """A layer that gains, one with too few inputs to gain (by the stand-in's clock), and two that cannot be served."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(256, 512), nn.Linear(512, 256, bias=False)
        self.narrow, self.conv, self.odd = nn.Linear(64, 256), nn.Conv1d(256, 64, 3, padding=1), nn.Linear(256, 10)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = x + self.down(functional.relu(self.up(x)))
        y = self.conv(x.transpose(1, 2)).transpose(1, 2)
        return {"logits": self.odd(self.narrow(y) + x)}


SHORT = Effort(measure_s=0.3, profile_s=0.1)  # the stand-in's times are of no interest


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "CACHE", tmp_path / "cache")


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(4, 17, 256)  # 68 rows, which no kernel takes as they are


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "CACHE", tmp_path_factory.mktemp("cache"))
        patch.setenv("PATH", f"{FAKES}:{os.environ['PATH']}")
        patch.setenv("HWPRUNE_NCU", "up=4096,0;down=4096,0;odd=0,512;up=4096,0")
        return hwprune(Net(), torch.randn(4, 17, 256), target="hopper", toolchain=STAND_IN, effort=SHORT)


def sparse_here(model: nn.Module, **options: Any) -> Run:
    return hwprune(model, torch.randn(4, 17, 256), target="hopper", toolchain=STAND_IN, effort=SHORT, **options)


def test_layers_that_gain_are_sparse_and_the_others_are_dense_again(run: Run) -> None:
    report = run.report
    assert report.verdict == "faster"
    assert all(layer.alone and layer.alone.verdict == "faster" and layer.rows == 68 for layer in report.layers)
    assert {layer.name: layer.used for layer in report.layers} == {"up": True, "down": True}
    assert all("xmma_sparse_gemm" in (layer.pruned_kernel or "") for layer in report.layers)
    assert all("nvjet" in (layer.kernel or "") for layer in report.layers)
    (back,) = report.returned
    assert back.name == "narrow"
    assert back.rows == 68
    assert back.speed.verdict == "slower"
    assert back.reason == "its sparse kernel takes 1.40x the time of the dense one"
    torch.manual_seed(0)
    dense = Net()
    assert torch.equal(run.model.get_parameter("narrow.weight"), dense.narrow.weight)
    groups = run.model.get_parameter("up.weight").reshape(-1, 4)
    assert int((groups != 0).sum(dim=1).max()) == 2
    assert report.totals.weights - report.totals.pruned_weights == dense.up.weight.numel()  # half of two alike


def test_each_layer_says_which_toolchains_serve_it(run: Run) -> None:
    assert {layer.name: layer.served_by for layer in run.report.layers} == {
        "up": ("cusparselt", "tensorrt", STAND_IN),
        "down": ("cusparselt", "tensorrt", STAND_IN),
    }
    reasons = {layer.name: layer.reason for layer in run.report.skipped}
    assert reasons["conv"] == "cuSPARSELt multiplies matrices and has no Conv1d; tensorrt may serve it"
    assert "multiples of 16, and it has 10 outputs by 256 inputs" in reasons["odd"]


def test_launches_energy_and_counters_stand_in_the_report(run: Run) -> None:
    report = run.report
    launch = timed(report).pruned_launch
    assert launch is not None
    assert launch.eager_ms is not None
    energy = report.energy
    assert energy is not None
    assert energy.evidence.kind == "measured"
    assert energy.dense is not None
    assert energy.dense.total_mj > 0
    assert len(energy.dense.windows_mj) == 2
    assert report.counters is not None
    assert report.counters.kind == "measured"
    counted = {layer.name: layer.counters for layer in report.layers}
    assert counted["up"] is not None
    assert counted["down"] is not None
    assert counted["up"].sparse == 2 * counted["down"].sparse == 8192
    assert any("agree with the kernels' names in all 2 layers" in reason for reason in report.reasons)
    text = str(run)
    for said in (
        "mJ a run of the batch",
        "Nsight Compute 0.0.0",
        "dense again  narrow (68 rows)",
        "bfloat16",
        "compressed",
    ):
        assert said in text
    assert Report.from_json(report.to_json()) == report


def test_counters_that_contradict_a_kernels_name_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{FAKES}:{os.environ['PATH']}")
    monkeypatch.setenv("HWPRUNE_NCU", "up=0,4096;down=4096,0")
    mistakes = sparse_here(Net()).report.mistakes
    assert any("contradict the kernels' names in up: trust the counters" in each.what for each in mistakes)


@pytest.mark.parametrize(
    ("found", "said"),
    [("permission", "may not read the GPU's counters"), ("nothing", "No kernels were profiled")],
)
def test_counters_that_cannot_be_read_say_why_and_how(found: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{FAKES}:{os.environ['PATH']}")
    monkeypatch.setenv("HWPRUNE_NCU", found)
    counters = sparse_here(Net()).report.counters
    assert counters is not None
    assert counters.kind == "unavailable"
    assert said in (counters.reason or "")
    assert found != "permission" or "NVreg_RestrictProfilingToAdminUsers=0" in (counters.cure or "")


def test_without_nsight_compute_and_without_a_meter_the_rest_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWPRUNE_GPU_FAULT", "no meter")
    report = sparse_here(Net()).report
    assert report.measurement.evidence.kind == "measured"
    assert report.counters is not None
    assert "not on the PATH" in (report.counters.reason or "")
    assert report.energy is not None
    assert report.energy.dense is None
    assert report.energy.evidence.cure == "no command mends it"


def test_losers_stay_pruned_when_asked() -> None:
    report = sparse_here(Net(), keep_all=True).report
    assert {layer.name for layer in report.layers} == {"up", "down", "narrow"}
    assert report.returned == ()


def test_a_program_that_no_graph_can_hold_still_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWPRUNE_GPU_FAULT", "graph")
    launch = timed(sparse_here(Net(), keep_all=True).report).pruned_launch
    assert launch is not None
    assert launch.way == "kernel by kernel"


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_code_of_torch_compile_is_started_where_it_is_faster(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWPRUNE_GPU_FAULT", "compile")
    report = sparse_here(Net(), dtype=dtype).report
    launches = (timed(report).dense_launch, timed(report).pruned_launch)
    if dtype == "bfloat16":  # the stand-in's int8 parts are compiled by themselves already
        assert [launch and launch.way for launch in launches] == ["a CUDA graph of torch.compile's code"] * 2
    assert report.check is not None
    assert report.check.pruned_error < 0.05  # of that very code


def test_a_cache_that_is_damaged_is_made_anew(tmp_path: Path) -> None:
    for damage in ("[]", "{", '{"a": [1, 2], "b": "c"}', '{"a": [1, 2, true]}'):
        path = tmp_path / "cache.json"
        path.write_text(damage)
        assert Algorithms(None, str(path)).known == {}


def test_a_model_that_is_slower_as_a_whole_goes_back_to_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without graphs the stand-in's sparse products cost more by their launches than they save."""
    monkeypatch.setenv("HWPRUNE_GPU_FAULT", "graph")
    model = Net()
    run = sparse_here(model)
    assert run.report.verdict != "slower"
    assert run.report.layers == ()
    reasons = {back.name: back.reason for back in run.report.returned}
    assert reasons["up"] == "faster by itself, but the whole model came out slower with it"
    assert any("With 2 layers sparse the whole model was slower: 0." in reason for reason in run.report.reasons)
    assert torch.equal(run.model.get_parameter("up.weight"), model.up.weight)


def test_what_the_library_refuses_is_dense_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWPRUNE_GPU_FAULT", "refuse")
    report = sparse_here(Net()).report
    assert report.layers == ()
    assert {back.name for back in report.returned} == {"up", "down", "narrow"}
    assert all("operation not supported" in back.reason for back in report.returned)
    assert report.totals.pruned_weights == report.totals.weights


def test_a_wrong_product_is_an_error_that_names_the_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWPRUNE_GPU_FAULT", "wrong")
    with pytest.raises(MismatchError, match="on layer up: its sparse product is off by"):
        sparse_here(Net())


def test_a_product_whose_error_is_not_told_does_not_count_as_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWPRUNE_GPU_FAULT", "no error")
    with pytest.raises(MismatchError, match="timed layer up, but does not report the error"):
        sparse_here(Net())


def test_eight_bit_products_agree_with_torch() -> None:
    report = sparse_here(Net(), dtype="int8").report
    assert report.request.dtype == "int8"
    assert report.check is not None
    assert report.check.pruned_error < 0.05
    assert {layer.name for layer in report.layers} == {"up", "down"}
    sizes = next(layer.compressed for layer in report.layers if layer.name == "up")
    assert sizes is not None
    assert sizes.compressed_bytes / sizes.dense_bytes == 0.625


@pytest.mark.parametrize("rows", [1, 17, 64])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8", "float8"])
def test_every_way_to_multiply_is_the_float32_product_of_its_operands(dtype: str, rows: int) -> None:
    gpu = cusparselt_on_cpu.Gpu()
    base = torch.float16 if dtype == "float16" else torch.bfloat16
    weight, bias, x = torch.randn(64, 128), torch.randn(64).to(base), torch.randn(rows, 128).to(base)
    weight = torch.where(keep_n_of_m(weight.abs(), 2, 4), weight, 0.0).to(base)
    for plan in [*dense_plans(dtype), {"way": "cusparselt", "algorithm": [3, 1, -1]}]:
        for own in (bias, None):
            want = reference(dtype, weight, own, x)
            got = make(gpu, dtype, plan, weight, own)(x[None])[0]
            assert got.dtype == base
            assert float((got.float() - want).abs().max() / want.abs().max()) < 1e-2, (plan, own is None)


def test_a_search_is_made_once_for_a_shape_and_then_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    searches = tmp_path / "searches"
    monkeypatch.setenv("HWPRUNE_SEARCHES", str(searches))
    model = nn.Sequential(*(nn.Linear(256, 256) for _ in range(3)))
    for _ in range(2):
        sparse_here(model)
    assert searches.read_text() == "(72, 256)\n"
    (cache,) = (tmp_path / "cache").rglob("*.json")
    (name,) = json.loads(cache.read_text())
    for part in ("a stand-in for a GPU", "801", torch.__version__, "bfloat16", "72x256x256"):
        assert part in name


def test_a_gpu_of_another_generation_is_refused_by_name(x: torch.Tensor) -> None:
    evidence = hwprune(Net(), x, target="ampere", toolchain=STAND_IN).report.measurement.evidence
    assert evidence.kind == "unavailable"
    assert "compute capability 9.0" in (evidence.reason or "")
    assert evidence.cure == "use --target hopper"


def test_the_dtype_is_the_models_own_where_there_are_kernels_for_it(x: torch.Tensor) -> None:
    requests = {
        dtype: hwprune(Net().to(dtype), x.to(dtype), target="ampere").report
        for dtype in (torch.float32, torch.float16, torch.bfloat16)
    }
    assert [report.request.dtype for report in requests.values()] == ["bfloat16", "float16", "bfloat16"]
    assert any("no sparse kernels for float32" in reason for reason in requests[torch.float32].reasons)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this is about machines without a GPU")
def test_without_a_gpu_all_that_can_be_known_is(x: torch.Tensor) -> None:
    run = hwprune(Net(), x, target="hopper", name="net", input_name="x")
    report = run.report
    assert report.verdict == "not measured"
    assert "without CUDA" in (report.measurement.evidence.reason or "")
    assert [layer.name for layer in report.layers] == ["up", "down", "narrow"]
    assert all(layer.valid and layer.used is None for layer in report.layers)
    for layer in report.layers:
        assert layer.compressed is not None
        assert layer.compressed.compressed_bytes == 0.5625 * layer.compressed.dense_bytes
    line = "%hwprune net --input x --target hopper:cusparselt --pattern 2:4 --sparsity 0.5 --dtype bfloat16 --batch 4"
    assert line in " ".join(str(run).split())


def test_a_batch_too_small_is_said_before_anything_is_measured() -> None:
    report = hwprune(Net(), torch.randn(1, 16, 256), target="hopper").report
    assert any("fewer than 64 rows (batch times tokens, here 16)" in each.what for each in report.mistakes)


def test_unstructured_zeros_on_a_gpu_are_caught(x: torch.Tensor) -> None:
    mistakes = hwprune(
        Net(), x, target="hopper", toolchain=STAND_IN, pattern="unstructured", effort=SHORT
    ).report.mistakes
    found = {each.code: each for each in mistakes}
    assert "multiply every zero" in found["HWP110"].what
    assert "skips no single weights" in found["HWP101"].what
    assert found["HWP101"].fix == "Use --pattern 2:4."


def test_halves_of_a_report_merge(run: Run, x: torch.Tensor, tmp_path: Path, shell: Any) -> None:
    torch.manual_seed(0)
    here = hwprune(Net(), x, target="hopper", name="net", score=lambda _: 0.5)
    there = tmp_path / "there.json"
    data = json.loads(run.report.to_json())
    data["request"]["toolchain"] = "cusparselt"  # as it would be called on a machine with the chip
    there.write_text(json.dumps(data))
    joined = merge(here.report, Report.load(there))
    assert joined.measurement == run.report.measurement
    assert joined.request.model == "net"
    assert joined.scores is None  # other layers were pruned in the model that was scored
    assert any("is of a model with different layers pruned" in reason for reason in joined.reasons)
    shell.user_ns["here"] = here
    shown = shell.run_line_magic("hwprune", f"merge here {there}")
    assert shown.report == joined
    assert set(shown._repr_mimebundle_()) == set(here._repr_mimebundle_())


def test_reports_that_are_not_halves_of_one_do_not_merge(run: Run, x: torch.Tensor, tmp_path: Path) -> None:
    here = hwprune(Net(), x, target="hopper").report
    with pytest.raises(InputError, match="Both reports are timed"):
        merge(run.report, run.report)
    with pytest.raises(InputError, match="Neither report is timed"):
        merge(here, here)
    with pytest.raises(InputError, match="--toolchain is"):
        merge(here, run.report)
    data = json.loads(run.report.to_json()) | {"fingerprints": {"dense": "another", "pruned": "model"}}
    data["request"]["toolchain"] = "cusparselt"
    with pytest.raises(InputError, match="the weights differ"):
        merge(here, Report.from_json(json.dumps(data)))
    with pytest.raises(ReportError, match="There is no report to read"):
        Report.load(tmp_path / "nothing.json")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this is about machines without a GPU")
def test_the_doctor_says_that_there_is_no_gpu() -> None:
    text = str(doctor("hopper:cusparselt"))
    assert "no device" in text
    assert "built without CUDA" in text


def test_the_doctor_says_who_may_read_the_counters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    params = tmp_path / "params"
    params.write_text("ResmanDebugLevel: 4294967295\nRmProfilingAdminOnly: 1\n")
    assert "not on the PATH" in counters_remark(str(params))["said"]
    monkeypatch.setenv("PATH", f"{FAKES}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    remark = counters_remark(str(params))
    assert remark["said"] == "this user may not read the GPU's counters"
    assert "NVreg_RestrictProfilingToAdminUsers=0" in remark["cure"]
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert counters_remark(str(params))["cure"] is None
    assert "does not say" in counters_remark(str(tmp_path / "none"))["said"]


# names as they stand in NVIDIA's libraries: cuSPARSELt 0.8, TensorRT 8.6, cuBLASLt 13.1, and CUTLASS of torch
SPARSE = (
    "sm90_xmma_sparse_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x128_cga1x1x1_cusparselt",
    "sm80_xmma_sparse_gemm_f16f16_f16f32_f32_nt_n_tilesize128x128x64_stage3_warpsize2x2x1_sptensor16x8x32_kernel",
    "sm80_xmma_fprop_sparse_conv_interleaved_i8i8_i8i32_f32_nchw_vect_c_32kcrs_vect_c_32_nchw_vect_c_32",
    "sm90_xmma_sparse_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc_nhwc",
    "cutlass3x_sm100_bssptensorop_s128x128x128spgemm_block_scaled_ue4m3xe2m1",
    "void cutlass::Kernel2<cutlass::gemm::kernel::GemmSparseUniversal<cutlass::gemm::threadblock::SparseMmaMultistage",
    "cutlass_tensorop_s16832spgemm_bf16_128x64_64x3_tn_align8",
)
DENSE = (
    "nvjet_tst_128x256_64x4_2x1_v_bz_coopA_TNT",
    "sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64_warpgroupsize1x1x1_execute_segment_k_off_kernel__5x_cublas",
    "cutlass_80_tensorop_s16816gemm_bf16_128x64_64x3_tn_align8",
    "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<c10::BFloat16>>",
    "void cusparselt::pruning_kernel<64u, 8u, cusparselt::Sparsity0, false, __nv_bfloat16>",
    "cutlass3x_sm100_sparse_compression_4_2_bf16_t",
)


@pytest.mark.parametrize("name", SPARSE)
def test_kernels_of_sparse_tensor_cores_are_known_by_their_names(name: str) -> None:
    assert is_sparse(name)


@pytest.mark.parametrize("name", DENSE)
def test_other_kernels_are_not_taken_for_them(name: str) -> None:
    assert not is_sparse(name)


def test_a_kernel_belongs_to_the_innermost_range_of_its_launch() -> None:
    """A trace constructed in Kineto's form: the kernel runs long after its range has ended on the host."""

    def event(cat: str, name: str, ts: float, dur: float, tid: int, **args: Any) -> dict[str, Any]:
        return {"ph": "X", "cat": cat, "name": name, "ts": ts, "dur": dur, "tid": tid, "args": args}

    events = [
        event("user_annotation", "hwprune::outer", 0, 100, 1),
        event("user_annotation", "hwprune::outer.inner", 10, 20, 1),
        event("gpu_user_annotation", "hwprune::outer", 500, 100, 7),
        event("cuda_runtime", "cudaLaunchKernel", 15, 2, 1, correlation=1),
        event("cuda_driver", "cuLaunchKernelEx", 60, 2, 1, correlation=2),
        event("cuda_runtime", "cudaLaunchKernel", 200, 2, 1, correlation=3),
        event("kernel", "third", 900, 3, 7, correlation=3),
        event("kernel", "first", 500, 7, 7, correlation=1),
        event("kernel", "second", 510, 5, 7, correlation=2),
        {"ph": "M", "name": "process_name", "args": {"name": "python"}},
    ]
    assert kernels_of(events) == [("outer.inner", "first", 7.0), ("outer", "second", 5.0), (None, "third", 3.0)]


def test_counters_are_read_whatever_the_locale_and_what_is_missing() -> None:
    """A page constructed in the form of ncu's raw CSV: a row of units, a separator in a number, a cell without one."""
    place = "thread Domain:Push/Pop_Range:PL_Type:PL_Value:CLR_Type:Color:Msg_Type:Msg"
    on, off = (f"sm__ops_path_tensor_op_hgmma_src_bf16_dst_fp32_sparsity_{way}.sum" for way in ("on", "off"))
    page = f'''==PROF== a line of the log
"ID","Kernel Name","{place}","{off}","{on}"
"","","","op","op"
"0","a","1  ""<default domain>:layers.0:none:none:none:none:none:none""","0","5,916,528"
"1","b","1  ""<default domain>:layers.1:none:none:none:none:none:none""","n/a","n/a"
"2","c","","7","0"
'''
    found = counters_of_layers(page)
    assert set(found) == {"layers.0"}
    assert found["layers.0"] == [5916528, 0]
    assert counters_of_layers("") == {}


def test_layers_have_ranges_of_their_names_and_the_hooks_go_again() -> None:
    from torch.profiler import ProfilerActivity, profile

    class Failing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError(f"the user's own, {x.ndim}")

    model = nn.Sequential(nn.Linear(8, 8), nn.Sequential(nn.ReLU(), Failing()))
    with (
        profile(activities=[ProfilerActivity.CPU]) as profiler,
        layer_ranges(model),
        pytest.raises(RuntimeError, match="the user's own"),
    ):
        model(torch.randn(2, 8))
    assert {"0", "1.0", "1.1"} <= {event.name for event in profiler.events() or ()}
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_compression_gives_back_what_it_was_given_or_says_nothing() -> None:
    weight = torch.randn(300, 128)
    kept = torch.where(keep_n_of_m(weight.abs(), 2, 4), weight, 0.0)
    for dtype, share in (("float16", 0.5625), ("bfloat16", 0.5625), ("int8", 0.625), ("float8", 0.625)):
        found = compress(kept[:288], dtype)
        assert found is not None
        assert found.compressed_bytes == share * found.dense_bytes
    assert compress(weight[:288], "bfloat16") is None  # three of four would be lost in silence
    assert compress(kept, "bfloat16") is None  # 300 rows are none of its multiples


def test_masks_are_the_same_however_the_work_is_portioned() -> None:
    scores = torch.rand(1 << 8, 1 << 12)  # more groups than one portion holds
    scores[0, :8] = 1.0  # equal ones go to the first
    keep = keep_n_of_m(scores, 2, 4)
    order = scores.reshape(-1, 4).argsort(dim=1, descending=True, stable=True)
    want = torch.zeros(scores.numel() // 4, 4, dtype=torch.bool).scatter_(1, order[:, :2], value=True)
    assert torch.equal(keep, want.reshape(scores.shape))
    assert keep[0, :8].tolist() == [True, True, False, False] * 2


def test_a_product_with_its_inputs_first_runs_sparse_too(x: torch.Tensor) -> None:
    class Like(nn.Module):
        """As transformers' Conv1D: the weight is [inputs, outputs]."""

        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.randn(inputs, outputs)), nn.Parameter(torch.randn(outputs))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.addmm(self.bias, x.view(-1, x.shape[-1]), self.weight).view(*x.shape[:-1], -1)

    net = nn.Sequential(Like(256, 512), nn.ReLU(), nn.Linear(512, 256))
    report = hwprune(net, x, target="hopper", toolchain=STAND_IN, effort=SHORT).report
    assert {layer.name: (layer.used, layer.valid) for layer in report.layers} == {"0": (True, True), "2": (True, True)}
