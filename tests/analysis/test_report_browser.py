"""Tests of the report in a real browser."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
from browser import Browser
from populations import make_results, make_table
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from designspace.analysis import Results, analyze
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


def history(error, epochs=10):
    return tuple(EpochRecord(i + 1, 0.1, 1.0, error + 30 - 3 * i, error + 30 - 10 * i / 3, 6.0) for i in range(epochs))


def with_histories(name, table):
    done = table[table["status"] == "done"]
    return Results.from_table(
        name, table, 10, {row["id"]: history(row["final_error"]) for row in done.to_dict("records")}
    )


def varied(errors, tag, **others):
    """Return a table of networks that differ."""
    table = make_table(errors, tag=tag, **others)
    index = np.arange(len(table))
    return table.assign(
        train_s=table["train_s"] + index,
        d4=1 + index % 12,
        w4=64 + 8 * index,
        flops=2_000_000 + 10_000 * index,
        params=np.int64(1000 * 1.05**index),
    )


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Report of two runs: 12 networks done, 2 failed and 1 waiting; and 10 done."""
    failed = [("diverged", "loss is nan"), ("out of memory", "asked for 3 GiB")]
    a = with_histories("AnyNetXA", varied([20.0 + i for i in range(12)], "a", failed=failed, waiting=1))
    b = Results.from_table("RegNetX", varied([18.5 + i / 4 for i in range(10)], "b"), 10)
    return analyze([a, b], tmp_path_factory.mktemp("report"), {"commit": "abc"}).report


@pytest.fixture
def page(browser, report):
    """Open the report on a desktop; a test must cause no console message and no network request."""
    browser.open(report)
    yield browser
    assert browser.messages() == []
    assert browser.requests() in ([], [report.as_uri()])


def ids(page):
    """Return the ids in the table of networks, from the top."""
    return page.run("return [...document.querySelectorAll('#trials-table tbody button')].map(one => one.textContent)")


def write_filter(page, text):
    box = page.driver.find_element(By.ID, "expression")
    box.clear()
    box.send_keys(text, Keys.ENTER)
    return page.run("return document.getElementById('count').textContent")


def point_of(page, trial):
    """Return the mark of a network in the figure; networks are counted from 0 over all runs."""
    return page.driver.find_element(By.CSS_SELECTOR, f"#scatter [data-trial='{trial}']")


def text_of(page, selector):
    return page.run("return document.querySelector(arguments[0]).textContent", selector)


def test_every_trial_is_in_the_table(page):
    assert text_of(page, "#count") == "All 25 trials."
    assert ids(page) == [f"a{index:011x}" for index in range(15)] + [f"b{index:011x}" for index in range(10)]
    heads = page.run("return [...document.querySelectorAll('#trials-table th')].map(one => one.textContent)")
    assert {"id", "run", "status", "error, %", "d4", "w4", "b1", "g1", "flops", "time", "device", "reason"} <= set(
        heads
    )


FILTERS = {
    "error < 20": 6,
    "error <= 20": 8,
    "final_error < 20": 6,
    "d4 >= 3 and run = RegNetX": 8,
    "d4 >= 3, run = RegNetX": 8,
    "status = failed": 2,
    "status != done": 3,
    "reason = out of memory": 1,
    "detail ~ 'GIB'": 1,
    "flops > 2.1M and status != waiting": 3,
    "flops >= 2.1m and flops < 2110k": 1,
    "loss is": 1,
    "RegNetX": 10,
    "error > 500": 0,
}
INVALID_FILTERS = {
    "eror < 20": "no column “eror”; choose from: id, run, status, error",
    "error <": "A value is missing after “error <”",
    "< 20": "A column is missing before “<”",
    "error < low": "“error” holds numbers: “< low” is invalid",
    "status < done": "“status” holds texts: use =, != or ~",
    "10 < error < 20": "Write one comparison at a time",
}


def test_filters(page):
    for expression, count in FILTERS.items():
        assert write_filter(page, expression).startswith(f"{count} of 25 trials match")
        assert len(ids(page)) == count
        drawn = page.run("return document.querySelectorAll('#scatter [data-trial]').length")
        assert drawn == count - (expression == "status != done")  # the waiting trial is not in the figure
    assert write_filter(page, "") == "All 25 trials."


def test_an_invalid_filter_changes_nothing(page):
    assert write_filter(page, "error < 20").startswith("6 of 25")
    for expression, message in INVALID_FILTERS.items():
        assert write_filter(page, expression).startswith("6 of 25")
        assert len(ids(page)) == 6
        assert message in text_of(page, "#problem")
    page.driver.find_element(By.ID, "clear").click()
    assert text_of(page, "#problem") == ""
    assert text_of(page, "#count") == "All 25 trials."


def test_a_filter_is_applied_while_typing(page):
    page.driver.find_element(By.ID, "expression").send_keys("run = RegNetX")
    deadline = time.monotonic() + 60
    while text_of(page, "#count") == "All 25 trials." and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(ids(page)) == 10


def test_sorting_by_click_and_by_key(page):
    head = page.driver.find_element(By.XPATH, "//table[@id='trials-table']//th[button='error, %']")
    head.find_element(By.TAG_NAME, "button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert ids(page)[:8] == [f"b{index:011x}" for index in range(6)] + ["a00000000000", "b00000000006"]
    assert set(ids(page)[-3:]) == {f"a{index:011x}" for index in (12, 13, 14)}  # blanks come last
    head.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert head.get_attribute("aria-sort") == "descending"
    assert ids(page)[0] == "a0000000000b"
    assert set(ids(page)[-3:]) == {f"a{index:011x}" for index in (12, 13, 14)}
    write_filter(page, "run = RegNetX")
    assert ids(page)[0] == "b00000000009"  # a filter keeps the order
    assert page.run("return document.querySelectorAll('#trials-table [aria-sort]').length") == 1


def test_static_tables_sort_by_the_numbers_in_their_cells(page):
    def column(index):
        cells = "[...document.querySelectorAll('#best ~ .scroll')][0].querySelectorAll('tbody tr')"
        return page.run(f"return [...{cells}].map(row => row.cells[{index}].textContent)")

    assert column(1) == ["20.00", "21.00", "22.00", "23.00", "24.00"]
    (table, *_) = page.driver.find_elements(By.CSS_SELECTOR, "#best ~ .scroll table")
    button = table.find_elements(By.TAG_NAME, "button")[1]
    for _ in range(2):
        button.click()
    assert column(1) == ["24.00", "23.00", "22.00", "21.00", "20.00"]


def test_pointing_at_a_network_shows_its_name(page):
    ActionChains(page.driver).move_to_element(point_of(page, 3)).perform()
    tip = text_of(page, "#scatter .tip")
    assert "AnyNetXA a00000000003" in tip
    assert "error 23.00%" in tip
    assert "flops 2.03 M" in tip
    ActionChains(page.driver).move_to_element(point_of(page, 12)).perform()
    assert "failed: diverged" in text_of(page, "#scatter .tip")
    ActionChains(page.driver).move_to_element(page.driver.find_element(By.TAG_NAME, "h1")).perform()
    assert not page.driver.find_element(By.CSS_SELECTOR, "#scatter .tip").is_displayed()


def test_a_click_shows_staircase_curve_and_numbers(page):
    ActionChains(page.driver).click(point_of(page, 3)).perform()
    assert text_of(page, "#network h3") == "AnyNetXA a00000000003"
    assert page.run("return document.querySelectorAll('.staircase .bar').length") == 1 + 2 + 7 + 4
    assert page.run("return document.querySelectorAll('.curve .epoch').length") == 10
    assert page.run("return document.querySelector('.curve').getAttribute('aria-label')").endswith("29.667, 26.333, 23")
    assert "flops2.03 M" in text_of(page, "#network dl")
    assert page.run("return [...document.querySelectorAll('tr.chosen')].map(one => one.dataset.trial)") == ["3"]


def test_failures_are_drawn_separately_with_their_reason(page):
    mark = point_of(page, 12)
    assert "failed" in mark.get_attribute("class")
    assert mark.get_attribute("d") != point_of(page, 0).get_attribute("d")
    assert mark.value_of_css_property("stroke") == point_of(page, 0).value_of_css_property("fill")
    ActionChains(page.driver).click(mark).perform()
    assert text_of(page, "#network .failed") == "Failed: diverged: loss is nan"
    assert "No epochs are recorded" in text_of(page, "#network")
    assert "Not drawn: 1 of 25" in text_of(page, "#scatter-note")
    assert "AnyNetXA: 14 of 15 trials finished, 2 of them failed" in text_of(page, "#legend")


def test_choosing_a_row_shows_its_network(page):
    page.driver.find_element(By.XPATH, "//button[.='b00000000002']").send_keys(Keys.ENTER)
    assert text_of(page, "#network h3") == "RegNetX b00000000002"
    assert page.run("return document.querySelectorAll('#scatter .ring').length") == 1


def test_the_figure_works_by_keyboard_alone(page):
    chart = page.driver.find_element(By.CSS_SELECTOR, "#scatter svg")
    chart.send_keys(Keys.HOME)
    assert "a00000000000" in text_of(page, "#scatter .tip")
    chart.send_keys(Keys.END, Keys.ARROW_LEFT)
    tip = text_of(page, "#scatter .tip")
    chart.send_keys(Keys.ENTER)
    assert text_of(page, "#network h3") in tip


def test_the_axes_can_be_chosen(page):
    for axis, key in (("x", "d4"), ("y", "time"), ("x", "params"), ("y", "best_error")):
        page.driver.find_element(By.XPATH, f"//select[@id='axis-{axis}']/option[.='{key}']").click()
        assert key in text_of(page, "#scatter svg")
        if key == "d4":
            assert "Networks with equal d4 are spread slightly sideways" in text_of(page, "#scatter-note")
    assert page.run("return document.querySelectorAll('#scatter [data-trial]').length") == 24
    options = page.run("return [...document.getElementById('axis-x').options].map(one => one.text)")
    assert "w4" in options
    assert "w1" not in options  # the same in all networks


def test_pointing_at_the_edf_shows_the_nearest_network(page):
    size = page.run(
        "const r = document.querySelector('#plot-edf svg').getBoundingClientRect(); return [r.width, r.height]"
    )
    axes = page.run("return JSON.parse(document.getElementById('trials').textContent).edf")
    across = axes["left"] + (axes["right"] - axes["left"]) * (20.6 - axes["low"]) / (axes["high"] - axes["low"])
    down = axes["bottom"] - (axes["bottom"] - axes["top"]) * 0.85
    picture = page.driver.find_element(By.CSS_SELECTOR, "#plot-edf svg")
    page.run(
        "arguments[0].scrollIntoView({block: 'center'})", picture
    )  # offsets are from the centre of what is visible
    spot = (round((across - 0.5) * size[0]), round((down - 0.5) * size[1]))
    ActionChains(page.driver).move_to_element_with_offset(picture, *spot).click().perform()
    tip = text_of(page, "#plot-edf .tip")
    assert "RegNetX: 90.0% (9 of 10)" in tip
    assert "AnyNetXA: 7.7% (1 of 13)" in tip  # 12 done and one diverged; the one out of memory does not count
    assert "nearest: RegNetX b00000000008" in tip
    assert text_of(page, "#network h3") == "RegNetX b00000000008"


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
