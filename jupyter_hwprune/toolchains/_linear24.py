"""One Linear, dense or 2:4-sparse, in each dtype, with its kernel chosen by timing. x [M, K], weight [N, K] -> [M, N].

The 8-bit forms quantise their input per row and their weight per output (symmetric, dynamic). Dense and sparse do so
alike, so they differ only in the product. It runs in the worker: Python 3.8 syntax, torch imported inside functions.
"""

from __future__ import annotations

import json
import os
import types
from typing import Any

ROWS = {"float16": 8, "bfloat16": 8, "int8": 32, "float8": 16}  # the library takes multiples of these; int_mm above 16
LARGEST = {"int8": 127.0, "float8": 448.0}
DEFAULT_ALGORITHM = [0, 1, -1]


def dense_plans(dtype: str) -> list[dict[str, Any]]:
    """Return the ways to run it dense; 2:4 has to beat the fastest."""
    return [{"way": "rowwise"}, {"way": "tensorwise"}] if dtype == "float8" else [{"way": "dense"}]


def sparse_plans(gpu: Any, dtype: str, outputs: int, inputs: int) -> list[dict[str, Any]]:
    plans = [{"way": "cusparselt"}] if gpu.library is not None else []
    if gpu.capability[0] == 8 and dtype in ("float16", "bfloat16") and outputs % 32 == 0 and inputs % 64 == 0:
        plans.append({"way": "cutlass"})  # core torch has it for compute capability 8.x only
    return plans


class Algorithms:
    """The fastest algorithm that cuSPARSELt found for each product, kept in a file: a search tries every kernel.

    An entry is valid for one GPU, one version of the library and one shape only, so its key consists of these.
    """

    def __init__(self, gpu: Any, path: str | None) -> None:
        self.gpu, self.path = gpu, path
        self.known = self._stored()

    def find(self, dtype: str, packed: Any, x: Any, bias: Any, out_dtype: Any) -> list[int]:
        gpu = self.gpu
        shape = f"{x.shape[0]}x{x.shape[1]}x{packed.shape[0]}"
        parts = (gpu.name, gpu.library, gpu.torch.__version__, dtype, shape, "no bias" if bias is None else "bias")
        name = "|".join(str(part) for part in parts)
        if name not in self.known:
            self.known[name] = gpu.search(packed, x, bias, out_dtype)
            self._save()
        found: list[int] = self.known[name]
        return found

    def _stored(self) -> dict[str, list[int]]:
        """Read the file, without entries that are not algorithms."""
        try:
            with open(self.path or os.devnull, encoding="utf-8") as file:
                found = json.load(file)
        except (OSError, ValueError):
            return {}
        items = found.items() if isinstance(found, dict) else ()
        return {k: v for k, v in items if isinstance(v, list) and [type(n) for n in v] == [int, int, int]}

    def _save(self) -> None:
        if self.path is None:
            return
        self.known = dict(self._stored(), **self.known)  # another run may have added entries meanwhile
        part = f"{self.path}.{os.getpid()}"
        try:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            with open(part, "w", encoding="utf-8") as file:
                json.dump(self.known, file, indent=0, sort_keys=True)
            os.replace(part, self.path)
        except OSError:  # a cache that cannot be written only costs the next run time
            self.path = None


def quantised(tensor: Any, dtype: str) -> tuple[Any, Any]:
    """Quantise each row of a tensor [R, C] to its largest value; returns it with its scales, float32 [R, 1]."""
    import torch

    scale = tensor.abs().amax(dim=1, keepdim=True).float().clamp(min=1e-12) / LARGEST[dtype]
    scaled = tensor.float() / scale
    return scaled.round().to(torch.int8) if dtype == "int8" else scaled.to(torch.float8_e4m3fn), scale


def scaled_back(product: Any, scale: Any, own: Any, bias: Any, dtype_out: Any) -> Any:
    """Undo both scales of an 8-bit product [M, N], by row [M, 1] and by output [1, N], and add the bias."""
    y = product.float() * scale * own
    return (y if bias is None else y + bias).to(dtype_out)


def make(gpu: Any, dtype: str, plan: dict[str, Any], weight: Any, bias: Any) -> Any:
    """Return an nn.Module that computes the layer as the plan says; `weight` is in 16 bits."""
    import torch
    from torch import nn
    from torch.nn import functional

    eight = dtype in LARGEST
    operations = _operations(gpu)

    class Linear24(nn.Module):
        bias: Any
        scale: Any
        meta: Any
        stored: Any

        def __init__(self) -> None:
            super().__init__()
            self.outputs = weight.shape[0]
            self.register_buffer("bias", bias)
            stored = weight.contiguous()
            if eight:
                stored, scale = quantised(weight, dtype)
                self.register_buffer("scale", scale.t().contiguous())  # [1, N]
            if plan["way"] == "cusparselt":
                stored = gpu.compress(stored.contiguous())
            if plan["way"] == "cutlass":
                from torch.sparse._semi_structured_conversions import sparse_semi_structured_from_dense_cutlass

                stored, meta = sparse_semi_structured_from_dense_cutlass(stored)  # type: ignore[no-untyped-call]
                self.register_buffer("meta", meta)
            self.register_buffer("stored", stored)
            self.algorithm = plan.get("algorithm", DEFAULT_ALGORITHM)

        def forward(self, x: Any) -> Any:
            rows = x.reshape(-1, x.shape[-1])
            y = self._eight_bits(rows, x.dtype) if eight else self._sixteen_bits(rows)
            return y.reshape(*x.shape[:-1], self.outputs)

        def _sixteen_bits(self, rows: Any) -> Any:
            if plan["way"] == "dense":
                return functional.linear(rows, self.stored, self.bias)
            if plan["way"] == "cutlass":
                return operations.cutlass_mm(self.stored, self.meta, rows, self.bias, self.outputs)
            return operations.sparse_mm(self.stored, rows, self.bias, self.outputs, None, self.algorithm, ROWS[dtype])

        def _eight_bits(self, rows: Any, dtype_out: Any) -> Any:
            values, scale = operations.quantised(rows, dtype)  # [M, K], [M, 1]
            stored, multiple = self.stored, ROWS[dtype]
            if plan["way"] == "rowwise":
                return torch._scaled_mm(
                    values, stored.t(), scale, self.scale, bias=self.bias, out_dtype=dtype_out, use_fast_accum=True
                )
            if plan["way"] == "tensorwise":
                one = torch.ones((), device=rows.device)
                product = torch._scaled_mm(values, stored.t(), one, one, out_dtype=torch.bfloat16, use_fast_accum=True)
            elif plan["way"] == "dense":
                short = max(0, multiple - rows.shape[0])
                product = torch._int_mm(functional.pad(values, (0, 0, 0, short)), stored.t())[: rows.shape[0]]
            else:
                wide = torch.int32 if dtype == "int8" else torch.bfloat16
                product = operations.sparse_mm(stored, values, None, self.outputs, wide, self.algorithm, multiple)
            return operations.scaled_back(product, scale, self.scale, self.bias, dtype_out)

    return Linear24()


def reference(dtype: str, weight: Any, bias: Any, x: Any) -> Any:
    """Compute the layer in float32 from its kernel's operands: rounded for 16 bits, quantised for 8."""
    rows = x.reshape(-1, x.shape[-1])
    if dtype in LARGEST:
        values, scale = quantised(rows, dtype)
        stored, own = quantised(weight, dtype)
        y = (values.float() * scale) @ (stored.float() * own).t()
    else:
        y = rows.float() @ weight.float().t()
    y = y if bias is None else y + bias.float()
    return y.reshape(*x.shape[:-1], weight.shape[0])


_defined: dict[str, Any] = {}


def _operations(gpu: Any) -> Any:
    """Define our operators once: torch.compile treats the products as opaque, with their padding and layout."""
    if _defined:
        return types.SimpleNamespace(**_defined)
    import torch
    from torch.nn import functional

    @torch.library.custom_op(
        "hwprune::sparse_mm",
        mutates_args=(),
        schema="(Tensor packed, Tensor rows, Tensor? bias, SymInt outputs, ScalarType? out_dtype, int[] algorithm, "
        "int multiple) -> Tensor",
    )
    def sparse_mm(
        packed: Any, rows: Any, bias: Any, outputs: int, out_dtype: Any, algorithm: list[int], multiple: int
    ) -> Any:
        short = -rows.shape[0] % multiple  # a single row would be read as a matrix in another layout
        padded = functional.pad(rows, (0, 0, 0, short)) if short else rows.contiguous()
        return gpu.sparse_mm(packed, padded, bias, out_dtype, list(algorithm))[: rows.shape[0]]

    @sparse_mm.register_fake
    def _(packed: Any, rows: Any, bias: Any, outputs: int, out_dtype: Any, algorithm: Any, multiple: int) -> Any:
        return rows.new_empty((rows.shape[0], outputs), dtype=out_dtype or rows.dtype)

    @torch.library.custom_op(
        "hwprune::cutlass_mm",
        mutates_args=(),
        schema="(Tensor packed, Tensor meta, Tensor rows, Tensor? bias, SymInt outputs) -> Tensor",
    )
    def cutlass_mm(packed: Any, meta: Any, rows: Any, bias: Any, outputs: int) -> Any:
        short = -rows.shape[0] % ROWS["float16"]
        x = functional.pad(rows, (0, 0, 0, short)).t()
        if bias is None:
            product = torch._sparse_semi_structured_mm(packed, meta, x)
        else:
            product = torch._sparse_semi_structured_addmm(bias, packed, meta, x)
        return product.t()[: rows.shape[0]].contiguous()

    cutlass_mm.register_fake(lambda packed, meta, rows, bias, outputs: rows.new_empty((rows.shape[0], outputs)))
    _defined.update(sparse_mm=sparse_mm, cutlass_mm=cutlass_mm, quantised=quantised, scaled_back=scaled_back)
    if gpu.can_compile:  # one kernel each, as in a compiled model; run eagerly they would take longer than the product
        torch._dynamo.config.suppress_errors = True  # without Triton or a C compiler they run uncompiled
        torch._dynamo.config.recompile_limit = 256  # each shape and dtype has its own
        _defined.update(quantised=gpu.compile(quantised), scaled_back=gpu.compile(scaled_back))
    return types.SimpleNamespace(**_defined)
