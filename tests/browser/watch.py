"""All that a page says to its console, and what of it is a fault."""

from __future__ import annotations

import re

from playwright.sync_api import ConsoleMessage, Dialog, Error, Page

# faults of Jupyter's own code, which come without this extension too
FOREIGN = (
    # ipywidgets' manager looks for the kernel of a notebook that has none
    r"Cannot read properties of null \(reading 'kernel'\)[\s\S]*@jupyter-widgets/jupyterlab-manager",
    # the shortcuts' settings are looked for before they are loaded, where another plugin's come first
    r"Cannot read properties of undefined \(reading 'schema'\)\s+at \S+/(notebook|jlab)_core\.",
    # Notebook 7 asks for its file browser, now and then, before that is there
    r"Command 'filebrowser:open-path' not registered[\s\S]*/notebook_core\.",
)


class Watch:
    def __init__(self) -> None:
        self.said: list[str] = []
        self._faults: list[str] = []

    def over(self, page: Page) -> None:
        page.on("console", self._hear)
        page.on("pageerror", self._catch)
        page.on("dialog", self._dismiss)

    def complaints(self) -> list[str]:
        return [fault for fault in self._faults if not any(re.search(each, fault) for each in FOREIGN)]

    def _hear(self, message: ConsoleMessage) -> None:
        line = f"{message.type}: {message.text} ({message.location['url']})"
        self.said.append(line)
        if message.type == "error":
            self._faults.append(line)

    def _catch(self, error: Error) -> None:
        line = f"uncaught: {error.message}\n{error.stack}"
        self.said.append(line)
        self._faults.append(line)

    def _dismiss(self, dialog: Dialog) -> None:
        line = f"dialog ({dialog.type}): {dialog.message}"
        self.said.append(line)
        if dialog.type != "beforeunload":
            self._faults.append(line)
        dialog.accept()
