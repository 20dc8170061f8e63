"""The documentation site: built without a warning, whole, and without a page that has to come from a network."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import pytest
from PIL import Image

import jupyter_hwprune
from jupyter_hwprune import report
from jupyter_hwprune.core.target import TARGETS
from jupyter_hwprune.mistakes.table import KINDS
from jupyter_hwprune.report.metrics import METRICS
from jupyter_hwprune.toolchains import environments, shipped

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


class Page(HTMLParser):
    """What a page links to, loads, and can be linked at."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loads: set[str] = set()
        self.anchors: set[str] = set()
        self.words = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.anchors |= {named[name] for name in ("id", "name") if name in named}
        if tag == "a" and "href" in named:
            self.links.add(named["href"])
        elif tag in {"script", "img", "iframe", "source"} and "src" in named:
            self.loads.add(named["src"])
        elif tag == "link" and "href" in named:
            self.loads.add(named["href"])

    def handle_data(self, data: str) -> None:
        self.words += data.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Page]:
    """Build as `make docs` does; return the pages by their paths."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-W",
            "--keep-going",
            "-n",
            "-q",
            "-d",
            folder / "doctrees",
            DOCS,
            folder / "html",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return {path.relative_to(folder / "html").as_posix(): Page(path) for path in (folder / "html").rglob("*.html")}


def test_each_target_and_each_toolchain_has_its_page(site: dict[str, Page]) -> None:
    for target in TARGETS:
        page = site[f"generated/targets/{target.name}.html"]
        for words in (
            target.chip,
            target.primary_constraint,
            target.common_mistake,
            *(rule.says for rule in target.rules),
        ):
            assert words in page.words
        assert target.vendor_page in page.links
        assert {f"../toolchains/{judge.toolchain}.html" for judge in target.judges} <= page.links
    for name in shipped():
        assert "installed by" in site[f"generated/toolchains/{name}.html"].words
    for name in environments.names():
        page, pins = site[f"generated/toolchains/{name}.html"], environments.pins_of(name)
        assert pins.python in page.words
        assert pins.licence is None or (pins.licence in page.words and pins.licence_page in page.links)


def test_the_page_of_python_has_every_public_name_and_every_part_of_a_report(site: dict[str, Page]) -> None:
    anchors = site["generated/api.html"].anchors
    assert {f"jupyter_hwprune.{name}" for name in jupyter_hwprune.__all__} <= anchors
    assert {"jupyter_hwprune.report.Evidence.kind", "jupyter_hwprune.report.Layer.valid"} <= anchors
    assert "jupyter_hwprune.MismatchError" in anchors


def test_the_page_of_the_schema_has_every_field(site: dict[str, Page]) -> None:
    page = site["generated/schema.html"]
    schema = json.loads((ROOT / "labextension" / "src" / "report.schema.json").read_text())
    assert {name.lower() for name in schema["$defs"]} <= page.anchors
    fields = {field for part in (schema, *schema["$defs"].values()) for field in part["properties"]}
    assert not {field for field in fields if field not in page.words}
    assert report.MIME_TYPE in page.words


def test_each_mistake_and_each_metric_has_its_place(site: dict[str, Page]) -> None:
    page = site["generated/mistakes.html"]
    for code, kind in KINDS.items():
        assert code.lower() in page.anchors
        assert all(said.replace("`", "") in page.words for said in (f"{code} {kind.title}", kind.when))
    assert not [name for name in METRICS if name not in site["generated/requirements.html"].words]


def test_the_options_are_those_of_the_magic(site: dict[str, Page], shell: Any) -> None:
    said = site["generated/options.html"].words
    parser = shell.find_line_magic("hwprune").parser
    assert not [flag for action in parser._actions for flag in action.option_strings if flag not in said]


def test_every_link_within_the_site_leads_somewhere(site: dict[str, Page]) -> None:
    broken = []
    for path, page in site.items():
        for link in page.links:
            address, anchor = urldefrag(link)
            if "://" in address or address.startswith("mailto:") or "_downloads" in address:
                continue
            there = (Path(path).parent / unquote(address)).as_posix() if address else path
            parts: list[str] = []
            for part in there.split("/"):
                parts = parts[:-1] if part == ".." else [*parts, part]
            found = site.get("/".join(parts))
            if found is None or (anchor and unquote(anchor) not in found.anchors):
                broken.append(f"{path}: {link}")
    assert not broken


def test_no_page_loads_anything_from_elsewhere(site: dict[str, Page]) -> None:
    assert not {load for page in site.values() for load in page.loads if load.startswith(("http:", "https:", "//"))}


def test_a_tutorial_has_the_outputs_of_the_very_cells_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(DOCS)
    tutorials: Any = importlib.import_module("pages.tutorials")
    monkeypatch.setattr(tutorials, "BUILD", tmp_path)
    page = "tutorials/00_quickstart.md"
    assert "shows the cells only" in tutorials.pages()[page]
    executed = json.loads((ROOT / "notebooks" / "00_quickstart.ipynb").read_text())
    ran = next(cell for cell in executed["cells"] if cell["cell_type"] == "code")
    ran["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["said by the run"]}]
    (tmp_path / "00_quickstart.ipynb").write_text(json.dumps(executed))
    assert "said by the run" in tutorials.pages()[page]
    ran["source"] = ["of_an_older_tutorial()"]
    (tmp_path / "00_quickstart.ipynb").write_text(json.dumps(executed))
    assert "shows the cells only" in tutorials.pages()[page]
    assert "of_an_older_tutorial" not in tutorials.pages()[page]


def test_the_sites_logo_is_the_icon_in_jupyterlab() -> None:
    shapes = re.findall(r' d="([^"]+)"', (DOCS / "_static" / "logo.svg").read_text())
    icon = (ROOT / "labextension" / "src" / "panel" / "icon.ts").read_text()
    assert shapes == re.findall(r' d="([^"]+)"', icon)


def test_the_readmes_links_lead_somewhere_and_its_pictures_are_small() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text())
    assert not [link for link in links if "://" not in link and not (ROOT / link).exists()]
    pictures = sorted(DOCS.glob("*.png"))
    assert {ROOT / link for link in links if link.endswith(".png")} <= set(pictures)
    for path in pictures:
        assert path.stat().st_size < 150_000
        with Image.open(path) as image:
            assert image.mode == "P"


def test_the_readme_and_the_site_say_the_same_of_installing() -> None:
    lines = [
        [
            line
            for line in path.read_text(encoding="utf-8").splitlines()
            if re.match(r"(\w+=1 )?pip install \S+ +#", line)
        ]
        for path in (ROOT / "README.md", DOCS / "install.md")
    ]
    assert len(lines[0]) == 3
    assert lines[0] == lines[1]
