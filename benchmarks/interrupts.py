"""Interrupt runs in a real kernel at random moments, a third of them twice: `python -m benchmarks.interrupts`.

Each run prunes, exports and measures a small convolutional network, with the fewest rounds. Its cell notes in a file
when the run begins, when it has gone on to its end, and when the cell is left; these notes, not the kernel's reply, say
what became of a press, for the kernel drops the reply of a cell where a press falls into its own code. A press is lost
if the run began before it, and went on to its end after it. Prints a table, writes JSON beside it.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.manager import start_new_kernel

from benchmarks.masks import cpu_name, installed

RESULTS = Path(__file__).parent / "results" / "interrupts.json"
SETUP = """
import functools, os, time
import torch
from jupyter_hwprune import flow
from jupyter_hwprune.choose.effort import Effort
from tests.networks import cnn
%load_ext jupyter_hwprune
net, x = cnn(), torch.randn(2, 3, 16, 16)
fewest = Effort(min_rounds=3, max_rounds=3, measure_s=0.1, block_s=0.001, profile=False)
flow.hwprune = functools.partial(flow.hwprune, effort=fewest)
notes = os.open({notes!r}, os.O_WRONLY | os.O_APPEND)
def note(number, what):
    os.write(notes, f"{{number}} {{what}} {{time.monotonic()}}\\n".encode())
"""
CELL = """
note({number}, "began")
try:
    {line}
    note({number}, "finished")
finally:
    note({number}, "left")
"""
LINES = (
    "%hwprune net --input x --target cpu --toolchain onnxruntime --pattern channel --sparsity 0.5",
    "%hwprune net --input x --target cpu --toolchain openvino --pattern unstructured --sparsity 0.8",
)
MEANING = {
    "ended": "the press ended the run",
    "late": "the run had gone on to its end before the press",
    "early": "the run had not begun when the press came",
    "lost": "the run went on to its end in spite of the press",
    "another error": "the press ended the run, and the cell shows an error that is not the interrupt",
}
TWICE_S = 0.05
ASK_AGAIN_S, SILENT_S = 3.0, 60.0  # a kernel that answers none of these questions for a minute hangs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presses", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    chance = random.Random(options.seed)  # noqa: S311 - moments of presses
    with tempfile.TemporaryDirectory() as folder, Kernel.started(Path(folder) / "notes") as kernel:
        whole = [[kernel.seconds(line) for _ in range(3)][-1] for line in LINES]
        presses = []
        for number in range(options.presses):
            which = number % len(LINES)
            presses.append(press(kernel, number, which, chance.uniform(0.01, whole[which]), twice=number % 3 == 0))
            print(presses[-1], flush=True)
        restarts = kernel.restarts
    data = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "python": platform.python_version(),
        "packages": {name: installed(name) for name in ("torch", "onnxruntime", "openvino", "ipykernel")},
        "lines": LINES,
        "whole_run_s": [round(each, 2) for each in whole],
        "seed": options.seed,
        "kernel_restarts": restarts,
        "presses": presses,
    }
    options.out.write_text(json.dumps(data, indent=1) + "\n")
    shown = f"{table(data)}\n\n{notes(data)}"
    print(shown)
    options.out.with_suffix(".md").write_text(shown + "\n")


class Kernel:
    """A kernel that is asked with time limits, and started anew where it has ended or does not answer."""

    def __init__(self, notes: Path) -> None:
        self.notes, self.restarts = notes, 0
        notes.touch()
        self._start()

    @classmethod
    @contextmanager
    def started(cls, notes: Path) -> Iterator[Kernel]:
        kernel = cls(notes)
        try:
            yield kernel
        finally:
            kernel.shut_down()

    def _start(self) -> None:
        self.manager, self.client = start_new_kernel(cwd=str(Path(__file__).parents[1]))
        self.run(SETUP.format(notes=str(self.notes)))

    def shut_down(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def restart(self) -> None:
        self.restarts += 1
        self.shut_down()
        self._start()

    def run(self, code: str) -> None:
        reply = self.client.execute(code, reply=True, timeout=600)
        assert reply["content"]["status"] == "ok", reply["content"]

    def seconds(self, line: str) -> float:
        start = time.monotonic()
        self.run(line)
        return time.monotonic() - start

    def interrupt(self) -> float:
        """Press, and return the moment at which the signal had been sent."""
        self.manager.interrupt_kernel()
        return time.monotonic()

    def settle(self, request: str) -> tuple[str | None, str]:
        """Wait until the kernel is free again; return its reply to the request if it gave one, and its own state.

        It may drop the reply, and that to a question too, where a press falls into its own code. So it is asked again.
        """
        said, asked, deadline = None, set(), time.monotonic() + SILENT_S
        while time.monotonic() < deadline:
            if not self.manager.is_alive():
                return said, "ended itself"
            asked.add(self.client.execute("", silent=True))
            ask_again = time.monotonic() + ASK_AGAIN_S
            while (left := ask_again - time.monotonic()) > 0:
                try:
                    reply = self.client.get_shell_msg(timeout=left)
                except Empty:
                    break
                content, parent = reply["content"], reply["parent_header"]["msg_id"]
                if parent == request:
                    said = str(content.get("ename", content["status"]))
                elif parent in asked and content["status"] == "ok":
                    return said, "free"
                elif parent in asked:
                    break  # it drops what waited while a cell failed: ask anew
        return said, "hangs"

    def noted(self, number: int) -> dict[str, float]:
        words = [line.split() for line in self.notes.read_text().splitlines()]
        return {what: float(moment) for of, what, moment in words if int(of) == number}


def press(kernel: Kernel, number: int, which: int, at: float, *, twice: bool) -> dict[str, Any]:
    request = kernel.client.execute(CELL.format(number=number, line=LINES[which]))
    time.sleep(at)
    pressed = kernel.interrupt()
    if twice:
        time.sleep(TWICE_S)
        kernel.interrupt()
    said, state = kernel.settle(request)
    noted, free = kernel.noted(number), time.monotonic()
    if state != "free":
        kernel.restart()
    outcome = outcome_of(noted, pressed, said)
    return {
        "number": number,
        "line": which,
        "at_s": round(at, 3),
        "twice": twice,
        "outcome": outcome,
        "reply": said,
        "kernel": state,
        "ended_after_s": round(noted.get("left", free) - pressed, 3) if outcome == "ended" else None,
    }


def outcome_of(noted: dict[str, float], pressed: float, said: str | None) -> str:
    if "began" not in noted or pressed < noted["began"]:
        return "early"
    if "finished" in noted:
        return "late" if noted["finished"] < pressed else "lost"
    return "ended" if said in {None, "KeyboardInterrupt", "Interrupted"} else "another error"


def table(data: dict[str, Any]) -> str:
    counts = Counter(each["outcome"] for each in data["presses"])
    doubles = Counter(each["outcome"] for each in data["presses"] if each["twice"])
    rows = [f"| {name} | {said} | {counts[name]} | {doubles[name]} |" for name, said in MEANING.items()]
    total = f"| all | | {len(data['presses'])} | {doubles.total()} |"
    return "\n".join(["| outcome | what it means | presses | twice |", "| --- | --- | --- | --- |", *rows, total])


def notes(data: dict[str, Any]) -> str:
    presses = data["presses"]
    ended = sorted(each["ended_after_s"] for each in presses if each["outcome"] == "ended")
    dropped = sum(each["reply"] is None for each in presses)
    states = Counter(each["kernel"] for each in presses)
    packages = ", ".join(f"{name} {version}" for name, version in data["packages"].items())
    whole = " s and ".join(f"{each:.1f}" for each in data["whole_run_s"])
    said = [f"{data['cpu']}; Python {data['python']}, {packages}."]
    said.append(
        f"Whole runs take {whole} s; a press comes at a random moment of that time, and every third is followed by a "
        f"second {TWICE_S:g} s later."
    )
    if ended:
        said.append(
            f"From the press until the cell is left: {statistics.median(ended):.2f} s in the median, "
            f"{ended[-1]:.2f} s at most, {sum(each > 1 for each in ended)} over a second."
        )
    said.append(
        f"Replies that the kernel dropped, hit in its own code: {dropped}. Kernels that ended themselves: "
        f"{states['ended itself']}; that hung: {states['hangs']}. A new one was started for the next press."
    )
    return "\n".join(f"- {each}" for each in said)


if __name__ == "__main__":
    main()
