"""The cycles of a Pallas kernel, of which the compiled text tells nothing: from the instructions as they are scheduled.

libtpu writes the final bundles, the instructions that begin in one cycle, to the folder of a flag that is documented
nowhere. A bundle takes a cycle, and longer where it waits for a matrix unit that is still busy: no unit begins a
product before it could have ended the last one at the chip's peak. Where flag or format change, there are no cycles.
"""

from __future__ import annotations

import atexit
import glob
import os
import re
import shutil
import tempfile
from typing import TYPE_CHECKING

from ._xla_blocks import LANES

if TYPE_CHECKING:
    from ._xla_blocks import Kernel
    from ._xla_cost import Chip

FLAGS = (
    "--xla_jf_dump_llo_text=true",
    "--xla_jf_emit_annotations=true",
    "--xla_jf_dump_llo_pass_label_regex=final_bundles",
)
BUNDLE = re.compile(r"\s*(?:0x[0-9a-f]+|0)\s+(?:[A-Z]{2})?\s*:\s*(>?)")
PRODUCT = re.compile(r"= vmatmul[\w.]*?mxu(\d)")
PRODUCT_ROWS = 16  # of 16-bit values that one instruction multiplies by the weights in the unit
_folder: list[str] = []


def start() -> None:
    """Have libtpu, which reads its flags once, write the bundles of what this process compiles to a folder of ours."""
    if not _folder:
        _folder.append(tempfile.mkdtemp(prefix="hwprune-bundles-"))
        atexit.register(shutil.rmtree, _folder[0], ignore_errors=True)
        own = [f"--xla_jf_dump_to={_folder[0]}", *FLAGS]
        os.environ["LIBTPU_INIT_ARGS"] = " ".join([os.environ.get("LIBTPU_INIT_ARGS", ""), *own]).strip()


def text_of(name: str) -> str | None:
    """Return the final bundles of the kernel of this name, None if the compiler wrote none."""
    found = [
        path for path in glob.glob(os.path.join(_folder[0], f"*-{name}.*final_bundles.txt")) if "schedule" not in path
    ]
    if not found:
        return None
    with open(max(found), encoding="utf-8") as file:
        return file.read()


def cycles(kernel: Kernel, text: str, chip: Chip) -> int:
    """Return the cycles of all steps of a kernel, and of the fetches that nothing is computed beside.

    Raises RuntimeError if the text does not hold the products that the kernel has to compute.
    """
    took, products = _step(text, PRODUCT_ROWS * chip.unit**2 * chip.units // chip.products_per_cycle)
    needed = kernel.rows * kernel.length * kernel.outputs * LANES / (PRODUCT_ROWS * chip.unit**2)
    if not needed * 0.999 <= products <= 4 * needed:
        raise RuntimeError(f"the bundles of {kernel.name} hold {products} products, and {needed:g} are needed")
    cycles_per_byte = chip.clock_ghz / chip.gb_per_s
    beside = kernel.moved_bytes - kernel.exposed_bytes  # fetched and written while steps are computed
    return round(kernel.exposed_bytes * cycles_per_byte + max(took * kernel.steps, beside * cycles_per_byte))


def _step(text: str, busy: int) -> tuple[int, int]:
    """Return the cycles of one pass of the loop over steps, and its products, each of which keeps a unit `busy`."""
    now, products = 0, 0
    free: dict[str, int] = {}
    for line in text.splitlines():
        found = BUNDLE.match(line)
        if found is None or not found[1]:
            continue
        for unit in PRODUCT.findall(line):
            now = max(now, free.get(unit, 0))
            free[unit] = now + busy
            products += 1
        now += 1
    return max([now, *free.values()]), products
