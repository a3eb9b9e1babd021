"""A browser without a window, and free ports."""

import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

CHROMIUM = Path("/usr/bin/chromium")
WIDTH, HEIGHT = 1400, 720
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    # As with a mouse: for fingers, charts show all their buttons.
    "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # as on a machine without the internet
)
PATIENCE_S = 60
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the W3C's name for a reference to an element


class Browser:
    """Chromium, driven by the W3C's WebDriver protocol, which needs no library."""

    def __init__(self, driver, profile):
        options = {"binary": str(CHROMIUM), "args": [*FLAGS, f"--user-data-dir={profile}"]}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"performance": "ALL"}}
        self._session = f"{driver}/session"
        created = self._ask("post", "", {"capabilities": {"alwaysMatch": wanted}})
        self._session += f"/{created['sessionId']}"
        self.resize(HEIGHT)

    def _ask(self, verb, path, value=None):
        answer = requests.request(verb, self._session + path, json=value, timeout=120)
        found = answer.json()["value"]
        assert answer.ok, found
        return found

    def resize(self, height):
        """Give the page another height [pixels]."""
        metrics = {"width": WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._ask("post", "/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics})

    def open(self, address):
        self._ask("post", "/url", {"url": address})

    def run(self, script, *arguments):
        """What a script in the page returns."""
        return self._ask("post", "/execute/sync", {"script": script, "args": arguments})

    def wait(self, script, *arguments):
        """Wait until a script in the page returns something; that."""
        deadline = time.monotonic() + PATIENCE_S
        while not (found := self.run(script, *arguments)):
            assert time.monotonic() < deadline, f"{script} {arguments}\nin vain in the page:\n{self.text()}"
            time.sleep(0.2)
        return found

    def text(self):
        return self.run("return document.body.innerText")

    def wait_for_text(self, *texts):
        for text in texts:
            self.wait("return document.body.innerText.includes(arguments[0])", text)

    def click(self, xpath):
        """Click the first element that is shown, as soon as there is one."""
        found = self.wait(
            "const all = document.evaluate(arguments[0], document, null, XPathResult.ORDERED_NODE_SNAPSHOT_TYPE);"
            "return [...Array(all.snapshotLength).keys()].map(i => all.snapshotItem(i)).find(it => it.offsetParent)",
            xpath,
        )
        self._ask("post", f"/element/{found[_ELEMENT]}/click", {})

    def screenshot(self, path):
        """Write what the page shows once it has stopped changing, as it does while it loads."""
        deadline, before = time.monotonic() + PATIENCE_S, ""
        while (shown := self._ask("get", "/screenshot")) != before:
            assert time.monotonic() < deadline, "the page does not come to rest"
            before = shown
            time.sleep(1)
        path.write_bytes(base64.b64decode(shown))

    def requests(self):
        """(host, address) of all that pages asked for since the last call."""
        log = self._ask("post", "/se/log", {"type": "performance"})
        events = (json.loads(entry["message"])["message"] for entry in log)
        urls = [its["params"]["request"]["url"] for its in events if its["method"] == "Network.requestWillBeSent"]
        return [(urlsplit(url).hostname, url) for url in urls if url.startswith(("http", "ws"))]

    def close(self):
        self._ask("delete", "")


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def free_port():
    """Finds a port that nothing listens on."""
    return _free_port


@contextlib.contextmanager
def _listening(command, port, log, end=signal.SIGINT, **options):
    """Run a command in a process group of its own, from when it answers at a port of this machine; its process."""
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True, **options)
    try:
        deadline = time.monotonic() + 180
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, end)  # as Ctrl-C does
        process.wait(60)


@pytest.fixture(scope="session")
def listening():
    """Runs a command as long as a context lasts, from when it answers at a port of this machine."""
    return _listening


@pytest.fixture
def browser(tmp_path):
    """A browser with a new profile."""
    driver = shutil.which("chromedriver")
    if driver is None or not CHROMIUM.is_file():
        pytest.skip(f"no chromedriver or no {CHROMIUM}; apt-get install chromium chromium-driver")
    port = _free_port()
    log = tmp_path / "chromedriver.log"
    # Started from a script in the background, it would not hear of Ctrl-C.
    listening = _listening([driver, f"--port={port}"], port, log, end=signal.SIGTERM)
    with tempfile.TemporaryDirectory() as profile, listening:
        found = Browser(f"http://127.0.0.1:{port}", profile)
        try:
            yield found
        finally:
            found.close()
