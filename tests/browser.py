"""Chromium without a window, steered through a pipe: opens a page at a width and
tells what it complains about.

The pipe carries the browser's own protocol: JSON, each message ended by a zero
byte (https://chromedevtools.github.io/devtools-protocol/).
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")


def find() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@dataclass
class Browser:
    """One page, opened again and again."""

    to: int
    back: int
    number: int = 0
    session: str = ""
    rest: bytes = b""
    said: list[str] = field(default_factory=list)  # on the console, since the last page

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            data = os.read(self.back, 1 << 16)
            if not data:
                raise RuntimeError("the browser has ended")
            self.rest += data
        message, _, self.rest = self.rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        if found.get("method") in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
            self.said.append(json.dumps(found["params"])[:300])
        elif found.get("method") == "Log.entryAdded":
            self.said.append(found["params"]["entry"]["text"])
        elif found.get("method") == "Network.requestWillBeSent":
            url = found["params"]["request"]["url"]
            if not url.startswith(("file:", "data:")):
                self.said.append(f"loads {url}")
        return found

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its result."""
        self.number += 1
        number = self.number
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            found = self._receive()
            if found.get("id") == number:
                if "error" in found:
                    raise RuntimeError(f"{method}: {found['error']['message']}")
                return found["result"]

    def open(self, page: Path, width: int, *, dark: bool = False) -> list[str]:
        """Load a page. What the browser says about it."""
        self.said.clear()
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=800, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("Page.navigate", url=page.resolve().as_uri())
        while self._receive().get("method") != "Page.loadEventFired":
            pass
        return list(self.said)

    def value(self, expression: str) -> Any:
        result = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        return result["result"].get("value")

    def picture(self) -> bytes:
        """The whole page, as PNG."""
        result = self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(result["data"])


@contextlib.contextmanager
def browser(program: str, home: Path) -> Iterator[Browser]:
    """A browser with a fresh profile; it ends with the block."""
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()
    command = [program, "--headless=new", "--remote-debugging-pipe", "--disable-gpu"]
    command += ["--no-first-run", "--disable-dev-shm-usage", f"--user-data-dir={home}"]
    if os.geteuid() == 0:
        command.append("--no-sandbox")  # it refuses to have one as root

    def arrange() -> None:
        """The browser reads from 3 and writes to 4."""
        first, second = os.dup(in_read), os.dup(out_write)
        os.dup2(first, 3)
        os.dup2(second, 4)

    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        preexec_fn=arrange, close_fds=False,
    )  # fmt: skip
    os.close(in_read)
    os.close(out_write)
    try:
        one = Browser(in_write, out_read)
        target = one.ask("Target.createTarget", url="about:blank")["targetId"]
        one.session = one.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            one.ask(f"{domain}.enable")
        yield one
    finally:
        process.kill()
        process.wait()
        os.close(in_write)
        os.close(out_read)
