"""The strategy matrix as data: each chip with its judges (the toolchains that measure it) and its vendor's advice.

A new chip is a new row. `judges` are in order of preference, each with its offers, the most useful first.
`typical_speedup` and `common_mistake` are columns of the strategy matrix; `finding` corrects the matrix where we saw
it fail. A device fits a row by its kind and one of its `identities`, under the name that its toolchain reports.
"""

import importlib
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from .errors import InputError
from .nearest import did_you_mean
from .pattern import NM, Block, Channel, Pattern, Unstructured
from .rules import (
    Rule,
    SparseKernels,
    at_least_inputs,
    at_least_rows,
    blocks_of,
    both_multiples,
    channels_in,
    kernels_up_to,
    only,
    without,
)

X86, ARM = "x86_64", "aarch64"


@dataclass(frozen=True)
class Offer:
    """A pattern that pays on a judge's device, and the usual sparsity there."""

    pattern: Pattern
    sparsity: float


CHANNELS_OF_8 = Offer(Channel(8), 0.5)
TWO_OF_FOUR = Offer(NM(2, 4), 0.5)


@dataclass(frozen=True)
class Judge:
    """A toolchain that measures a chip, its name for the device, and the patterns that pay there.

    `dtypes` are the data types it runs, the default first; empty if it keeps the model's own. `kernels` are its sparse
    kernels, None if it has none. `against` are the toolchains that users already have, whose dense model it has to beat
    too. `cure` is shown if the device is not found and adding the chip is not enough. `by_name` says why it is
    used only when the user names it. `configs` are the parts of the chip's configuration that it compiles for, each
    with all its values, the default first.
    """

    toolchain: str
    device: str
    offers: tuple[Offer, ...]
    dtypes: tuple[str, ...] = ()
    kernels: SparseKernels | None = None
    against: tuple[str, ...] = ()
    cure: str | None = None
    by_name: str | None = None
    configs: tuple[tuple[str, ...], ...] = ()

    def configured(self, asked: Sequence[str]) -> tuple[str, ...]:
        """Return one value of each part of the chip's configuration: the one that was asked for, or the default."""
        return tuple(next((value for value in part if value in asked), part[0]) for part in self.configs)


@dataclass(frozen=True)
class Target:
    """`kind` and `identities` identify the chip; with empty `identities`, any chip of the kind fits.

    `alike` are identities of other chips with the same instructions: they may measure it, and the report says so.
    """

    name: str
    chip: str
    kind: str
    judges: tuple[Judge, ...]
    rules: tuple[Rule, ...]
    primary_constraint: str
    validation_metric: str
    common_mistake: str
    vendor_says: str
    vendor_page: str
    maker: str = "any maker"
    identities: tuple[str, ...] = ()
    typical_speedup: str | None = None
    finding: str | None = None
    alike: tuple[str, ...] = ()


UNSTRUCTURED_MISTAKE = "unstructured sparsity: the kernels still multiply the zeros"
UNSUPPORTED_MISTAKE = "kernel sizes or layers that the chip does not support"

CHECKS_TPU = "it checks on this CPU that the program compiled for a TPU is right, and does not tell a TPU's times"
UNTUNED = "its kernels are several times slower than another runtime's until --tune-kernels has tuned them"

_cpu = partial(Target, kind="cpu", primary_constraint="memory bandwidth", common_mistake=UNSTRUCTURED_MISTAKE)
_edge = partial(
    Target,
    primary_constraint="power and memory footprint",
    validation_metric="millijoules per inference, with the average milliwatts",
    typical_speedup="2-5x",
    common_mistake="over-pruning to an accuracy cliff",
)


TPU_SAYS = "Arrays are tiled in 128 x 8; XLA pads what does not fill a tile, which wastes the core and its memory."
TPU_PAGE = "https://cloud.google.com/tpu/docs/performance-guide"


def _tpu(name: str, chip: str, unit: int, says: str = TPU_SAYS, page: str = TPU_PAGE) -> Target:
    """Return the row of a TPU with matrix units of side `unit`."""
    device = name.removeprefix("tpu-")
    return Target(
        name,
        chip,
        maker="Google",
        kind="tpu",
        identities=(device,),
        judges=(
            Judge(
                "xla",
                device,
                (Offer(Channel(128), 0.5), Offer(Block(max(unit, 256), max(unit, 256), even=True), 0.75)),
                ("bfloat16",),
                cure="time the compiled files on the device itself",
            ),
        ),
        rules=(
            blocks_of(unit, f"matrix unit {unit}x{unit}: smaller blocks leave it full of zeros"),
            Rule("the last dimension a multiple of 128, the one before it of 8; batches of 8 or 128"),
            Rule("as many blocks kept for each group of outputs (/even): the longest sets the kernel's length"),
            Rule("a block's score is the sum of its weights': scores of 16x16, added up, choose the same large blocks"),
            Rule("1x1 convolutions without padding or stride skip blocks as linear layers do; others stay dense"),
            Rule("whole rows or columns of blocks removed (a smaller dense product) need no kernel"),
        ),
        primary_constraint="matrix-unit utilisation",
        validation_metric="TPU board utilisation %",
        typical_speedup="1.3-1.8x",
        common_mistake="ignoring block alignment: blocks that do not line up with the matrix unit",
        vendor_says=says,
        vendor_page=page,
        finding="The usual 16x16 blocks buy nothing here: at 90 % almost every "
        f"{unit}x{unit} tile still holds a block.",
    )


ROCKCHIP = {
    "rk3588": "Rockchip RK3588 NPU",
    "rk3576": "Rockchip RK3576 NPU",
    "rk3566": "Rockchip RK3566 or RK3568 NPU",
    "rk3562": "Rockchip RK3562 NPU",
}


def _rockchip(name: str, chip: str) -> Target:
    """Return the row of a chip that one compiler builds for; the multiple is what its cycles step by, on each of them.

    In float16 they round inputs up to 32 and outputs to 16 or 8 (RK3566: 16 and 8), in int8 both to 32 or 16.
    """
    skips_zeros = name == "rk3576"
    return _edge(
        name,
        chip,
        maker="Rockchip",
        kind="npu",
        judges=(Judge("rknn", name, (Offer(Channel(32), 0.5),), ("float16", "int8")),),
        rules=(
            channels_in(32, "channels in multiples of 32: the compiler counts cycles for inputs rounded up to it"),
            Rule("operators that the NPU lacks run on the CPU"),
        ),
        vendor_says="97.4 frames a second of ResNet-50 in int8, and 129.9 with sparse weights, on one core."
        if skips_zeros
        else "RKNN-Toolkit2 converts a model on a computer; the board runs it by an API in C or Python.",
        vendor_page=f"https://github.com/airockchip/{'rknn_model_zoo' if skips_zeros else 'rknn-toolkit2'}",
        finding="The compiler uses 2:4 in int8 only: it moves fewer bytes, but counts as many cycles of the NPU."
        if skips_zeros
        else None,
    )


TENSORRT_RULE = at_least_inputs(256, "TensorRT: convolutions below 256 channels seldom gain")
FEW_ROWS = at_least_rows(64, "sparse Tensor Cores seldom pay below 64 rows; a larger --batch gives them work")
OF_16, OF_8 = 16, 32  # the multiple that both dimensions of a weight have to be, by its bits
MULTIPLES = {"float16": OF_16, "bfloat16": OF_16, "int8": OF_8, "float8": OF_8}
CUSPARSELT = SparseKernels(
    # https://docs.nvidia.com/cuda/cusparselt/functions.html (cusparseLtStructuredDescriptorInit), which torch checks in
    # torch.sparse.SparseSemiStructuredTensorCUSPARSELT
    NM(2, 4),
    rules=(only(("Linear",), "cuSPARSELt multiplies matrices and has no {}"), both_multiples("cuSPARSELt", MULTIPLES)),
    pays=(FEW_ROWS,),
)
TENSORRT = SparseKernels(
    # 2:4 along the input channels, no more is documented: "Sparsity" in TensorRT's developer guide
    NM(2, 4),
    rules=(
        only(("Linear", "Conv1d", "Conv2d"), "TensorRT runs no {} sparsely"),
        lambda layer: None if layer.groups == 1 else "TensorRT runs no grouped convolution sparsely",
    ),
    pays=(FEW_ROWS,),
)


def _gpu(
    name: str,
    chip: str,
    capabilities: tuple[str, ...],
    eight_bits: tuple[str, ...],
    rule: Rule,
    says: str = "cuSPARSELt multiplies with one operand 50 % structured-sparse on sparse Tensor Cores.",
    page: str = "https://docs.nvidia.com/cuda/cusparselt",
) -> Target:
    """Return the row of a GPU with sparse Tensor Cores; `eight_bits` are the 8-bit types with sparse products."""
    return Target(
        name,
        chip,
        maker="NVIDIA",
        kind="cuda",
        identities=tuple(f"compute capability {each}" for each in capabilities),
        judges=(
            Judge("cusparselt", "cuda", (TWO_OF_FOUR,), ("bfloat16", "float16", *eight_bits), CUSPARSELT),
            Judge("tensorrt", "cuda", (TWO_OF_FOUR, CHANNELS_OF_8), ("float16", "bfloat16"), TENSORRT),
        ),
        rules=(
            Rule(f"{CUSPARSELT.pattern} along the input channels"),
            Rule(f"fp16 and bf16: both weight dimensions multiples of {OF_16}; {' and '.join(eight_bits)}: of {OF_8}"),
            rule,
            FEW_ROWS,
        ),
        primary_constraint="memory bandwidth",
        validation_metric="sparse Tensor Core FLOPs",
        typical_speedup="1.5-2x",
        common_mistake=UNSTRUCTURED_MISTAKE,
        vendor_says=says,
        vendor_page=page,
    )


ETHOS_PAGE = "https://www.arm.com/products/silicon-ip-cpu/ethos/"
ETHOS_U85_KERNELS = SparseKernels(
    NM(2, 4),
    rules=(
        only(("Linear", "Conv1d", "Conv2d"), "the Ethos-U85 runs no {} sparsely"),
        lambda layer: None if layer.groups == 1 else "the Ethos-U85 runs no grouped convolution sparsely",
    ),
)


def _ethos_u(
    number: str,
    macs: tuple[str, ...],
    memory: tuple[str, ...],
    system: tuple[str, ...],
    says: str,
    kernels: SparseKernels | None = None,
) -> Target:
    """Return the row of an Ethos-U; `macs`, `memory` and `system` are Vela's configurations, the default first."""
    name = f"ethos-u{number}"
    zeros = (Offer(Unstructured(), 0.9),) if kernels is None else (TWO_OF_FOUR,)
    return _edge(
        name,
        f"Arm Ethos-U{number} NPU",
        maker="Arm",
        kind="npu",
        identities=(name,),
        judges=(
            Judge(
                "ethos-u",
                f"Ethos-U{number}",
                (Offer(Channel(16), 0.5), *zeros),
                ("int8",),
                kernels,
                configs=(tuple(f"{name}-{each}" for each in macs), memory, system),
            ),
        ),
        rules=(
            channels_in(16, "channels in multiples of 16: other widths fill the block of outputs only in part"),
            Rule("int8: activations and weights are quantised; operators that the NPU lacks run on the CPU"),
        ),
        vendor_says=says,
        vendor_page=ETHOS_PAGE + name,
    )


ETHOS_PACKED = "Weights are packed: zeros take less memory and traffic, and no fewer multiplications."
EXECUTORCH = Judge("executorch", "CPU", (CHANNELS_OF_8,), by_name="it is a runtime for phones and boards")


TARGETS: tuple[Target, ...] = (
    _gpu("ampere", "NVIDIA Ampere GPU (A100, A10, RTX 30)", ("8.0", "8.6"), ("int8",), TENSORRT_RULE),
    _gpu("ada", "NVIDIA Ada GPU (L4, L40, RTX 40)", ("8.9",), ("int8", "float8"), TENSORRT_RULE),
    _gpu(
        "hopper",
        "NVIDIA Hopper GPU (H100, H200)",
        ("9.0",),
        ("int8", "float8"),
        Rule("few tokens, or K or N below about 2048, are often slower than dense"),
        "The one sparsity setting is 2:4 for half, bfloat16, int8 and fp8, but 1:2 for float.",
        "https://docs.nvidia.com/cuda/cusparselt/types.html",
    ),
    _edge(
        "jetson",
        "NVIDIA Jetson Orin (Ampere GPU, two DLA cores)",
        maker="NVIDIA",
        kind="cuda",
        identities=("compute capability 8.7",),
        judges=(
            Judge("tensorrt", "cuda", (CHANNELS_OF_8, TWO_OF_FOUR), ("float16", "bfloat16", "float32"), TENSORRT),
            Judge("iree", "cuda", (CHANNELS_OF_8,), by_name="it compiles for this GPU but does not time it"),
        ),
        rules=(
            channels_in(8, "channels in multiples of 8 (16 for fp16 Tensor Cores, 32 for int8)"),
            Rule("DLA: fp16 or int8, fixed shapes; layers that it cannot run fall back to the GPU"),
            kernels_up_to(32, "DLA: convolution kernels of 1 to 32 a side"),
        ),
        vendor_says="GPU and DLA both run 2:4 weights; 1.24-1.47x was seen on DLA, more in the low-power modes.",
        vendor_page="https://github.com/NVIDIA/Deep-Learning-Accelerator-SW",
    ),
    _tpu("tpu-v4", "Google Cloud TPU v4", 128),
    _tpu("tpu-v5e", "Google Cloud TPU v5e", 128),
    _tpu("tpu-v5p", "Google Cloud TPU v5p", 128),
    _tpu(
        "tpu-v6e",
        "Google Cloud TPU v6e (Trillium)",
        256,
        "One TensorCore a chip with two 256x256 matrix units and a vector unit of 128 lanes by 8 sublanes.",
        "https://cloud.google.com/tpu/docs/v6e",
    ),
    _tpu(
        "tpu-7x",
        "Google Cloud TPU7x (Ironwood)",
        256,
        "Two TensorCores a chip, which a program sees as two devices, with 7380 GB/s of memory bandwidth a chip.",
        "https://cloud.google.com/tpu/docs/tpu7x",
    ),
    _cpu(
        "intel-cpu",
        "Intel x86-64 CPU",
        maker="Intel",
        identities=(f"{X86} Intel",),
        alike=(X86,),
        judges=(
            Judge("openvino", "CPU", (CHANNELS_OF_8,)),
            Judge("onnxruntime", "CPU", (CHANNELS_OF_8,)),
            EXECUTORCH,
            Judge("litert", "CPU", (CHANNELS_OF_8,)),
            Judge("iree", X86, (CHANNELS_OF_8,)),
            Judge("tvm", X86, (CHANNELS_OF_8,), by_name=UNTUNED),
            Judge("xla", X86, (CHANNELS_OF_8,), by_name=CHECKS_TPU),
        ),
        rules=(
            channels_in(8, "channels in multiples of 8 (AVX2) or 16 (AVX-512)"),
            Rule("OpenVINO's sparse weights need AMX, an int8 matrix product and channels in multiples of 64"),
        ),
        validation_metric="process-CPU milliseconds per inference, with the kernels' names",
        vendor_says="Sparse weights are unpacked on the fly for int8 with AMX only, and off by default.",
        vendor_page="https://docs.openvino.ai/2024/openvino-workflow/running-inference/"
        "inference-devices-and-modes/cpu-device.html",
    ),
    _cpu(
        "x86-cpu",
        "x86-64 CPU of any maker",
        identities=(X86,),
        judges=(
            Judge("onnxruntime", "CPU", (CHANNELS_OF_8,)),
            Judge("openvino", "CPU", (CHANNELS_OF_8,)),
            Judge(
                "deepsparse",
                "CPU",
                (Offer(Unstructured(), 0.9),),
                against=("onnxruntime", "openvino"),
                by_name="its licence allows evaluation only, no production use",
            ),
            EXECUTORCH,
            Judge("litert", "CPU", (CHANNELS_OF_8,)),
            Judge("iree", X86, (CHANNELS_OF_8,)),
            Judge("tvm", X86, (CHANNELS_OF_8,), by_name=UNTUNED),
            Judge("xla", X86, (CHANNELS_OF_8,), by_name=CHECKS_TPU),
        ),
        rules=(
            channels_in(8, "channels in multiples of 8 (AVX2) or 16 (AVX-512), so that the blocked layout applies"),
            Rule("unstructured zeros only with DeepSparse: from 80 % in transformers, 90 % in convolutions"),
            Rule(
                "depthwise convolutions stay dense with DeepSparse: in a MobileNet at batch 1 remove channels instead"
            ),
        ),
        validation_metric="process-CPU milliseconds per inference",
        vendor_says="ONNX Runtime's graph optimisations fuse, fold and block the layout; none skips zero weights.",
        vendor_page="https://onnxruntime.ai/docs/performance/model-optimizations/graph-optimizations.html",
    ),
    _edge(
        "arm-cpu",
        "Arm 64-bit CPU (NEON)",
        kind="cpu",
        identities=(ARM,),
        judges=(
            *(Judge(name, "CPU", (CHANNELS_OF_8,)) for name in ("executorch", "litert", "onnxruntime")),
            Judge("iree", ARM, (CHANNELS_OF_8,)),
            Judge("tvm", ARM, (CHANNELS_OF_8,), by_name=UNTUNED),
            Judge("xla", ARM, (CHANNELS_OF_8,), by_name=CHECKS_TPU),
        ),
        rules=(
            channels_in(8),
            Rule("XNNPACK's sparse path: 1x1 convolutions two thirds zero, in one narrow form of network"),
        ),
        vendor_says="XNNPACK runs sparse weights only in networks of 1x1 and depthwise convolutions of one given form.",
        vendor_page="https://github.com/tensorflow/tensorflow/blob/master/tensorflow/lite/delegates/xnnpack/README.md",
    ),
    _ethos_u(
        "55",
        ("128", "32", "64", "256"),
        ("Shared_Sram", "Sram_Only"),
        ("Ethos_U55_High_End_Embedded", "Ethos_U55_Deep_Embedded"),
        ETHOS_PACKED,
    ),
    _ethos_u(
        "65",
        ("256", "512"),
        ("Dedicated_Sram", "Shared_Sram", "Sram_Only"),
        ("Ethos_U65_High_End", "Ethos_U65_Embedded", "Ethos_U65_Mid_End", "Ethos_U65_Client_Server"),
        ETHOS_PACKED,
    ),
    _ethos_u(
        "85",
        ("256", "128", "512", "1024", "2048"),
        ("Dedicated_Sram", "Shared_Sram", "Sram_Only"),
        (
            "Ethos_U85_SYS_DRAM_Mid",
            "Ethos_U85_SYS_DRAM_Low",
            "Ethos_U85_SYS_DRAM_High",
            "Ethos_U85_SYS_Flash_Low",
            "Ethos_U85_SYS_Flash_High",
        ),
        "2/4 sparsity is supported natively in hardware, for double the throughput.",
        ETHOS_U85_KERNELS,
    ),
    _edge(
        "arm-gpu",
        "Arm Mali GPU (Valhall), by Vulkan",
        maker="Arm",
        kind="vulkan",
        judges=(Judge("iree", "vulkan", (CHANNELS_OF_8,)),),
        rules=(channels_in(8), Rule("fixed shapes; fp32, or fp16 for a model in fp16")),
        vendor_says="Valhall runs warps of 16 threads: work in multiples of 16 leaves no thread idle.",
        vendor_page="https://developer.arm.com/documentation/102203/latest/",
    ),
    _edge(
        "movidius",
        "Intel Movidius Myriad X VPU (discontinued)",
        maker="Intel",
        kind="vpu",
        judges=(Judge("openvino", "MYRIAD", (CHANNELS_OF_8,), cure="prune for its successor: --target intel-npu"),),
        rules=(channels_in(8), Rule("fp16; 3x3 convolutions with 2x2 pooling fuse")),
        vendor_says="Support ended with OpenVINO 2023.0; 2022.3 LTS is the last release with the MYRIAD plugin.",
        vendor_page="https://docs.openvino.ai/2023.3/openvino_docs_OV_UG_supported_plugins_Supported_Devices.html",
        finding="No OpenVINO wheel for Linux from 2022.1 on holds its plugin; that of 2021.4.2 refuses to compile "
        "without the stick.",
    ),
    _edge(
        "intel-gpu",
        "Intel GPU (Xe, Arc or Iris)",
        maker="Intel",
        kind="gpu",
        judges=(
            Judge(
                "openvino",
                "GPU",
                (Offer(Channel(16), 0.5),),
                cure="run it on a machine with an Intel GPU, its compute runtime and the OpenCL loader (Debian's "
                "intel-opencl-icd and ocl-icd-libopencl1)",
            ),
        ),
        rules=(channels_in(16, "channels in multiples of 16: the plugin's blocked layouts pad the rest"),),
        vendor_says="An OpenCL based plugin for inference on Intel GPUs, both integrated and discrete ones.",
        vendor_page="https://docs.openvino.ai/2024/openvino-workflow/running-inference/"
        "inference-devices-and-modes/gpu-device.html",
    ),
    _edge(
        "intel-npu",
        "Intel NPU (Core Ultra)",
        maker="Intel",
        kind="npu",
        judges=(
            Judge(
                "openvino",
                "NPU",
                (CHANNELS_OF_8,),
                ("float16",),
                cure="run it on a Core Ultra with Intel's NPU driver, which brings the compiler: "
                "https://github.com/intel/linux-npu-driver",
            ),
        ),
        rules=(channels_in(8), Rule("fixed shapes; fp16, or int8 through quantised models")),
        vendor_says="The NPU computes in fp16 or int8, with a compiler from the driver or, as a preview, the package.",
        vendor_page="https://docs.openvino.ai/2026/openvino-workflow/running-inference/"
        "inference-devices-and-modes/npu-device.html",
    ),
    _edge(
        "edge-tpu",
        "Google Coral Edge TPU",
        maker="Google",
        kind="edge tpu",
        judges=(Judge("edgetpu", "edgetpu", (CHANNELS_OF_8,), ("int8",)),),
        rules=(
            Rule("full int8; sizes and parameters constant; at most three inner dimensions"),
            without(("Conv3d", "ConvTranspose3d", "GRU"), "no 3-D convolution and no GRU among the chip's operations"),
            Rule("all after the first unsupported operation runs on the CPU"),
        ),
        common_mistake=UNSUPPORTED_MISTAKE,
        vendor_says="Only fully 8-bit-quantised LiteRT models of a fixed set of operations are mapped to the chip.",
        vendor_page="https://coral.ai/docs/edgetpu/models-intro",
    ),
    *(_rockchip(name, chip) for name, chip in ROCKCHIP.items()),
    _edge(
        "qualcomm-npu",
        "Qualcomm Hexagon NPU (HTP)",
        maker="Qualcomm",
        kind="npu",
        judges=(Judge("qnn", "HTP", (Offer(Channel(32), 0.5),), ("float16", "int8")),),
        rules=(
            channels_in(32, "channels in multiples of 32: other widths are padded"),
            Rule("layers of 4-16 channels are slow"),
        ),
        common_mistake=UNSUPPORTED_MISTAKE,
        vendor_says="The matrix engine multiplies dense tensors whose channels are rounded up to a multiple of 32.",
        vendor_page="https://docs.qualcomm.com/doc/80-63442-10/topic/htp_guidelines_low_depth_activations.html",
    ),
)

REFERENCE = Judge("onnxruntime", "CPU", ())
"""The runtime that computes the expected outputs of an ONNX file without sample outputs."""

ALIASES = {"tpu": "tpu-v5e", "cpu": "arm-cpu" if platform.machine() in {ARM, "arm64"} else "x86-cpu"}


def find_target(text: str) -> tuple[Target, str | None]:
    """Split `chip` or `chip:toolchain` into its row and toolchain; raises InputError that lists the targets.

    A dotted name is a module outside this package; its TARGET is the row.
    """
    name, _, toolchain = text.partition(":")
    name = ALIASES.get(name, name)
    if "." in name:
        return _outside(name), toolchain or None
    rows = {target.name: target for target in TARGETS}
    if name in rows:
        return rows[name], toolchain or None
    known = [*rows, *sorted(ALIASES)]
    raise InputError(f"There is no target {text!r}.{did_you_mean(name, known)} The targets are: {', '.join(known)}.")


def _outside(name: str) -> Target:
    try:
        row = getattr(importlib.import_module(name), "TARGET", None)
    except ImportError as error:
        raise InputError(f"The target {name!r} is a dotted name, so it should be a module: {error}.") from error
    if not isinstance(row, Target):
        raise InputError(
            f"The module {name} defines no chip: it needs a TARGET of the class jupyter_hwprune.core.target.Target."
        )
    return replace(row, name=name)  # a report's line asks for it by the name that finds it
