"""Tests of the interactive part of the report in a real browser: its table, filters and figures."""

from __future__ import annotations

import time

import pytest
from report_fixtures import browser, report  # noqa: F401 (fixtures)
from report_pages import ids, point_of, text_of, write_filter
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys


@pytest.fixture
def page(browser, report):
    """Open the report on a desktop; a test must cause no console message and no network request."""
    browser.open(report)
    yield browser
    assert browser.messages() == []
    assert browser.requests() in ([], [report.as_uri()])


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
