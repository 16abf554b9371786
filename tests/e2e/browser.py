"""Debian's Chromium, headless, as an annotator would use it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as expected
from selenium.webdriver.support.ui import WebDriverWait

WAIT_S = 120


@contextmanager
def chromium(profile: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1400,900",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    try:
        yield driver
    finally:
        driver.quit()


def sign_in(driver: webdriver.Chrome, url: str, login: str, password: str) -> None:
    driver.get(f"{url}/user/login/")
    wait_for(driver, "#email").send_keys(login)
    driver.find_element(By.CSS_SELECTOR, "#password").send_keys(password)
    driver.find_element(By.CSS_SELECTOR, "form button[type=submit], form button").click()
    WebDriverWait(driver, WAIT_S).until_not(expected.url_contains("/user/login"))


def wait_for(driver: webdriver.Chrome, selector: str) -> webdriver.remote.webelement.WebElement:
    return WebDriverWait(driver, WAIT_S).until(expected.presence_of_element_located((By.CSS_SELECTOR, selector)))


def wait_for_text(driver: webdriver.Chrome, text: str) -> None:
    WebDriverWait(driver, WAIT_S).until(expected.text_to_be_present_in_element((By.TAG_NAME, "body"), text))
