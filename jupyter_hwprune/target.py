"""The strategy matrix as data: for each chip what to prune, who compiles and judges it, and what its vendor says.

A new chip is a new row. `stacks` are in order of preference, each with the pattern that pays on it.
The columns `typical_speedup` and `common_mistake` are the guide's; `finding` is what we saw where the guide is wrong
or too kind. `hosts` are the processor architectures on which a time taken by the host's own CPU is a time of this chip.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass

from .errors import InputError

X86 = ("x86_64", "AMD64")
ARM = ("aarch64", "arm64")


@dataclass(frozen=True)
class Stack:
    """A toolchain that serves a chip: the pattern to use with it, its usual sparsity, and its name for the device.

    `dtypes` are those it runs a model in, the usual one first; empty where it takes the model as it is.
    `cure` is what helps where that device is not found, when the chip alone does not. `against` are the toolchains
    whose dense model it has to beat as well: a user has those without it.
    """

    toolchain: str
    pattern: str
    sparsity: float
    device: str
    cure: str | None = None
    dtypes: tuple[str, ...] = ()
    against: tuple[str, ...] = ()


@dataclass(frozen=True)
class Target:
    name: str
    chip: str
    stacks: tuple[Stack, ...]
    hosts: tuple[str, ...]
    shape_rules: tuple[str, ...]
    primary_constraint: str
    validation_metric: str
    typical_speedup: str | None
    common_mistake: str
    vendor_says: str
    vendor_page: str
    finding: str | None = None
    maker: str | None = None  # whose name stands in the name of such a CPU
    capabilities: tuple[str, ...] = ()  # CUDA compute capabilities of such a GPU


UNSTRUCTURED_MISTAKE = "unstructured sparsity: the kernels still multiply the zeros"
BLOCK_MISTAKE = "ignoring block alignment: blocks that do not line up with the matrix unit"
CLIFF_MISTAKE = "over-pruning to an accuracy cliff"
MATRIX_UNIT = "matrix-unit utilisation"
BOARD_UTILISATION = "TPU board utilisation %"
POWER = "power and memory footprint"
ENERGY = "millijoules per inference, with the average milliwatts"

TPU_RULES = (
    "the last dimension a multiple of 128, the one before it of 8; batches of 8 or 128",
    "whole rows or columns of blocks removed (a smaller dense product) need no kernel",
)
TPU_PAGE = "https://cloud.google.com/tpu/docs/performance-guide"
TPU_SAYS = "Arrays are tiled in 128 x 8; XLA pads what does not fill a tile, which wastes the core and its memory."
TPU_FINDING = "The guide's 16x16 blocks buy nothing here: at 90 % almost every {0}x{0} tile still holds a block."


def _tpu(name: str, chip: str, unit: int, says: str = TPU_SAYS, page: str = TPU_PAGE) -> Target:
    return Target(
        name,
        chip,
        stacks=(Stack("xla", f"{unit}x{unit}", 0.75, name.removeprefix("tpu-")),),
        hosts=(),
        shape_rules=(f"matrix unit {unit}x{unit}: smaller blocks leave it full of zeros", *TPU_RULES),
        primary_constraint=MATRIX_UNIT,
        validation_metric=BOARD_UTILISATION,
        typical_speedup="1.3-1.8x",
        common_mistake=BLOCK_MISTAKE,
        vendor_says=says,
        vendor_page=page,
        finding=TPU_FINDING.format(unit),
    )


TENSORRT_RULE = "TensorRT: convolutions below 256 channels seldom gain"
CUSPARSELT_SAYS = "cuSPARSELt multiplies with one operand 50 % structured-sparse on sparse Tensor Cores."


def _gpu(
    name: str,
    chip: str,
    capabilities: tuple[str, ...],
    eight_bits: tuple[str, ...],
    rule: str,
    says: str = CUSPARSELT_SAYS,
    page: str = "https://docs.nvidia.com/cuda/cusparselt",
) -> Target:
    """Return the row of a GPU with sparse Tensor Cores; `eight_bits` are the 8-bit types it multiplies sparsely."""
    return Target(
        name,
        chip,
        stacks=(
            Stack("cusparselt", "2:4", 0.5, "cuda", dtypes=("bfloat16", "float16", *eight_bits)),
            Stack("tensorrt", "2:4", 0.5, "cuda", dtypes=("float16", "bfloat16")),
        ),
        hosts=(),
        shape_rules=(
            "2:4 along the input channels",
            f"fp16 and bf16: both weight dimensions multiples of 16; {' and '.join(eight_bits)}: of 32",
            rule,
        ),
        primary_constraint="memory bandwidth",
        validation_metric="sparse Tensor Core FLOPs",
        typical_speedup="1.5-2x",
        common_mistake=UNSTRUCTURED_MISTAKE,
        vendor_says=says,
        vendor_page=page,
        capabilities=capabilities,
    )


TARGETS: tuple[Target, ...] = (
    _gpu("ampere", "NVIDIA Ampere GPU (A100, A10, RTX 30)", ("8.0", "8.6"), ("int8",), TENSORRT_RULE),
    _gpu("ada", "NVIDIA Ada GPU (L4, L40, RTX 40)", ("8.9",), ("int8", "float8"), TENSORRT_RULE),
    _gpu(
        "hopper",
        "NVIDIA Hopper GPU (H100, H200)",
        ("9.0",),
        ("int8", "float8"),
        "few tokens, or K or N below about 2048, are often slower than dense",
        "The one sparsity setting is 2:4 for half, bfloat16, int8 and fp8, but 1:2 for float.",
        "https://docs.nvidia.com/cuda/cusparselt/types.html",
    ),
    Target(
        "jetson",
        "NVIDIA Jetson Orin (Ampere GPU, two DLA cores)",
        stacks=(
            Stack("tensorrt", "channel/8", 0.5, "cuda", dtypes=("float16", "bfloat16", "float32")),
            Stack("tvm", "channel/8", 0.5, "cuda"),
        ),
        hosts=(),
        shape_rules=(
            "channels in multiples of 8 (16 for fp16 Tensor Cores, 32 for int8)",
            "DLA: fp16 or int8, fixed shapes; what it cannot do falls back to the GPU",
        ),
        primary_constraint=POWER,
        validation_metric=ENERGY,
        typical_speedup="2-5x",
        common_mistake=CLIFF_MISTAKE,
        vendor_says="GPU and DLA both run 2:4 weights; 1.24-1.47x was seen on DLA, more in the low-power modes.",
        vendor_page="https://github.com/NVIDIA/Deep-Learning-Accelerator-SW",
        capabilities=("8.7",),
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
    Target(
        "intel-cpu",
        "Intel x86-64 CPU",
        stacks=(Stack("openvino", "channel/8", 0.5, "CPU"), Stack("onnxruntime", "channel/8", 0.5, "CPU")),
        hosts=X86,
        shape_rules=(
            "channels in multiples of 8 (AVX2) or 16 (AVX-512)",
            "OpenVINO's sparse weights need AMX, an int8 matrix product and channels in multiples of 64",
        ),
        primary_constraint="memory bandwidth",
        validation_metric="process-CPU milliseconds per inference, with the kernels' names",
        typical_speedup=None,
        common_mistake=UNSTRUCTURED_MISTAKE,
        vendor_says="Sparse weights are unpacked on the fly for int8 with AMX only, and off by default.",
        vendor_page="https://docs.openvino.ai/2024/openvino-workflow/running-inference/"
        "inference-devices-and-modes/cpu-device.html",
        maker="Intel",
    ),
    Target(
        "x86-cpu",
        "x86-64 CPU of any maker",
        stacks=(
            Stack("deepsparse", "unstructured", 0.9, "CPU", against=("onnxruntime", "openvino")),
            Stack("onnxruntime", "channel/8", 0.5, "CPU"),
            Stack("openvino", "channel/8", 0.5, "CPU"),
        ),
        hosts=X86,
        shape_rules=(
            "channels in multiples of 8 (AVX2) or 16 (AVX-512), so that the blocked layout applies",
            "unstructured zeros only with DeepSparse: from 80 % in transformers, 90 % in convolutions",
            "depthwise convolutions stay dense with it: in a MobileNet at batch 1 remove channels instead",
        ),
        primary_constraint="memory bandwidth",
        validation_metric="process-CPU milliseconds per inference",
        typical_speedup=None,
        common_mistake=UNSTRUCTURED_MISTAKE,
        vendor_says="ONNX Runtime's graph optimisations fuse, fold and block the layout; none skips zero weights.",
        vendor_page="https://onnxruntime.ai/docs/performance/model-optimizations/graph-optimizations.html",
    ),
    Target(
        "arm-cpu",
        "Arm 64-bit CPU (NEON)",
        stacks=(
            Stack("executorch", "channel/8", 0.5, "CPU"),
            Stack("litert", "channel/8", 0.5, "CPU"),
            Stack("tvm", "channel/8", 0.5, "CPU"),
            Stack("onnxruntime", "channel/8", 0.5, "CPU"),
        ),
        hosts=ARM,
        shape_rules=(
            "channels in multiples of 8",
            "XNNPACK's sparse path: 1x1 convolutions two thirds zero, in one narrow form of network",
        ),
        primary_constraint=POWER,
        validation_metric=ENERGY,
        typical_speedup="2-5x",
        common_mistake=CLIFF_MISTAKE,
        vendor_says="XNNPACK runs sparse weights only in networks of 1x1 and depthwise convolutions of one given form.",
        vendor_page="https://github.com/tensorflow/tensorflow/blob/master/tensorflow/lite/delegates/xnnpack/README.md",
    ),
    Target(
        "movidius",
        "Intel Movidius Myriad X VPU (discontinued)",
        stacks=(Stack("openvino", "channel/8", 0.5, "MYRIAD", cure="prune for its successor: --target intel-npu"),),
        hosts=(),
        shape_rules=("channels in multiples of 8", "fp16; 3x3 convolutions with 2x2 pooling fuse"),
        primary_constraint=POWER,
        validation_metric=ENERGY,
        typical_speedup="2-5x",
        common_mistake=CLIFF_MISTAKE,
        vendor_says="Support ended with OpenVINO 2023.0; 2022.3 LTS is the last release with the MYRIAD plugin.",
        vendor_page="https://docs.openvino.ai/2023.3/openvino_docs_OV_UG_supported_plugins_Supported_Devices.html",
        finding="No OpenVINO of today has its plugin; OpenVINO 2022.3 LTS in an environment of its own would.",
    ),
    Target(
        "intel-npu",
        "Intel NPU (Core Ultra)",
        stacks=(Stack("openvino", "channel/8", 0.5, "NPU"),),
        hosts=(),
        shape_rules=("channels in multiples of 8", "fixed shapes; fp16, or int8 through quantised models"),
        primary_constraint=POWER,
        validation_metric=ENERGY,
        typical_speedup="2-5x",
        common_mistake=CLIFF_MISTAKE,
        vendor_says="The NPU computes in fp16 or int8, with a compiler from the driver or, as a preview, the package.",
        vendor_page="https://docs.openvino.ai/2026/openvino-workflow/running-inference/"
        "inference-devices-and-modes/npu-device.html",
    ),
    Target(
        "edge-tpu",
        "Google Coral Edge TPU",
        stacks=(Stack("edgetpu", "channel/8", 0.5, "edgetpu"),),
        hosts=(),
        shape_rules=(
            "full int8; sizes and parameters constant; at most three inner dimensions",
            "all after the first unsupported operation runs on the CPU",
        ),
        primary_constraint=POWER,
        validation_metric=ENERGY,
        typical_speedup="2-5x",
        common_mistake="kernel sizes or layers that the chip does not support",
        vendor_says="Only fully 8-bit-quantised LiteRT models of a fixed set of operations are mapped to the chip.",
        vendor_page="https://coral.ai/docs/edgetpu/models-intro",
    ),
    Target(
        "qualcomm-npu",
        "Qualcomm Hexagon NPU (HTP)",
        stacks=(Stack("qnn", "channel/32", 0.5, "HTP"),),
        hosts=(),
        shape_rules=("channels in multiples of 32: what lies between is padded", "layers of 4-16 channels are slow"),
        primary_constraint=POWER,
        validation_metric=ENERGY,
        typical_speedup="2-5x",
        common_mistake="kernel sizes or layers that the chip does not support",
        vendor_says="The matrix engine multiplies dense tensors whose channels are rounded up to a multiple of 32.",
        vendor_page="https://docs.qualcomm.com/doc/80-63442-10/topic/htp_guidelines_low_depth_activations.html",
    ),
)

ALIASES = {"tpu": "tpu-v5e", "cpu": "arm-cpu" if platform.machine() in ARM else "x86-cpu"}


def find_target(text: str) -> tuple[Target, str | None]:
    """Split `chip` or `chip:toolchain` into its row and the toolchain named; raises InputError naming what exists."""
    name, _, toolchain = text.partition(":")
    name = ALIASES.get(name, name)
    for target in TARGETS:
        if target.name == name:
            return target, toolchain or None
    known = ", ".join([target.name for target in TARGETS] + sorted(ALIASES))
    raise InputError(f"There is no target {text!r}. The targets are: {known}.")
