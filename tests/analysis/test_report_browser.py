"""Tests of the report in a real browser: any size, printed, without scripts, with hostile names, in any state."""

from __future__ import annotations

import re
import time

import numpy as np
from populations import make_results, make_table, varied, with_histories
from report_fixtures import browser, report  # noqa: F401 (fixtures)
from report_pages import ids, text_of, write_filter
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from designspace.analysis import Results, analyze
from designspace.trials.metric import Metric
from designspace.trials.trial import EpochRecord

HOSTILE = (
    "<script>window.hacked=1</script>",
    "</script><script>window.hacked=1</script>",
    "<img src=x onerror=window.hacked=1>",
    "</svg><svg onload=window.hacked=1>",
    "\"' onfocus=window.hacked=1 autofocus x='",
    "javascript:window.hacked=1",
    "<!--<script>&lt;b&gt;]]>",
)


def test_nothing_is_wider_than_the_page_on_a_phone(browser, report):
    browser.open(report, 390, 844)
    widths = browser.run("return [document.documentElement.scrollWidth, innerWidth]")
    assert widths == [390, 390]
    beyond = browser.run(
        "return [...document.querySelectorAll('body *')].filter(one => !one.closest('.scroll, figure svg, .tip') "
        "&& one.getBoundingClientRect().right > 390.5).map(one => one.outerHTML.slice(0, 80))"
    )
    assert beyond == []
    browser.driver.find_element(By.CSS_SELECTOR, "#scatter [data-trial='3']").click()
    assert text_of(browser, "#network h3") == "AnyNetXA a00000000003"
    assert browser.messages() == []


def test_the_page_has_the_values_of_a_metric_of_which_higher_ones_are_better(browser, tmp_path):
    metric = Metric("macro recall", "", "higher", 0.1, 0, 1)
    columns = {"flops": [1e6, 2e6, 3e6, 4e6], "params": [1e5, 2e5, 3e5, 4e5], "id": list("abcd")}
    results = Results.from_errors("A", [0.5, 0.9, np.nan, 0.7], 10, columns, metric)
    browser.open(analyze([results], tmp_path, {}).report)
    assert text_of(browser, "#network h3") == "A b"  # the best one
    assert "0.900" in text_of(browser, "#network")
    headings = browser.run("return [...document.querySelectorAll('#trials-table th')].map(cell => cell.textContent)")
    assert "score" in headings
    assert "error" not in headings
    assert "at chance level, 0.1" in text_of(browser, "#scatter-note")
    left, top, width, height = browser.run(
        "const box = document.querySelector('#plot-edf svg').getBoundingClientRect();"
        "scrollTo(0, box.top + scrollY - 50);"
        "const moved = document.querySelector('#plot-edf svg').getBoundingClientRect();"
        "return [moved.left, moved.top, moved.width, moved.height]"
    )
    area = browser.run("return JSON.parse(document.getElementById('trials').textContent).edf")
    assert -1 <= area["low"] < area["high"] <= 0
    x = left + width * (
        area["left"] + (area["right"] - area["left"]) * (-0.8 - area["low"]) / (area["high"] - area["low"])
    )
    y = top + height * (area["top"] + area["bottom"]) / 2
    browser.run(
        "document.getElementById('plot-edf').dispatchEvent(new PointerEvent('pointermove', "
        f"{{clientX: {x}, clientY: {y}, bubbles: true}}))"
    )
    assert "macro recall at least 0.80" in text_of(browser, ".tip")
    assert "25.0% (1 of 4)" in text_of(browser, ".tip")
    assert browser.messages() == []


def test_printing_shows_static_content_with_complete_tables(browser, report):
    browser.open(report)
    pdf = browser.pdf()
    assert pdf.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 10
    browser.emulate("print", 700)  # A4 without margins, at 96 dots per inch
    try:
        cut = browser.run(
            "return [...document.querySelectorAll('table')]"
            ".filter(one => one.getBoundingClientRect().right > 700.5).length"
        )
        shown = browser.run(
            "return ['#explore', '.only-print', 'nav'].map(s => document.querySelector(s).checkVisibility())"
        )
    finally:
        browser.emulate("", 1280)
    assert (cut, shown) == (0, [False, True, False])


def test_hostile_names_and_texts_are_shown_as_text(browser, tmp_path):
    def elements(texts, folder):
        """Return the number of elements of each kind on the page, and their attributes, after some use of it."""
        runs = []
        for index, text in enumerate(texts):
            table = make_table(
                [40.0 + index, 41.0], failed=[(text, text), ("error", text + "\u2028\u2029")], tag="abcdefghi"[index]
            )
            table.loc[0, ["id", "device"]] = text
            runs.append(with_histories(text, table))
        browser.open(analyze(runs, folder, {text: text for text in texts}).report)
        for mark in (0, 2):
            for trial in (mark, mark + 4):
                browser.run(
                    "document.querySelector(`#trials-table [data-trial='${arguments[0]}'] button`).click()", trial
                )
                names = browser.run("return [...document.querySelectorAll('#network *')].map(one => one.tagName)")
                assert "SCRIPT" not in names
        write_filter(browser, f"nothing {texts[0]}")
        write_filter(browser, f"{texts[0]} = 3")
        browser.driver.find_element(By.ID, "clear").click()
        chart = browser.driver.find_element(By.CSS_SELECTOR, "#scatter svg")
        chart.send_keys(Keys.HOME, Keys.ENTER)
        tags, attributes = browser.run(
            "const all = [...document.querySelectorAll('*')].filter(one => !one.closest('figure svg')); return "
            "[all.map(one => one.tagName), all.flatMap(one => one.getAttributeNames())]"
        )
        return {tag: tags.count(tag) for tag in tags}, set(attributes)

    harmless = elements(("r", "s", "t", "u", "v", "w", "x"), tmp_path / "harmless")
    assert browser.messages() == []
    assert elements(HOSTILE, tmp_path / "hostile") == harmless
    shown = browser.run("return document.body.textContent")
    assert all(text in shown for text in HOSTILE)
    cells = browser.run("return [...document.querySelectorAll('#trials-table td')].map(one => one.textContent)")
    assert all(text in cells for text in HOSTILE)
    assert browser.run("return [window.hacked, document.scripts.length]") == [None, 2]
    assert browser.driver.execute_cdp_cmd("Runtime.evaluate", {"expression": "1"})["result"]["value"] == 1  # no dialog
    assert browser.messages() == []
    assert all(address.startswith("file:") and address.endswith("report.html") for address in browser.requests())


def test_no_other_script_can_run(browser, report):
    """Even if a text became markup, the page's security policy would block it."""
    browser.open(report)
    browser.run(
        "const one = document.createElement('div'); one.innerHTML = '<img src=x: onerror=\"window.hacked=1\">';"
        "document.body.append(one); const two = document.createElement('script'); two.textContent = 'window.hacked=2';"
        "document.body.append(two)"
    )
    time.sleep(0.2)
    assert browser.run("return window.hacked") is None
    assert sum("Content Security Policy" in message for message in browser.messages()) >= 2


def test_the_static_part_is_shown_without_javascript(browser, report):
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.driver.get(report.as_uri())
        explore = browser.driver.find_element(By.ID, "explore")
        assert not explore.is_displayed()
        body = browser.driver.find_element(By.TAG_NAME, "main").text
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert "This part needs JavaScript" in body
    assert "a00000000000" in body  # among the best networks
    assert "loss is nan" in body


def test_a_report_of_a_thousand_trials_is_below_5_mb_and_works(browser, tmp_path):
    rng = np.random.default_rng(0)
    runs = [
        with_histories(name, varied(list(np.round(rng.normal(30, 4, 490), 2)), tag, failed=[("diverged", "nan")] * 10))
        for name, tag in (("AnyNetXA", "a"), ("RegNetX", "b"))
    ]
    report = analyze(runs, tmp_path, {}, figures="all").report
    assert report.stat().st_size < 5_000_000
    browser.open(report)
    assert text_of(browser, "#count") == "All 1000 trials; the table shows 1 to 100."

    sort = "document.querySelectorAll('#trials-table th button')[3].click()"
    keep = (
        "document.getElementById('expression').value = 'error < 30'; document.getElementById('filter').requestSubmit()"
    )
    clear = "document.getElementById('clear').click()"
    following = "document.getElementById('next').click()"
    other = "const s = document.getElementById('axis-x'); s.value = 'params'; s.dispatchEvent(new Event('change'))"
    for script in (sort, keep, clear, other, following):
        browser.run(script)
    assert len(ids(browser)) == 100
    assert text_of(browser, "#pages span") == "101 to 200 of 1000"
    assert browser.messages() == []


def test_runs_in_any_state_are_shown(browser, tmp_path):
    fewer = make_table([30.0, 31.0], tag="c")
    fewer.loc[0, ["d4", "w4", "b4", "g4"]] = np.nan
    regnet = make_table([30.0], tag="d").assign(depth=22, w_0=24, w_a=24.48, w_m=2.5)
    short = (EpochRecord(1, 0.1, float("nan"), float("nan"), 90.0, 1.0),)
    runs = [
        make_results("All failed", [], failed=[("diverged", "nan")] * 3),
        make_results("All waiting", [], waiting=3),
        Results.from_table("Fewer stages", fewer, 10, {"c00000000001": short}),
        Results.from_table("RegNetX", regnet, 10),
    ]
    for name, chosen in (("all", runs), ("waiting", runs[1:2])):
        browser.open(analyze(chosen, tmp_path / name, {}).report)
        count = sum(len(run.table) for run in chosen)
        assert text_of(browser, "#count") == f"All {count} trials."
        for row in browser.driver.find_elements(By.CSS_SELECTOR, "#trials-table button.id"):
            browser.run("arguments[0].click()", row)
            assert row.text in text_of(browser, "#network h3")
            assert "NaN" not in browser.run("return document.querySelector('#explore').innerHTML")
        assert browser.messages() == []
