"""What people see, drawn from data alone."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from PIL import Image

from jupyter_hwprune.pruning.masks import keep_n_of_m, keep_top
from jupyter_hwprune.pruning.picture import draw
from jupyter_hwprune.render import blocks, mimebundle, text
from jupyter_hwprune.render.fit import corner_of, fit, tiles_of
from jupyter_hwprune.report import (
    MIME_TYPE,
    NOT_COMPARED,
    Comparison,
    Curve,
    EvidenceKind,
    OtherKernels,
    Point,
    Report,
    Scores,
    Sensitivity,
    Skipped,
)
from jupyter_hwprune.report.words import words_of
from tests.reports import compiled, estimated, layer, report
from tests.test_report import SMALL, UNKNOWN

ROOT = Path(__file__).parents[1]
LIMIT = 256 * 1024
POINTS = tuple(Point(share, share**3 / 7) for share in (0.25, 0.5, 0.7, 0.8, 0.9, 0.95))
SCAN = Sensitivity("output error", tuple(Curve(f"layer{i}", 4096, POINTS) for i in range(168)), 64, 1009)


def size(bundle: dict[str, Any]) -> int:
    return sum(len(json.dumps(value)) for value in bundle.values())


class Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in {"img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def test_a_report_as_the_last_expression_of_a_cell_is_drawn_as_its_run_is(tmp_path: Path) -> None:
    own = report((layer("fc", 8, 16),))
    data, _ = DisplayFormatter().format(own)
    assert data == mimebundle(own)
    assert {"text/plain", "text/html", MIME_TYPE} <= set(data)
    own.save(tmp_path / "own.json")
    code = (
        "import sys; from jupyter_hwprune import Report; Report.load(sys.argv[1])._repr_mimebundle_()\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "own.json"], check=True)  # a file is shown without it


def test_every_form_is_there() -> None:
    bundle = mimebundle(SMALL)
    assert set(bundle) == {"text/plain", "text/html", "image/png", MIME_TYPE}
    assert Report.from_json(json.dumps(bundle[MIME_TYPE])) == SMALL


def test_the_verdict_comes_first_and_the_words_are_the_same_everywhere() -> None:
    bundle = mimebundle(SMALL)
    page = Page(bundle["text/html"])
    for words in ("FASTER 1.98x", "95 % interval", "noise floor", "onnxruntime 1", "0.9 → 0.8", "because"):
        assert words in bundle["text/plain"], words
        assert words in page.words, words
    assert bundle["text/plain"].index("FASTER") < bundle["text/plain"].index("layer")


def test_the_page_is_well_formed_and_holds_no_script() -> None:
    page = Page(mimebundle(SMALL)["text/html"])
    assert not page.open
    assert not {"script", "style", "iframe", "link", "object"} & set(page.tags)
    assert not {name for name in page.attributes if name.startswith("on")}


def test_hostile_names_stay_names() -> None:
    evil = '<script>alert(1)</script>"><img src=x onerror=alert(1)>'
    data = json.loads(SMALL.to_json())
    data["request"]["model"] = data["layers"][0]["name"] = data["layers"][0]["kernel"] = evil
    data["skipped"][0]["reason"] = data["reasons"][0] = data["measurement"]["evidence"]["device"] = evil
    page = Page(mimebundle(Report.from_json(json.dumps(data)))["text/html"])
    assert page.tags.count("img") == 1
    assert "script" not in page.tags


def test_what_is_unknown_says_so_and_is_never_zero() -> None:
    bare = dataclasses.replace(
        UNKNOWN,
        layers=tuple(
            dataclasses.replace(each, dense_us=None, pruned_us=None, used=None, kernel=None, pruned_kernel=None)
            for each in UNKNOWN.layers
        ),
    )
    bundle = mimebundle(bare)
    for shown in (bundle["text/plain"], Page(bundle["text/html"]).words):
        assert "not measured" in shown
        assert "install it" in shown
        assert not re.search(r"\b0(\.0*)? (ms|us|µs)", shown)


def test_an_estimate_is_never_shown_as_a_verdict() -> None:
    bundle = mimebundle(estimated(SMALL))
    page = Page(bundle["text/html"])
    for shown in (bundle["text/plain"], page.words):
        assert "estimated 1.79x by a compiler for a chip, cycles" in shown
        assert "5 M cycles → 2.8 M cycles" in shown
        assert "estimate, cycles" in shown
        assert "1.25 MB → 700 kB (-44 %)" in shown
        assert "no such chip is here" in shown
        assert not re.search(r"FASTER|SLOWER|ESTIMATED|MEASURED|noise|interval|µs| ms\b", shown)
    assert not re.search("background:#|0072B2|B34700", bundle["text/html"])
    assert bundle[MIME_TYPE]["words"]["badge"] == "estimated"


def test_what_was_only_compiled_says_its_size_why_it_was_not_timed_and_the_cure() -> None:
    bundle = mimebundle(compiled(SMALL))
    for shown in (bundle["text/plain"], Page(bundle["text/html"]).words):
        for words in ("compiled, not timed", "1.25 MB → 700 kB (-44 %)", "no such chip is here", "where there is one"):
            assert words in shown, words
        assert "NOT MEASURED" not in shown
    assert "background:#" not in bundle["text/html"]


def test_the_head_of_the_table_says_what_its_times_rest_on_where_that_is_no_measurement() -> None:
    def head(*kinds: EvidenceKind) -> str:
        layers = [dataclasses.replace(each, evidence=kind) for each, kind in zip(SMALL.layers, kinds, strict=True)]
        columns = words_of(dataclasses.replace(SMALL, layers=tuple(layers))).columns
        return next(column.name for column in columns if column.key == "time")

    assert head("measured", "measured") == "time, µs"
    assert head("simulated kernels", "simulated kernels") == "time, µs (simulated kernels)"
    assert head("measured", "simulated kernels") == "time, µs (measured, simulated kernels)"


def test_the_typical_gain_names_its_source() -> None:
    shown = text(dataclasses.replace(SMALL, typical_speedup="1.5-2x"))
    assert "1.5-2x for this chip, from the strategy matrix (%hwprune targets); not a measurement" in shown


@pytest.mark.parametrize("folder", ["jupyter_hwprune/render", "jupyter_hwprune/report/words", "labextension/src/view"])
def test_what_draws_reports_names_no_vendor_and_no_toolchain(folder: str) -> None:
    names = re.compile(
        "nvml|nsight|tensorrt|cusparselt|deepsparse|tensor core|cuda|nvidia|openvino|onnxruntime|intel", re.IGNORECASE
    )
    paths = [path for path in (ROOT / folder).rglob("*") if path.suffix in {".py", ".ts"}]
    assert len(paths) > 3
    assert not {path.name: found for path in paths if (found := names.findall(path.read_text(encoding="utf-8")))}


def test_a_scan_is_drawn_and_its_numbers_stand_below() -> None:
    shown = mimebundle(dataclasses.replace(SMALL, sensitivity=dataclasses.replace(SCAN, curves=SCAN.curves[:3])))
    page = Page(shown["text/html"])
    assert page.tags.count("img") == 2
    assert "how sensitive each layer is" in page.words
    assert "least goes of" in shown["text/plain"]
    assert Report.from_json(json.dumps(shown[MIME_TYPE])).sensitivity is not None


def test_kernels_that_nobody_saw_have_no_line() -> None:
    unseen = dataclasses.replace(SMALL, other_kernels=OtherKernels(None, None))
    assert "no pruned layer: 10.0 µs → 11.0 µs" in mimebundle(SMALL)["text/plain"]
    for shown in mimebundle(unseen).values():
        assert "no pruned layer" not in str(shown)


@pytest.mark.parametrize("columns", [120, 80, 40])
def test_text_fits_a_terminal(columns: int) -> None:
    wide = dataclasses.replace(SMALL, layers=(layer("a.very" * 30, 4096, 1024), *SMALL.layers))
    shown = text(wide, columns)
    assert max(map(len, shown.splitlines())) <= columns
    for words in ("FASTER 1.98x", "1 thread", "because", "a.ve", "valid", "used", "speed"):
        assert words in shown, words


def test_a_notebook_gets_lines_of_one_width_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    long = dataclasses.replace(SMALL, reasons=("word " * 100,))
    monkeypatch.setenv("COLUMNS", "50")
    assert 110 < max(map(len, mimebundle(long)["text/plain"].splitlines())) <= 120


def test_a_line_never_begins_with_a_unit() -> None:
    for width in range(60, 122):
        assert not re.search(r"\d\n *(%|(ms|µs|[kM]?B)\b)", text(SMALL, width))


def test_an_option_is_not_broken_at_its_hyphens() -> None:
    reason = "where there is another machine, use it with --target x86-cpu:openvino --pattern channel/8 instead of this"
    for columns in range(60, 121):
        shown = text(dataclasses.replace(SMALL, reasons=(reason,)), columns)
        assert "x86-cpu:openvino" in shown
        assert "--pattern" in shown


def test_masks_in_letters_are_the_masks() -> None:
    drawn = layer("encoder", 512, 512)
    assert drawn.picture is not None
    head, *lines = blocks.mask(drawn, drawn.picture).splitlines()
    assert head == "encoder, 512 x 512, 50 % kept, valid: yes"
    pairs = {" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}
    rows = [[pairs[letter] for letter in line.split("│")[3]] for line in lines]
    read = np.array(rows, bool).transpose(0, 2, 1).reshape(-1, 32)  # [lines, columns, 2] -> [rows, columns]
    assert (read == corner_of(drawn.picture)[: len(read)]).all()
    assert {letter for line in lines for letter in line.split("│")[1]} == {"▒"}  # half of each tile is kept


def test_a_page_shows_bars_and_masks_without_styles_or_pictures() -> None:
    page = Page(mimebundle(SMALL)["text/html"])
    assert "█████" in page.words  # the dense time; the pruned one is half as long
    assert "the masks in letters" in page.words
    assert all(f"{each.name}, {each.shape[0]} x " in page.words for each in SMALL.layers[:4])


def test_a_billion_parameters_stay_small_and_draw_in_seconds() -> None:
    """The shapes of a seven-billion-parameter decoder, down to its last 1.2 billion; one mask at a time in memory."""
    shapes = [(2048, 2048)] * 96 + [(5632, 2048)] * 48 + [(2048, 5632)] * 24
    start = time.perf_counter()
    large = report(tuple(layer(f"model.layers.{i}.proj", *shape) for i, shape in enumerate(shapes)))
    assert large.totals.weights > 1.2e9
    drawn = time.perf_counter()
    bundle = mimebundle(large)
    assert size(bundle) <= LIMIT
    assert time.perf_counter() - drawn < 20
    assert drawn - start < 240
    shown = Report.from_json(json.dumps(bundle[MIME_TYPE]))
    assert len(shown.layers) == 168
    assert shown.omitted
    assert "reduced" in bundle["text/plain"]


@pytest.mark.parametrize(
    "odd",
    [
        report(()),
        report(tuple(layer(f"layer{i}", 8, 8) for i in range(2000))),
        report(tuple(layer("n" * 100_000, 8, 8) for _ in range(5))),
        dataclasses.replace(SMALL, reasons=("r" * 1_000_000,)),
        dataclasses.replace(SMALL, request=dataclasses.replace(SMALL.request, model="m" * 1_000_000)),
        dataclasses.replace(
            SMALL, skipped=tuple(Skipped(f"s{i}", "Linear", (1, 1), f"r{i}" * 50) for i in range(5000))
        ),
        dataclasses.replace(SMALL, reasons=("'" * 1000,) * 100, versions={f"v{i}": "'" * 900 for i in range(20_000)}),
        dataclasses.replace(SMALL, chip="'" * 90_000, scores=Scores("'" * 100_000, 1.0, 1.0)),
        dataclasses.replace(SMALL, request=dataclasses.replace(SMALL.request, model="$x_{$ \ud800 模型")),
        dataclasses.replace(report(tuple(layer(f"layer{i}", 64, 64) for i in range(168))), sensitivity=SCAN),
    ],
    ids=[
        "no layer",
        "2000 layers",
        "long names",
        "long reason",
        "long model",
        "many skipped",
        "many quotes",
        "long chip",
        "odd letters",
        "a scan of 168 layers",
    ],
)
def test_no_report_is_too_large(odd: Report) -> None:
    bundle = mimebundle(odd)
    assert size(bundle) <= LIMIT
    assert not Page(bundle["text/html"]).open


def test_the_corner_tells_2_to_4_from_half_at_random_where_density_cannot() -> None:
    scores = torch.rand(256, 256)
    structured, random = draw(keep_n_of_m(scores, 2, 4)), draw(keep_top(scores, scores.numel() // 2))
    assert np.abs(tiles_of(structured) - 0.5).max() < 0.01
    assert np.abs(tiles_of(random) - 0.5).max() < 0.25
    groups = corner_of(structured).reshape(32, 8, 4).sum(-1)
    assert (groups == 2).all()
    assert not (corner_of(random).reshape(32, 8, 4).sum(-1) == 2).all()


def test_smaller_pictures_keep_the_density() -> None:
    large = report(tuple(layer(f"l{i}", 128, 128) for i in range(200)))
    small = fit(large, 96 * 1024)
    for before, after in zip(large.layers, small.layers, strict=True):
        if after.picture is not None:
            assert before.picture is not None
            assert tiles_of(after.picture).mean() == pytest.approx(tiles_of(before.picture).mean(), abs=0.01)


def test_the_picture_is_a_png_that_stands_out_on_light_and_dark_pages() -> None:
    raw = base64.b64decode(mimebundle(SMALL)["image/png"])
    image = Image.open(io.BytesIO(raw)).convert("RGB")
    assert image.getpixel((1, 1)) == (255, 255, 255)  # its own paper, so the page's colour does not matter
    assert image.width > 400


def test_drawing_leaves_matplotlib_as_it_was() -> None:
    before = dict(mpl.rcParams)
    with mpl.rc_context({"text.usetex": True, "font.size": 40}):
        mimebundle(SMALL)
    assert dict(mpl.rcParams) == before


def test_long_names_keep_what_tells_them_apart() -> None:
    parts = ("intermediate", "output", "attention.output")
    names = [f"bert.encoder.layer.{number}.{part}.dense" for number in (0, 1, 10, 11) for part in parts]
    said = text(report(tuple(layer(name, 8, 8) for name in [*names, "classifier"])), 120)
    rows = [line.split()[0] for line in said.splitlines() if line.strip().endswith("yes") or "8x8" in line]
    assert len(rows) == len({*rows}) == len(names) + 1
    assert {"…10.output.dense", "…1.output.dense", "classifier"} < {*rows}


def test_a_number_is_said_with_what_it_is_of() -> None:
    plain = report((layer("2.0", 32, 32), layer("head", 32, 32)))
    plain = replace(plain, request=replace(plain.request, pattern="channel/8"))
    noise = Comparison(1.0, 0.97, 1.03, 0.031, "no measurable gain")
    stem = replace(plain.layers[0], sparsity=0.75, speed=noise, macs=None)
    head = replace(plain.layers[1], speed=NOT_COMPARED, dense_us=9.0, pruned_us=5.0)
    shown = text(replace(plain, layers=(stem, head)))
    assert "channel/8 at 50 % of channels" in shown
    assert "where 50 % of both go, so do 75 % of its weights" in " ".join(shown.split())
    assert "2.0 Linear" in shown
    assert "head Linear" not in shown
    assert "within noise, 3.1 %" in shown
    assert "no verdict" in shown
    half = words_of(replace(plain, layers=(stem, replace(head, dense_us=None)))).columns
    cells = {column.key: column.cells for column in half}
    assert (cells["macs"][0], cells["time"][1]) == ("not measured", "not measured")  # and no half of it
    assert "of both go" not in text(replace(plain, layers=(head,)))


def test_a_notebook_keeps_every_one_of_300_layers_and_says_what_it_left_out() -> None:
    kernel = "Conv_NCHWc_with_a_bias_and_an_activation_fused_into_it_and_a_name_of_a_compiler_s_own_making"
    one = dataclasses.replace(layer("0", 64, 64), kernel=kernel, pruned_kernel=kernel, served_by=("openvino",))
    alone = dataclasses.replace(one, alone=one.speed, rows=64)
    large = report(tuple(dataclasses.replace(alone, name=f"backbone.stages.{i}.conv") for i in range(300)))
    bundle = mimebundle(large)
    assert size(bundle) <= LIMIT
    shown = Report.from_json(json.dumps(bundle[MIME_TYPE]))
    assert {each.name for each in shown.layers} == {each.name for each in large.layers}
    assert all((each.dense_us, each.speed) == (one.dense_us, one.speed) for each in shown.layers)
    assert "no heatmaps, and of a layer only its main numbers" in shown.omitted[0]
    for form in ("text/plain", "text/html"):
        assert "All of it is in run.report" in " ".join(bundle[form].split())


def test_heatmaps_and_details_of_layers_go_before_layers_do() -> None:
    one = dataclasses.replace(layer("0", 64, 64), served_by=("openvino",))
    large = report(tuple(dataclasses.replace(one, name=f"stage.{i}", dense_us=float(i)) for i in range(240)))
    kept = [fit(large, kb * 1024) for kb in (1000, 144, 120, 90)]
    assert all(len(small.layers) == 240 for small in kept)
    heatmaps = [sum(each.picture is not None for each in small.layers) for small in kept]
    assert heatmaps == sorted(heatmaps, reverse=True)
    assert (heatmaps[0], heatmaps[-1]) == (240, 6)
    assert kept[-2].layers[0].served_by == ("openvino",)
    assert kept[-1].layers[0].served_by is None
    assert "only the 6 costliest of 240 layers have a heatmap; layers have no other toolchains" in kept[-1].omitted[0]


def test_of_2000_layers_a_notebook_keeps_the_costliest() -> None:
    plain = [layer(f"layer{i}", 8, 8) for i in range(2000)]
    large = report(tuple(dataclasses.replace(each, dense_us=float(i)) for i, each in enumerate(plain)))
    shown = Report.from_json(json.dumps(mimebundle(large)[MIME_TYPE]))
    kept = len(shown.layers)
    assert kept > 300
    assert [each.dense_us for each in shown.layers] == [1999.0 - i for i in range(kept)]
    assert f"only the {kept} costliest of 2000 pruned layers are here" in shown.omitted[0]
