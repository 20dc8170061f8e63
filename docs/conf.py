# ruff: noqa: INP001  (read by Sphinx, no package)
"""The documentation site: `sphinx-build -W --keep-going -n docs build/docs`. It needs no network."""

from __future__ import annotations

import sys
from pathlib import Path

import jupyter_hwprune

sys.path.insert(0, str(Path(__file__).parent))  # for `pages`, which makes pages from the package's own data

project = "jupyter-hwprune"
author = "the jupyter-hwprune authors"
version = release = jupyter_hwprune.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_design", "pages"]
exclude_patterns = ["recorded", "generated/parts"]  # included by other pages
default_role = "code"  # a docstring's single backticks are code
smartquotes_action = "qe"  # quotes and dots, but not dashes: those are options

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "undoc-members": True}
python_maximum_signature_line_length = 110
python_display_short_literal_types = True
nitpick_ignore_regex = [("py:.*", r"(torch|nn|pathlib|collections|contextlib|typing|IPython|numpy)\b.*")]

html_theme = "pydata_sphinx_theme"
html_title = "jupyter-hwprune"
html_logo = "_static/logo.svg"
html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_sidebars: dict[str, list[str]] = {
    name: [] for name in ("index", "install", "jupyterlab", "lab", "reading", "changelog", "generated/*")
}  # they have no pages below
html_theme_options = {
    "logo": {"text": "hwprune", "alt_text": "jupyter-hwprune, start page"},
    "header_links_before_dropdown": 8,
    "navbar_align": "left",
    "navigation_with_keys": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "show_nav_level": 2,
    "show_toc_level": 2,
    "show_prev_next": False,
    "footer_start": ["licence"],
    "footer_end": [],
}
templates_path = ["_templates"]
