"""What viewers leave of a report that strip styles, classes and pictures, as GitHub's notebook viewer does."""

from __future__ import annotations

import dataclasses
import re

import pytest

from jupyter_hwprune.core.target import TARGETS
from jupyter_hwprune.render import mimebundle
from jupyter_hwprune.report import Comparison, Curve, Evidence, Point, Report, Sensitivity
from jupyter_hwprune.report.words import facts
from jupyter_hwprune.survey import simulation
from jupyter_hwprune.survey.doctor import doctor
from jupyter_hwprune.survey.matrix import TargetHere, Targets
from tests.reports import layer, report
from tests.sanitised import as_on_github
from tests.test_render import Page
from tests.test_report import SMALL, UNKNOWN

SCAN = Sensitivity("output error", tuple(Curve(name, 128, (Point(0.5, 0.1), Point(0.9, 0.4))) for name in "ab"), 64, 9)
SCANNED = dataclasses.replace(SMALL, sensitivity=SCAN)
MANY = report(tuple(layer(f"model.layers.{i}.mlp", 32, 32) for i in range(60)))
REPORTS = pytest.mark.parametrize(
    "shown", [SMALL, UNKNOWN, SCANNED, MANY], ids=["measured", "not measured", "scanned", "60 layers"]
)


@REPORTS
def test_no_word_of_a_report_is_lost_with_its_styles_and_pictures(shown: Report) -> None:
    html = mimebundle(shown)["text/html"]
    left = as_on_github(html)
    assert Page(left).words == Page(html).words
    assert "style" not in Page(left).attributes
    assert "data:" not in left


@REPORTS
def test_every_picture_that_is_not_shown_says_what_it_would_show_and_where_that_stands(shown: Report) -> None:
    left = as_on_github(mimebundle(shown)["text/html"])
    pictures = left.count("<img")
    assert pictures == left.count('<img alt="') >= 1
    assert "src=" not in left
    assert "in letters below" in left
    assert ("What pruning each layer alone does" in left) == (shown.sensitivity is not None)


@REPORTS
def test_the_structure_stays_that_a_reader_finds_their_way_by(shown: Report) -> None:
    page = Page(as_on_github(mimebundle(shown)["text/html"]))
    assert not page.open
    assert {"table", "th", "td", "b", "details", "summary", "pre"} <= set(page.tags)
    assert {"align", "scope"} <= page.attributes
    assert all(fact.name.replace(" ", "\N{NO-BREAK SPACE}") in page.words for fact in facts(shown))


def test_a_slower_layer_has_the_longer_bar_in_letters() -> None:
    slower = dataclasses.replace(SMALL.layers[0], dense_us=100.0, pruned_us=400.0)
    left = as_on_github(mimebundle(dataclasses.replace(SMALL, layers=(slower,)))["text/html"])
    assert re.findall(r"<span>([^<]*)</span>", left) == ["██▌", "██████████"]


def test_what_the_other_calls_return_loses_no_word_either() -> None:
    evidence = Evidence("simulated kernels", device="a CPU")
    speed = Comparison(1.5, 1.4, 1.6, 0.03, "faster")
    rows = (simulation.Simulated(0.9, 2.0, (2.0,), speed),)
    simulated = simulation.Simulation("net", "x86-cpu", "deepsparse", 1, evidence, 3.0, rows, "kernels alone")
    missing = Evidence("unavailable", reason="it is not there", cure="install it")
    matrix = Targets(tuple(TargetHere(target, {}, {"its own": missing}) for target in TARGETS))
    for found in (simulated, matrix, doctor("intel-cpu")):
        html = found._repr_mimebundle_()["text/html"]
        left = as_on_github(html)
        assert Page(left).words == Page(html).words
        assert not Page(left).open
