from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser

import pytest
from populations import make_results

from designspace.analysis.edf import edf
from designspace.analysis.figures import draw_edf, new_axes, svg_text
from designspace.analysis.report import inline_svg
from designspace.analysis.study import analyze

HOSTILE = ("<script>alert(1)</script>", "</svg><img src=x onerror=alert(1)>", "]]><b>", "--><i>", "\"'&amp;$^{")
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """The elements of a page, checked to be nested properly."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], Counter(), [], []
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
        self.text.append(data)

    def values(self, *names):
        return [value for name, value in self.attributes if name in names]


def page_of(folder):
    return Page((folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture
def runs():
    a = make_results("AnyNetXA", [40.0 + i for i in range(12)], failed=[("diverged", "loss is nan")], waiting=2)
    return [a, make_results("RegNetX", [35.0 + i / 4 for i in range(14)])]


def test_it_is_well_formed_and_needs_nothing_beside_itself(runs, tmp_path):
    analyze(runs, tmp_path, {"commit": "abc"})
    page = page_of(tmp_path)
    assert page.tags["svg"] == 1
    assert not {"script", "link", "img", "iframe", "object", "metadata"} & set(page.tags)
    assert all(value.startswith("#") for value in page.values("href", "xlink:href", "src"))
    assert not re.search(r"url\((?!#)|@import", (tmp_path / "report.html").read_text(encoding="utf-8"))
    assert ("name", "viewport") in page.attributes


def test_it_holds_what_a_reader_looks_for(runs, tmp_path):
    found = analyze(runs, tmp_path, {"commit": "abc", "command": "analyze runs=[a,b]"})
    text = " ".join(" ".join(page_of(tmp_path).text).split())
    for wanted in (
        *found.sentences,
        *found.notes,
        *("Error distributions of AnyNetXA and RegNetX", "Error EDF: the part", "Best networks of RegNetX"),
        *("32, 64, 160, 384", "loss is nan", "commit", "abc", "analyze runs=[a,b]"),
    ):
        assert wanted in text


def test_references_within_the_svg_resolve_and_ids_are_its_own(runs, tmp_path):
    analyze(runs, tmp_path, {})
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    ids = page_of(tmp_path).values("id")
    assert len(ids) == len(set(ids))
    assert all(one.startswith("edf-") for one in ids)
    references = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', html))
    assert references
    assert {one or other for one, other in references} <= set(ids)


def test_two_figures_in_one_page_do_not_clash():
    figure, axes = new_axes()
    draw_edf(axes, {"A": edf([1.0, 2.0])})
    svg = svg_text(figure)
    first, second = (Page(inline_svg(svg, prefix, "label")) for prefix in ("one", "two"))
    assert not set(first.values("id")) & set(second.values("id"))
    assert not {"width", "height"} & {name for name, _ in first.attributes[:6]}


def test_hostile_names_and_texts_are_shown_and_do_nothing(tmp_path):
    """The page has the same elements as one with the same numbers and harmless texts."""

    def page(texts, folder):
        runs = [
            make_results(text, [40.0 + place, 41.0], failed=[(reason, reason) for reason in texts])
            for place, text in enumerate(texts)
        ]
        runs[0].table.loc[0, ["id", "device"]] = texts[0]
        analyze(runs, folder, {text: text for text in texts})
        Page((folder / "figures" / "edf.svg").read_text(encoding="utf-8"))
        return page_of(folder)

    hostile, harmless = page(HOSTILE, tmp_path / "hostile"), page(tuple("abcde"), tmp_path / "harmless")
    shapes = {"path", "use", "g", "defs"}  # of letters, which differ
    assert {tag: n for tag, n in hostile.tags.items() if tag not in shapes} == {
        tag: n for tag, n in harmless.tags.items() if tag not in shapes
    }
    assert {name for name, _ in hostile.attributes} == {name for name, _ in harmless.attributes}
    shown = "".join(hostile.text)
    assert all(one in shown for one in HOSTILE)
