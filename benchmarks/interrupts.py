"""Interrupt runs in a real kernel at random moments, a third of them twice: `python -m benchmarks.interrupts`.

    python -m benchmarks.interrupts --presses 300

Each run prunes, exports and measures a small convolutional network. It counts as lost if an interrupt that came before
the run's reply did not end it with a KeyboardInterrupt. `late` are those that came after a run had ended. One that
falls into the kernel's own code before or after the run ends that, and the kernel may drop its reply.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jupyter_client.manager import start_new_kernel

from benchmarks.masks import cpu_name, installed

RESULTS = Path(__file__).parent / "results" / "interrupts.json"
SETUP = """
import torch
from tests.networks import cnn
net, x = cnn(), torch.randn(2, 3, 16, 16)
%load_ext jupyter_hwprune
"""
LINES = (
    "%hwprune net --input x --target cpu --toolchain onnxruntime --pattern channel --sparsity 0.5",
    "%hwprune net --input x --target cpu --toolchain openvino --pattern unstructured --sparsity 0.8",
)
TWICE_S = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presses", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    chance = random.Random(options.seed)  # noqa: S311 - moments of presses
    manager, client = start_new_kernel(cwd=str(Path(__file__).parents[1]))
    try:
        run(client, SETUP)
        whole = [timed(client, line) for line in LINES for _ in range(2)][1::2]
        presses = [press_once(manager, client, whole, chance, number) for number in range(options.presses)]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    ended = sorted(each["ended_after_s"] for each in presses if each["outcome"] != "late")
    result = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "python": platform.python_version(),
        "packages": {name: installed(name) for name in ("torch", "onnxruntime", "openvino", "ipykernel")},
        "whole_run_s": [round(each, 2) for each in whole],
        "presses": options.presses,
        "twice": sum(each["twice"] for each in presses),
        "outcomes": dict(Counter(each["outcome"] for each in presses)),
        "ended_after_s": {
            "median": round(statistics.median(ended), 3),
            "longest": round(ended[-1], 3),
            "over_a_second": sum(each > 1 for each in ended),
        },
        "lost": [each for each in presses if each["outcome"] == "lost"],
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def press_once(manager: Any, client: Any, whole: list[float], chance: random.Random, number: int) -> dict[str, Any]:
    which, twice = number % len(LINES), number % 3 == 0
    at = chance.uniform(0.01, whole[which])
    request = client.execute(LINES[which])
    time.sleep(at)
    pressed, finished = time.monotonic(), client.shell_channel.msg_ready()
    manager.interrupt_kernel()
    if twice:
        time.sleep(TWICE_S)
        manager.interrupt_kernel()
    said, after = replies(client, request), time.monotonic() - pressed
    if "Interrupted" in said or "KeyboardInterrupt" in said:
        outcome = "ended"
    elif not said:
        outcome = "the kernel's own code dropped the reply"
    else:
        outcome = "late" if finished else "lost"
    return {
        "number": number,
        "at_s": round(at, 3),
        "twice": twice,
        "outcome": outcome,
        "ended_after_s": after,
        "reply": said,
    }


def replies(client: Any, request: str) -> list[str]:
    """Return how the request was answered, once the kernel is free; it may drop the answer where it is hit itself."""
    probe, said = client.execute("pass", stop_on_error=False), []
    while True:
        reply = client.get_shell_msg(timeout=60)
        parent = reply["parent_header"]["msg_id"]
        if parent == request:
            said.append(str(reply["content"].get("ename", reply["content"]["status"])))
        if parent == probe:
            return said


def timed(client: Any, line: str) -> float:
    start = time.monotonic()
    run(client, line)
    return time.monotonic() - start


def run(client: Any, code: str) -> None:
    reply = client.execute(code, reply=True, timeout=600)
    assert reply["content"]["status"] == "ok", reply["content"]


if __name__ == "__main__":
    main()
