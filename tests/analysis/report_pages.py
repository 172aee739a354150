"""What the tests of the report read and do in a browser."""

from __future__ import annotations

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys


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
