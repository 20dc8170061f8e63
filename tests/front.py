"""A front end in few words: it keeps what a kernel shows, and its widgets can be filled in and clicked."""

from __future__ import annotations

import ast
import json
import queue
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyter_client.manager import KernelManager

ROOT = Path(__file__).parents[1]
PATIENCE_S = 60


class Front:
    """`widgets` are states by model id, `displays` mimebundles by display id, in the order in which they came.

    `printed` is all that came as a stream or an error.
    """

    def __init__(self) -> None:
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(cwd=str(ROOT), extra_arguments=["--IPKernelApp.log_level=ERROR"])
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE_S)
        self.widgets: dict[str, dict[str, Any]] = {}
        self.displays: dict[str, dict[str, Any]] = {}
        self.printed: list[str] = []
        self._ended: set[str] = set()

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()

    def start(self, code: str) -> str:
        """Send a cell, and do not wait for it."""
        return str(self.client.execute(code))

    def end(self, cell: str) -> dict[str, Any]:
        """Wait for a cell's last message and its reply."""
        self.until(lambda: cell in self._ended)
        while True:
            reply = self.client.get_shell_msg(timeout=PATIENCE_S)
            if reply["parent_header"].get("msg_id") == cell:
                content: dict[str, Any] = reply["content"]
                return content

    def run(self, code: str) -> dict[str, Any]:
        return self.end(self.start(code))

    def value(self, expression: str) -> Any:
        """Evaluate an expression of what JSON can say."""
        cell = self.client.execute("", user_expressions={"it": f"__import__('json').dumps({expression})"})
        answer = self.end(cell)["user_expressions"]["it"]
        assert answer["status"] == "ok", answer
        return json.loads(ast.literal_eval(answer["data"]["text/plain"]))

    def field(self, label: str) -> dict[str, Any]:
        self._hear()
        return self.widgets[self._model(label)]

    def fill(self, label: str, value: str) -> None:
        """Type into a field, or choose the option of a list that begins so; wait until the kernel knows it."""
        field = self.field(label)
        options = field.get("_options_labels")
        if options is None:
            state: dict[str, Any] = {"value": value}
        else:
            state = {"index": next(i for i, option in enumerate(options) if option.startswith(value))}
        field.update(state)
        self._send(self._model(label), {"method": "update", "state": state, "buffer_paths": []})
        self.run("")

    def click(self, label: str) -> None:
        self._send(self._model(label), {"method": "custom", "content": {"event": "click"}})

    def pages(self) -> str:
        """What stands in the HTML widgets, one after the other."""
        self._hear()
        return "\n".join(state["value"] for state in self.widgets.values() if state.get("_model_name") == "HTMLModel")

    def until(self, condition: Callable[[], Any], timeout_s: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            self._hear()
            if condition():
                return
            assert time.monotonic() < deadline, f"not within {timeout_s} s; the panel says: {self.pages()}"
            time.sleep(0.02)

    def _model(self, label: str) -> str:
        [model] = [each for each, state in self.widgets.items() if state.get("description") == label]
        return model

    def _send(self, model: str, data: dict[str, Any]) -> None:
        message = self.client.session.msg("comm_msg", {"comm_id": model, "data": data})
        self.client.shell_channel.send(message)

    def _hear(self) -> None:
        while True:
            try:
                message = self.client.get_iopub_msg(timeout=0)
            except queue.Empty:
                return
            self._take(message["msg_type"], message["content"], message["parent_header"].get("msg_id", ""))

    def _take(self, kind: str, content: dict[str, Any], parent: str) -> None:
        match kind:
            case "comm_open":
                self.widgets[content["comm_id"]] = dict(content["data"].get("state", {}))
            case "comm_msg" if content["data"].get("method") == "update":
                self.widgets.setdefault(content["comm_id"], {}).update(content["data"]["state"])
            case "comm_close":
                self.widgets.pop(content["comm_id"], None)
            case "display_data" | "update_display_data":
                self.displays[content["transient"].get("display_id", "")] = content["data"]
            case "stream":
                self.printed.append(content["text"])
            case "error":
                self.printed.append("\n".join(content["traceback"]))
            case "status" if content["execution_state"] == "idle":
                self._ended.add(parent)
