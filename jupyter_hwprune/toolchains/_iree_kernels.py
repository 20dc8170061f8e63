"""IREE's own profile of a program on the CPU: the time of each dispatch, and the node of the model that it computes.

The runtime's Python functions have no profiler, so its benchmark program runs the model; `iree-profile` reads the
times. The compiler's program after its stream phase names the node of each dispatch, in the order of execution: equal
layers share one kernel, which by its name belongs to the first of them.
"""

from __future__ import annotations

import glob
import json
import os
import re
import subprocess
from typing import TYPE_CHECKING, Any

from . import _iree_program

if TYPE_CHECKING:
    from ._iree_program import Compiled

BLOCK_S = 0.05  # of runs in one sample, beside the start of a process
FEWEST, MOST = 3, 50
MOVES = ("slow_memcpy", "pack", "unpack", "transpose", "elementwise", "broadcast", "fill", "generic")
DISPATCH = re.compile(r"stream\.cmd\.dispatch\b.*?::@([^\s({]+).*?^ *\} loc\((.*?)\)$", re.MULTILINE | re.DOTALL)
LOCATION = re.compile(r"^(#loc\d*) = loc\((.*)\)$", re.MULTILINE)
ORDINAL = re.compile(r".*dispatch_\d+_")


class Profile:
    def __init__(self, compiled: Compiled, inputs: dict[str, Any], threads: int) -> None:
        import numpy as np
        from iree.runtime import benchmark_exe  # the folder of the runtime's programs

        self.programs = os.path.dirname(benchmark_exe())
        self.compiled, self.folder, self.threads = compiled, os.path.dirname(compiled.path), threads
        self.sites = _sites(compiled.phases or "")
        self.inputs = []
        for place, name in enumerate(compiled.inputs):
            path = os.path.join(self.folder, "input-%d.npy" % place)
            np.save(path, np.asarray(inputs[name]))
            self.inputs.append("--input=@" + path)
        self.runs = FEWEST
        self.samples: list[dict[tuple[str, int], float]] = []  # microseconds of each dispatch in one run

    def run(self) -> None:
        """Run the model several times in a process of its own, the first one left out."""
        path = os.path.join(self.folder, "profile.ireeprof")
        self._call(
            "iree-benchmark-module",
            "--module=" + self.compiled.path,
            "--function=" + self.compiled.function,
            "--device=" + _iree_program.driver(self.threads),
            "--task_topology_group_count=%d" % self.threads,
            "--benchmark_min_time=%dx" % (self.runs + 1),
            "--device_profiling_mode=host-execution,executable-metadata",
            "--device_profiling_output=" + path,
            *self.inputs,
        )
        said = self._call("iree-profile", "dispatch", "--dispatch_events", "--format=jsonl", path)
        events = [json.loads(line) for line in said.splitlines()]
        self.samples.append(self._means([each for each in events if each["type"] == "host_dispatch_event"]))
        seconds = sum(self.samples[-1].values()) / 1e6
        self.runs = max(FEWEST, min(MOST, int(BLOCK_S / max(seconds, 1e-6))))

    def _means(self, events: list[dict[str, Any]]) -> dict[tuple[str, int], float]:
        """Return the mean microseconds of each dispatch, by its kernel and its place among that kernel's."""
        durations: dict[str, list[float]] = {}
        for event in sorted(events, key=lambda each: int(each["start_host_time_ns"])):
            durations.setdefault(event["key"], []).append(event["duration_ns"] / 1e3)
        means = {}
        for kernel, each in durations.items():
            times, rest = divmod(len(each), self.runs + 1)
            if rest or kernel not in self.sites:  # of the program's start, which runs once
                continue
            for place in range(times):
                means[kernel, place] = sum(each[times + place :: times]) / self.runs
        return means

    def kernels(self) -> list[Any]:
        rows = []
        for kernel, place in self.samples[0]:
            sites = self.sites[kernel]
            names = sites[place % len(sites)]
            shown = ORDINAL.sub("", kernel)
            moves = shown.startswith(MOVES)
            rows.append(
                {
                    "names": names,
                    "op": "" if moves else next((self.compiled.ops[each] for each in names), ""),
                    "kernel": shown,
                    "sparse": False,
                    "us": [sample[kernel, place] for sample in self.samples],
                }
            )
        return rows

    def _call(self, program: str, *arguments: str) -> str:
        command = [os.path.join(self.programs, program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - the vendor's own
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["ended with code %d" % done.returncode])[-1]
            raise RuntimeError(program + ": " + last)
        return done.stdout


def _sites(phases: str) -> dict[str, list[list[str]]]:
    """Return the nodes of each dispatch, by the kernel that it runs, in the order of execution."""
    (path,) = glob.glob(os.path.join(phases, "*.stream.mlir"))
    with open(path, encoding="utf-8") as file:
        program = file.read()
    locations = dict(LOCATION.findall(program))
    found: dict[str, list[list[str]]] = {}
    for kernel, location in DISPATCH.findall(program):
        found.setdefault(kernel, []).append(_names(location, locations))
    return found


def _names(location: str, locations: dict[str, str]) -> list[str]:
    """Return the names in a location, and in those that it is made of."""
    names = re.findall(r'"([^"]*)"', location)
    for other in re.findall(r"#loc\d*", location):
        names += _names(locations.get(other, ""), locations)
    return list(dict.fromkeys(names))
