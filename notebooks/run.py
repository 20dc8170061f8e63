"""Run a tutorial in a Jupyter kernel and write the executed notebook and its page: `python notebooks/run.py NAME`."""

import pathlib
import sys

import nbformat
from nbclient import NotebookClient
from nbconvert import HTMLExporter

HERE = pathlib.Path(__file__).parent
BUILD = HERE.parent / "build"
REPORT = "application/vnd.hwprune.report+json"


def main(name: str) -> None:
    notebook = nbformat.read(HERE / f"{name}.ipynb", as_version=4)
    client = NotebookClient(notebook, timeout=1800, kernel_name="python3", resources={"metadata": {"path": str(HERE)}})
    client.extra_arguments = ["--IPKernelApp.log_level=ERROR"]
    client.execute()
    BUILD.mkdir(exist_ok=True)
    nbformat.write(notebook, BUILD / f"{name}.ipynb")
    page, _ = HTMLExporter().from_notebook_node(notebook)
    (BUILD / f"{name}.html").write_text(page, encoding="utf-8")
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if REPORT in output.get("data", {}):
                print(output["data"]["text/plain"].split("\n\n  layer ")[0] + "\n")
    print(f"The finished page:     {BUILD / name}.html\nThe executed notebook: {BUILD / name}.ipynb")


if __name__ == "__main__":
    main(sys.argv[1])
