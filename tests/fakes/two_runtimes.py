"""A chip from outside the package with two runtimes: one that works, and one whose faults HWPRUNE_FAULT plants."""

from __future__ import annotations

from dataclasses import replace

from jupyter_hwprune.core.target import Judge, find_target

OFFERS = find_target("x86-cpu")[0].judges[0].offers
TARGET = replace(
    find_target("cpu")[0],
    judges=(Judge("onnxruntime", "CPU", OFFERS), Judge("tests.fakes.faulty", "CPU", OFFERS)),
)
