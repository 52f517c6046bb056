"""The screenshots of reports/example: the first screen in both themes, a phone, and the first sheet on A4.

python docs/evidence/screenshots.py
"""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

FOLDER = Path(__file__).parents[2] / "reports" / "example"
SHOTS = {  # width, height, theme, media
    "report": (1280, 800, "light", "screen"),
    "report-dark": (1280, 800, "dark", "screen"),
    "report-phone": (400, 1600, "light", "screen"),
    "report-a4": (718, 1016, "light", "print"),
}


def main() -> None:
    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(flag)
    options.binary_location = shutil.which("chromium") or ""
    chrome = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    for name, (width, height, theme, media) in SHOTS.items():
        features = [{"name": "prefers-color-scheme", "value": theme}]
        chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        chrome.get((FOLDER / "report.html").as_uri())
        shot = chrome.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
        (FOLDER / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))
        print(FOLDER / f"{name}.png")
    chrome.quit()


if __name__ == "__main__":
    main()
