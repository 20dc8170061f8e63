from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from jupyter_hwprune.core.errors import ReportError
from jupyter_hwprune.report import SCHEMA_VERSION, Evidence, Report, Scores, Skipped, Untimed
from jupyter_hwprune.report.words import words_of
from tests.reports import compiled, estimated, layer, report

SMALL = report((layer("a", 8, 16), layer("b", 16, 8)), (Skipped("c", "Linear", (3, 3), "it does not fit"),))
UNKNOWN = dataclasses.replace(
    SMALL,
    measurement=Untimed(Evidence("unavailable", reason="it is not there", cure="install it")),
    check=None,
    scores=None,
    machine=None,
    other_kernels=None,
)


KINDS = pytest.mark.parametrize(
    "original",
    [SMALL, UNKNOWN, estimated(SMALL), compiled(SMALL)],
    ids=["measured", "not measured", "estimated", "compiled"],
)


@KINDS
def test_json_round_trips(original: Report) -> None:
    assert Report.from_json(original.to_json()) == original


@KINDS
def test_its_words_travel_with_it_and_are_made_anew_when_it_is_read(original: Report) -> None:
    data = json.loads(original.to_json())
    assert data["words"] == json.loads(json.dumps(dataclasses.asdict(words_of(original))))
    for words in ({}, None, "text", {"title": "another"}):
        assert Report.from_json(json.dumps(data | {"words": words})) == original
    del data["words"]
    assert Report.from_json(json.dumps(data)) == original


@pytest.mark.parametrize("original", [SMALL, UNKNOWN], ids=["measured", "not measured"])
def test_what_version_4_wrote_is_read(original: Report) -> None:
    data = json.loads(original.to_json())
    older = {name: value for name, value in data.items() if name not in {"words", "footprint"}} | {"schema_version": 4}
    del older["measurement"]["kind"]
    del older["request"]["on_host"], older["request"]["takes_dtype"]
    if original.timed is None:
        older["measurement"] |= {"clock": "cpu", "dense_ms": None, "pruned_ms": None}
    read = Report.from_json(json.dumps(older))
    assert read.measurement == original.measurement
    assert read.request == original.request
    assert {each.evidence for each in read.layers} == {"measured"}
    assert words_of(read).headline == words_of(original).headline


def damaged(change: Any) -> str:
    data = json.loads(SMALL.to_json())
    change(data)
    return json.dumps(data)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[]", "schema version None"),
        (damaged(lambda d: d.pop("schema_version")), "schema version None"),
        (damaged(lambda d: d.update(schema_version=SCHEMA_VERSION + 1)), f"reads versions 4 and {SCHEMA_VERSION}"),
        (damaged(lambda d: d.pop("totals")), "totals"),
        (damaged(lambda d: d["totals"].update(weights="many")), "weights"),
        (damaged(lambda d: d["layers"][0].update(valid="yes")), "valid"),
        (damaged(lambda d: d["measurement"]["comparison"].update(verdict="splendid")), "verdict"),
        (damaged(lambda d: d.update(extra=1)), "extra"),
        (damaged(lambda d: d.update(reasons="hello")), "not a list"),
        (damaged(lambda d: d.update(layers={})), "not a list"),
        (damaged(lambda d: d["measurement"]["comparison"].update(speedup=None)), "does not go with"),
        (damaged(lambda d: d["layers"][0]["picture"].update(tiles="AAAA")), "bytes"),
        (damaged(lambda d: d["layers"][0]["picture"].update(corner_columns=10**9)), "sides of a picture"),
        (SMALL.to_json().replace('"dense_ms":2.0', '"dense_ms":1e999'), "is not a finite number"),
        (SMALL.to_json().replace('"dense_ms":2.0', '"dense_ms":NaN'), "is not a finite number"),
        ("[" * 100_000, "not JSON"),
        (damaged(lambda d: d.update(layers=[{}] * 3000)), "damaged"),
    ],
)
def test_what_is_no_report_is_refused_with_the_place(text: str, said: str) -> None:
    with pytest.raises(ReportError) as caught:
        Report.from_json(text)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_it_is_frozen_through_and_through() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SMALL.chip = "another"  # type: ignore[misc]
    assert isinstance(SMALL.layers, tuple)


@pytest.mark.parametrize(
    ("pruned", "badge", "said"),
    [
        (0.89, "faster", "FASTER 1.98x, score 0.9 → 0.89"),
        (0.25, "faster at a cost", "FASTER 1.98x, score 0.9 → 0.25"),
        (None, "faster", "FASTER 1.98x, score not given"),
    ],
)
def test_the_headline_carries_the_score_and_is_coloured_by_both(pruned: float | None, badge: str, said: str) -> None:
    scores = None if pruned is None else Scores("accuracy", 0.9, pruned)
    words = words_of(dataclasses.replace(report((layer("a", 8, 8),)), scores=scores))
    assert (words.headline, words.badge) == (said, badge)
