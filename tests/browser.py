"""Headless Chromium for the tests of pages, driven by selenium; it makes no network requests of its own."""

from __future__ import annotations

import base64
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

PACKAGES = "chromium chromium-driver"
"""The Debian packages that contain both programs."""


class Browser:
    """A separate browser with an empty profile in the given folder. Use it as a context manager."""

    def __init__(self, profile: Path) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
        if not all(programs.values()):
            message = f"found no chromium with chromedriver on PATH; on Debian: apt-get install {PACKAGES}"
            pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
        options = webdriver.ChromeOptions()
        options.binary_location = programs["chromium"]
        for argument in (
            *("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "no-first-run"),
            *("disable-background-networking", "disable-component-update", "disable-sync", "disable-quic"),
            f"user-data-dir={profile}",
        ):
            options.add_argument(f"--{argument}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options, Service(executable_path=programs["chromedriver"]))

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.driver.quit()

    def open(self, page: Path, width: int = 1280, height: int = 900) -> None:
        """Open a file in a window of the given size in CSS pixels, and clear the log first."""
        self.drain()
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get(page.resolve().as_uri())
        self.driver.execute_async_script("const end = arguments[0]; requestAnimationFrame(() => setTimeout(end))")

    def drain(self) -> None:
        """Discard everything logged so far."""
        self.driver.get_log("browser")
        self.driver.get_log("performance")

    def messages(self) -> list[str]:
        """Return the console messages, such as errors and violations of the page's security policy."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Return the URLs that the page requested."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript in the page, and return the value of its ``return`` statement."""
        return self.driver.execute_script(script, *arguments)

    def pdf(self) -> bytes:
        """Return the page as a PDF, printed on A4."""
        printed = self.driver.execute_cdp_cmd("Page.printToPDF", {"paperWidth": 8.27, "paperHeight": 11.69})
        return base64.b64decode(printed["data"])

    def emulate(self, medium: str, width: int) -> None:
        """Show the page as for the medium ``print`` or ``screen``, at a width in CSS pixels."""
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": medium})
        size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
