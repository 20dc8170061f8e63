"""A row of the strategy matrix from outside the package: a chip, and the toolchain that serves it."""

from jupyter_hwprune.core.pattern import Channel
from jupyter_hwprune.core.rules import channels_in
from jupyter_hwprune.core.target import Judge, Offer, Target

TARGET = Target(
    "toy",
    "a toy of an NPU",
    maker="nobody",
    kind="toy npu",
    identities=("toy-1",),
    judges=(Judge("tests.fakes.npu", "NPU0", (Offer(Channel(4), 0.5),)),),
    rules=(channels_in(4),),
    primary_constraint="it is made up",
    validation_metric="milliseconds that mean nothing",
    typical_speedup=None,
    common_mistake="to take it for a chip",
    vendor_says="Nothing.",
    vendor_page="https://example.org/toy",
)
