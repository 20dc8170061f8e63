"""What a person does in JupyterLab, said in few words; every step waits until it is done."""

from __future__ import annotations

import itertools
import re
from typing import Any
from urllib.parse import quote

from playwright.sync_api import Locator, Page, expect

from .server import TOKEN, Server

NUMBERED = re.compile(r"\[\d+\]:")
_workspaces = itertools.count()


class Lab:
    def __init__(self, page: Page, server: Server) -> None:
        self.page, self.server = page, server

    def start(self, path: str = "") -> None:
        """Open JupyterLab in a workspace of its own, and there the document at `path`, if any."""
        self._go(f"lab/workspaces/test-{next(_workspaces)}" + (f"/tree/{path}" if path else ""))

    def open(self, path: str) -> None:
        """Open JupyterLab with a notebook, and wait for its kernel."""
        self.start(path)
        self.wait_for_kernel()

    def open_without_kernel(self, path: str) -> None:
        self.start()
        self.command("docmanager:open", path=path, kernelPreference={"shouldStart": False, "canStart": False})
        expect(self.cell(0)).to_be_visible()
        assert self.server.call("GET", "kernels") == []

    def open_notebook7(self, path: str) -> None:
        self._go(f"notebooks/{path}")
        self.wait_for_kernel()

    def wait_for_kernel(self) -> None:
        """Wait until the notebook in front has a kernel that has told who it is: before, what is typed may be lost."""
        self.page.wait_for_function(
            """() => {
                const context = window.jupyterapp.shell.currentWidget?.sessionContext;
                return context?.isReady && context.session?.kernel;
            }"""
        )
        self.page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.info")
        self.page.wait_for_function(
            "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'"
        )

    def open_side_panel(self) -> Locator:
        """Open it by its button in the notebook's toolbar."""
        self.panel.locator('[data-command="hwprune:open-panel"]').click()
        side = self.page.get_by_role("region", name="Prune for a chip")
        expect(side).to_be_visible()
        return side

    def use_theme(self, name: str) -> None:
        """Have JupyterLab wear a theme; it hides itself for a frame when the new style sheet is there."""
        self.command("apputils:change-theme", theme=name)
        expect(self.page.locator("body")).to_have_attribute("data-jp-theme-name", name)
        self.settle()
        expect(self.panel).to_be_visible()

    def settle(self) -> None:
        """Wait until what has changed is drawn."""
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def command(self, name: str, **arguments: Any) -> None:
        self.page.evaluate("([name, args]) => window.jupyterapp.commands.execute(name, args)", [name, arguments])

    @property
    def panel(self) -> Locator:
        """The notebook in front."""
        return self.page.locator(".jp-NotebookPanel:visible")

    def cell(self, index: int) -> Locator:
        return self.panel.locator(".jp-Notebook .jp-Cell").nth(index)

    def output(self, index: int) -> Locator:
        return self.cell(index).locator(".jp-OutputArea-output")

    def file(self, name: str) -> Locator:
        """Return its line in the file browser."""
        return self.page.locator(".jp-DirListing-item").filter(has=self.page.get_by_text(name, exact=True))

    def start_cell(self, index: int) -> None:
        self.cell(index).locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")

    def run(self, index: int) -> Locator:
        """Run a cell, wait until it has ended, and return its outputs."""
        before = self.prompt(index).inner_text()
        self.start_cell(index)
        self.wait_for_end(index, before)
        return self.output(index)

    def wait_for_end(self, index: int, before: str = "[ ]:") -> None:
        expect(self.prompt(index)).not_to_have_text(before)
        expect(self.prompt(index)).to_have_text(NUMBERED)

    def prompt(self, index: int) -> Locator:
        return self.cell(index).locator(".jp-InputPrompt")

    def save(self) -> None:
        self.command("docmanager:save")

    def _go(self, path: str) -> None:
        self.page.goto(f"{self.server.url}/{quote(path)}?token={TOKEN}")
        self.page.wait_for_function("() => window.jupyterapp")
        self.page.evaluate("window.jupyterapp.restored")
