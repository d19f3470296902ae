"""A browser for tests: Chromium without a window, driven over the WebDriver protocol (W3C), with a picture of each step."""

import base64
import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
# A page that a busy machine needs longer for is broken.
PATIENCE = 60


class Browser:
    def __init__(self, driver, port, pictures):
        self.pictures = pictures
        self.count = 0
        self.base = f"http://127.0.0.1:{port}"
        log = open(os.path.join(pictures, "chromedriver.log"), "wb")
        self.driver = subprocess.Popen([driver, f"--port={port}"], stdout=log, stderr=log)
        self.until("chromedriver to listen", lambda: self.call("GET", "/status")["ready"])
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
                     "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1280,900",
                     f"--user-data-dir={os.path.join(pictures, 'profile')}"]
        options = {"args": arguments, "prefs": {"credentials_enable_service": False}}
        wanted = {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options, "unhandledPromptBehavior": "ignore"}}
        session = self.call("POST", "/session", {"capabilities": wanted})
        self.base += f"/session/{session['sessionId']}"

    def close(self):
        try:
            self.call("DELETE", "")
        finally:
            self.driver.terminate()
            self.driver.wait()

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=5 * PATIENCE) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            value = json.load(error)["value"]
            raise Fault(value["error"], value["message"].split("\n")[0]) from None

    def until(self, what, look):
        """Waits until `look` gives something; what it gives."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                found = look()
                if found:
                    return found
                why = "not so"
            except (Fault, OSError) as error:
                why = error
            if time.monotonic() > end:
                raise AssertionError(f"waited for {what}: {why}")
            time.sleep(0.1)

    def go(self, url):
        self.call("POST", "/url", {"url": url})

    def find(self, css):
        """The first element that is shown."""
        def look():
            for found in self.call("POST", "/elements", {"using": "css selector", "value": css}):
                if self.call("GET", f"/element/{found[ELEMENT]}/displayed"):
                    return found[ELEMENT]
            return None
        return self.until(css, look)

    def click(self, css):
        # It may be covered for a moment, or be made anew.
        self.until(f"{css} to be clicked", lambda: self.call("POST", f"/element/{self.find(css)}/click", {}) is None)

    def type(self, css, text):
        element = self.find(css)
        self.call("POST", f"/element/{element}/clear", {})
        self.call("POST", f"/element/{element}/value", {"text": text})

    def file(self, css, path):
        """Chooses a file; the field itself is never shown."""
        found = self.until(css, lambda: self.call("POST", "/elements", {"using": "css selector", "value": css}))
        self.call("POST", f"/element/{found[0][ELEMENT]}/value", {"text": path})

    def run(self, script, *arguments):
        return self.call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def choose(self, css, value):
        """An option of a list."""
        self.find(css)
        script = "const s = document.querySelector(arguments[0]); s.value = arguments[1]; s.dispatchEvent(new Event('change', {bubbles: true}));"
        self.run(script, css, value)

    def text(self, css="body"):
        return self.call("GET", f"/element/{self.find(css)}/text")

    def shows(self, pattern, css="body"):
        """Waits until the text of an element has this."""
        return self.until(f"{pattern!r} in {css}", lambda: re.search(pattern, self.text(css)))

    def frame(self, css):
        self.call("POST", "/frame", {"id": {ELEMENT: self.find(css)}})

    def out_of_frames(self):
        self.call("POST", "/frame", {"id": None})

    def keys(self, text):
        actions = []
        for key in text:
            actions += [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self.call("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def picture(self, name):
        self.count += 1
        path = os.path.join(self.pictures, f"{self.count:02}-{name}.png")
        with open(path, "wb") as file:
            file.write(base64.b64decode(self.call("GET", "/screenshot")))
        print(f"ok {self.count} {name}", flush=True)


class Fault(Exception):
    """An error that the driver told."""

    def __init__(self, kind, message):
        super().__init__(f"{kind}: {message}")
        self.kind = kind
