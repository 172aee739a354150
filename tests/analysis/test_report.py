from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from populations import make_results, make_table

from designspace.analysis.edf import edf
from designspace.analysis.figures import Drawing, draw_edf, new_axes, svg_text
from designspace.analysis.report import ReportContent, inline_svg, render_report
from designspace.analysis.report_data import as_json, edf_position, trial_data
from designspace.analysis.results import Results
from designspace.analysis.study import analyze
from designspace.analysis.tables import Table
from designspace.trials.trial import EpochRecord

HOSTILE = ("<script>alert(1)</script>", "</svg><img src=x onerror=alert(1)>", "]]><b>", "--><i>", "\"'&amp;$^{")
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """The elements of a page, checked to be nested properly."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.tags, self.attributes, self.text, self.scripts = [], Counter(), [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        (self.scripts if self.open and self.open[-1] == "script" else self.text).append(data)

    def values(self, *names):
        return [value for name, value in self.attributes if name in names]


def page_of(folder):
    return Page((folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture
def runs():
    a = make_results("AnyNetXA", [40.0 + i for i in range(12)], failed=[("diverged", "loss is nan")], waiting=2)
    return [a, make_results("RegNetX", [35.0 + i / 4 for i in range(14)], tag="b")]


def test_the_report_is_well_formed_and_self_contained(runs, tmp_path):
    analyze(runs, tmp_path, {"commit": "abc"})
    page = page_of(tmp_path)
    assert page.tags["svg"] == 6  # EDFs, effects, pairs, search, Pareto fronts, networks
    assert not {"link", "img", "iframe", "object", "metadata"} & set(page.tags)
    assert all(value.startswith("#") for value in page.values("href", "xlink:href", "src"))
    assert not re.search(r"url\((?!#)|@import", (tmp_path / "report.html").read_text(encoding="utf-8"))
    assert ("name", "viewport") in page.attributes
    assert not {name for name, _ in page.attributes if name.startswith("on")}


def test_only_the_page_s_own_script_is_allowed(runs, tmp_path):
    analyze(runs, tmp_path, {})
    page = page_of(tmp_path)
    data, script = page.scripts
    assert page.tags["script"] == 2
    assert json.loads(data)["columns"]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = (value for value in page.values("content") if value.startswith("default-src"))
    assert policy.startswith(
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:"
    )
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", script)


def test_the_report_contains_conclusions_notes_tables_and_provenance(runs, tmp_path):
    analysis = analyze(runs, tmp_path, {"commit": "abc", "command": "analyze runs=[a,b]"})
    text = " ".join(" ".join(page_of(tmp_path).text).split())
    for expected in (
        *analysis.sentences,
        *analysis.notes,
        *("Error distributions of AnyNetXA and RegNetX", "Error EDF: the fraction", "Best networks of RegNetX"),
        *("32, 64, 160, 384", "loss is nan", "commit", "abc", "analyze runs=[a,b]"),
    ):
        assert expected in text


def test_references_within_the_page_resolve_and_ids_are_unique(runs, tmp_path):
    analyze(runs, tmp_path, {})
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    ids = page_of(tmp_path).values("id")
    assert len(ids) == len(set(ids))
    assert sum(id_.startswith("edf-") for id_ in ids) > 10
    references = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', html))
    assert references
    assert {link or url for link, url in references} <= set(ids)


def test_ids_of_two_figures_do_not_clash():
    figure, axes = new_axes()
    draw_edf(axes, {"A": edf([1.0, 2.0])})
    svg = svg_text(figure)
    first, second = (Page(inline_svg(svg, prefix, "label")) for prefix in ("one", "two"))
    assert not set(first.values("id")) & set(second.values("id"))
    assert not {"width", "height"} & {name for name, _ in first.attributes[:6]}


def test_hostile_names_and_texts_are_shown_as_text(tmp_path):
    """The page has the same elements as one with the same numbers and harmless texts."""

    def page(texts, folder):
        runs = [
            make_results(text, [40.0 + index, 41.0], failed=[(reason, reason) for reason in texts])
            for index, text in enumerate(texts)
        ]
        runs[0].table.loc[0, ["id", "device"]] = texts[0]
        analyze(runs, folder, {text: text for text in texts})
        Page((folder / "figures" / "edf.svg").read_text(encoding="utf-8"))
        return page_of(folder)

    hostile, harmless = page(HOSTILE, tmp_path / "hostile"), page(tuple("abcde"), tmp_path / "harmless")
    shapes = {"path", "use", "g", "defs"}  # shapes of letters, which differ
    assert {tag: n for tag, n in hostile.tags.items() if tag not in shapes} == {
        tag: n for tag, n in harmless.tags.items() if tag not in shapes
    }
    assert {name for name, _ in hostile.attributes} == {name for name, _ in harmless.attributes}
    shown = "".join(hostile.text)
    assert all(text in shown for text in HOSTILE)


def history(*errors):
    return tuple(EpochRecord(i, 0.1, 1.0, error + 1 / 3, error, 5.0) for i, error in enumerate(errors, start=1))


def columns_of(data):
    return {column["key"]: column for column in data["columns"]}


def test_trial_data_has_all_trials_as_columns():
    table = make_table([40.0, 41.0], failed=[("diverged", "x" * 400)], waiting=1).assign(batch=["p", "q", "", None])
    a = Results.from_table("A", table.assign(memory_bytes=5e7), 10, {"a00000000001": history(80, 50.12345)})
    regnet = (
        make_table([30.0], tag="b")
        .assign(depth=22, w_0=24, w_a=24.4823178, w_m=2.5)
        .drop(columns=["d4", "w4", "b4", "g4"])
    )
    data = trial_data([a, Results.from_table("B", regnet, 10)])
    columns = columns_of(data)
    assert columns["run"]["values"] == ["A"] * 4 + ["B"]
    assert columns["error"]["values"] == [40, 41, None, None, 30]
    assert columns["status"]["values"] == ["done", "done", "failed", "waiting", "done"]
    assert columns["depth"]["values"] == [22] * 5  # the sum over the stages if the table has no depth
    assert columns["w_a"]["values"] == [None] * 4 + [24.4823]
    assert columns["d4"]["values"] == [12] * 4 + [None]
    assert columns["memory"]["values"] == [50_000_000] * 4 + [None]
    assert columns["flops"]["values"][2] == 4_000_002
    assert columns["batch"]["values"] == ["p", "q", "", "", None]
    assert len(columns["detail"]["values"][2]) == 300
    assert "trial" not in columns  # it is the id
    assert data["histories"] == [None, [[1, 2], [80, 50.123], [80.333, 50.457]], None, None, None]
    assert data["runs"][0]["progress"] == "3 of 4 trials finished, 1 of them failed"
    assert len({(run["colour"], run["marker"]) for run in data["runs"]}) == 2
    assert data["chance"] == 90


def test_a_merged_run_keeps_the_run_of_each_trial():
    table = make_table([40.0, 41.0]).assign(run=["low", "high"], trial=["low x", "high x"], error=[1.0, 2.0])
    columns = columns_of(trial_data([Results.from_table("Pool", table, 10, {"high x": history(50)})]))
    assert columns["run"]["values"] == ["Pool", "Pool"]
    assert columns["origin"]["values"] == ["low", "high"]
    assert columns["trial"]["values"] == ["low x", "high x"]
    assert columns["final_error"]["values"] == [40, 41]  # `error` is a column of the table's own
    assert columns["error"]["values"] == [1, 2]


def test_outlying_errors_do_not_stretch_the_axis():
    run = make_results("A", [20.0, 21.0, 22.0, 85.0], failed=[("diverged", "nan")] * 2)
    low, high = trial_data([run])["limits"]
    assert 19 < low < 20
    assert 22 < high < 30
    assert trial_data([make_results("A", [], waiting=3)])["limits"] == [0, 100]


def test_json_for_html_has_no_special_characters():
    value = {text: text for text in (*HOSTILE, "</script>", "<!--", "\u2028\u2029é\0")}
    text = as_json(value)
    assert json.loads(text) == value
    assert text.isascii()
    assert not set("<>&\n") & set(text)
    with pytest.raises(ValueError, match="not JSON compliant"):
        as_json(float("nan"))


def test_the_position_of_the_axes_matches_the_picture():
    figure, axes = new_axes()
    draw_edf(axes, {"A": edf([20.0, 30.0])})
    svg = svg_text(figure)
    position = edf_position(figure)
    width, height = map(float, re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg).groups())
    patch = re.search(r'<g id="patch_2">\s*<path d="M ([\d.]+) ([\d.]+) \s*L ([\d.]+) [\d.]+ \s*L [\d.]+ ([\d.]+)', svg)
    left, bottom, right, top = map(float, patch.groups())
    edges = [position["left"] * width, position["bottom"] * height, position["right"] * width, position["top"] * height]
    assert edges == pytest.approx([left, bottom, right, top], abs=0.1)
    assert position["low"] < 20 < 30 < position["high"]


def drawing(name, rows):
    figure, axes = new_axes()
    axes.plot([1, 2], [3, 4])
    numbers = pd.DataFrame({"space": "A <b>", "x": np.arange(rows) / 3})
    return Drawing(name, f"About {name}", figure, numbers, f"What {name} shows.")


def test_further_figures_have_sections_with_their_numbers(runs, tmp_path):
    analysis = analyze(runs, tmp_path, {})
    empty = Table("", (), ())
    figure, axes = new_axes()
    draw_edf(axes, {"A": edf([20.0, 30.0])})
    content = ReportContent(
        runs,
        sentences=(),
        notes=(),
        edf=Drawing("edf", "Error EDF", figure, pd.DataFrame({"x": [1.0]}), "caption"),
        figures=[drawing("short", 3), drawing("long", 100)],
        spaces=analysis.spaces,
        comparisons=empty,
        best=[],
        failed=empty,
        provenance={},
    )
    page = Page(render_report(content))
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {"figure-edf", "figure-short", "figure-long"} <= set(ids)
    assert {link[1:] for link in page.values("href") if link.startswith("#figure-")} <= set(ids)
    text = " ".join(" ".join(page.text).split())
    for expected in ("About short", "What long shows.", "figures/long.csv", "A <b>", "0.333333", "3 rows"):
        assert expected in text
    assert "100 rows" not in text  # these are only in the file


def test_a_figure_with_thousands_of_points_is_an_embedded_image(runs, tmp_path, monkeypatch):
    """A report of 1,000 trials stays below 5 MB; the file beside it remains an SVG."""
    monkeypatch.setattr("designspace.analysis.report._LARGEST_SVG", 60_000)
    analyze(runs, tmp_path, {}, figures="all")
    page = page_of(tmp_path)
    sources = page.values("src")
    assert sources
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in sources)
    assert (
        page.tags["img"] == len(sources) == len([text for text in page.values("alt") if "AnyNetXA and RegNetX" in text])
    )
    assert (tmp_path / "figures" / "parameters_1.svg").is_file()
