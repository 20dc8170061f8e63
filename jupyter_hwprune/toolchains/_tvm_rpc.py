"""A board that TVM's own RPC reaches: libraries are uploaded, run there, and timed by the board's own clock.

On the board runs `python -m tvm.exec.rpc_server`, alone or registered at a tracker under a key. The session ends with
the worker, and the server then removes what was uploaded.
"""

from __future__ import annotations

import functools
import itertools
import os
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._tvm_program import Compiled
    from .contract import Settings

REACH_S = 10  # to wait for a connection
UPLOADS = itertools.count()


def board(settings: Settings) -> dict[str, Any]:
    """Connect to the board, and return it as a device; raises RuntimeError if nothing there answers."""
    _session(settings["rpc"], settings["rpc_key"])
    return {"kind": "board", "identities": [settings["device"]], "label": _named(settings)}


def _named(settings: Settings) -> str:
    key = settings["rpc_key"]
    return "the board %s%s" % (key + " of the tracker at " if key else "at ", settings["rpc"])


@functools.lru_cache(maxsize=1)
def _session(address: str, key: str) -> Any:
    from tvm import rpc

    host, _, port = address.rpartition(":")
    try:
        if not key:
            return rpc.connect(host, int(port))
        socket.create_connection((host, int(port)), REACH_S).close()  # TVM itself would try again for a minute
        tracker = rpc.connect_tracker(host, int(port))
        there = sorted({each["key"].partition(":")[2] for each in tracker.summary()["server_info"]})
    except Exception as error:
        what = "tracker" if key else "RPC server"
        raise RuntimeError("no %s of TVM answers at %s: %s" % (what, address, _first_line(error))) from error
    if key not in there:
        known = "it has " + ", ".join(there) if there else "none is registered there"
        raise RuntimeError("the tracker at %s has no board %s: %s" % (address, key, known))
    return tracker.request(key, max_retry=1)  # waits until one is free


class Running:
    """A library on the board, with its inputs there."""

    def __init__(self, compiled: Compiled, inputs: dict[str, Any], settings: Settings) -> None:
        import numpy as np
        import tvm
        from tvm import relax

        if compiled.shapes:
            raise RuntimeError("TVM's RPC sends arrays only, and this program takes shapes too")
        self.named = _named(settings)
        self.board = _session(settings["rpc"], settings["rpc_key"])
        self.cpu = self.board.cpu()
        pool = self._answer(self.board.get_function, "runtime.config_threadpool")
        self._answer(pool, 1, settings["threads"])
        self.machine = self._answer(relax.VirtualMachine, self._loaded(compiled.files["library"]), self.cpu)
        given = [np.ascontiguousarray(inputs[name]) for name in compiled.inputs]
        self._answer(lambda: self.machine.set_input("main", *(tvm.runtime.tensor(each, self.cpu) for each in given)))

    def run(self) -> None:
        self._answer(self.machine.invoke_stateful, "main")

    def finish(self) -> None:
        """Do nothing: a run has finished when the board answers."""

    def outputs(self) -> list[Any]:
        self.run()
        found = self._answer(self.machine.get_outputs, "main")
        return [self._answer(each.numpy) for each in (found if isinstance(found, tuple) else [found])]

    def seconds(self, count: int) -> float:
        timer = self._answer(self.machine.time_evaluator, "invoke_stateful", self.cpu, count)
        return float(self._answer(timer, "main").mean) * count

    def _loaded(self, library: str) -> Any:
        """Upload a library, under a name of its own: the same model may be there twice."""
        name = "%d-%s" % (next(UPLOADS), os.path.basename(library))
        self._answer(self.board.upload, library, name)
        return self._answer(self.board.load_module, name)

    def _answer(self, ask: Any, *given: Any) -> Any:
        try:
            return ask(*given)
        except Exception as error:
            raise RuntimeError("%s failed, or is gone: %s" % (self.named, _first_line(error))) from error


class Profile(Running):
    """Each kernel alone, on arrays of zeros: TVM's instrument cannot look through RPC."""

    def __init__(self, compiled: Compiled, library: str, inputs: dict[str, Any], settings: Settings) -> None:
        import numpy as np
        import tvm

        super().__init__(compiled, inputs, settings)
        self.calls = compiled.calls
        kernels = self._loaded(library)
        self.timers = []
        for each in self.calls:
            zeros = [np.zeros([int(size) for size in kind.shape], str(kind.dtype)) for kind in each.tensors]
            given = [self._answer(tvm.runtime.tensor, value, self.cpu) for value in zeros]
            self.timers.append((self._answer(kernels.time_evaluator, each.kernel, self.cpu, 1), given))
        self.samples: list[list[float]] = [[] for _ in self.timers]

    def run(self) -> None:
        for (timer, given), samples in zip(self.timers, self.samples):
            samples.append(float(self._answer(timer, *given).mean) * 1e6)

    def kernels(self) -> list[Any]:
        return [
            {"names": each.nodes, "op": each.op, "kernel": each.kernel, "sparse": False, "us": us}
            for each, us in zip(self.calls, self.samples)
        ]


def _first_line(error: BaseException) -> str:
    said = [each for each in str(error).splitlines() if each.strip() and not each.startswith("RPCError: Error caught")]
    return said[0].strip() if said else type(error).__name__
