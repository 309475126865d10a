"""The status page in a headless Chromium, and its /metrics through Prometheus' own parser.

    dashboard_test.py STATUS_DEMO [--screenshots FOLDER]

STATUS_DEMO is the program of status_demo.cc. With --screenshots, light and dark pictures are kept.
"""

import argparse
import json
import pathlib
import re
import subprocess
import time
import urllib.request

from browser import Browser
from prometheus_client.parser import text_string_to_metric_families

PAGE_BYTES_MAX = 60 * 1024


class Demo:
    """A status_demo process."""

    def __init__(self, program, *arguments):
        self.process = subprocess.Popen([program, *arguments], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://127.0.0.1:"), self.url

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def stop(self):
        started = time.monotonic()
        self.process.stdin.close()
        assert self.process.wait(timeout=10) == 0
        return time.monotonic() - started

    def get(self, path):
        with urllib.request.urlopen(self.url + path) as reply:
            return reply.read().decode()


def check(name, condition, found=""):
    print(f"{'ok  ' if condition else 'FAIL'} {name}{f': {found}' if found != '' else ''}")
    if not condition:
        raise SystemExit(1)


def open_page(browser, demo):
    browser.open(demo.url)
    browser.wait("document.querySelectorAll('#charts canvas').length >= 15")
    browser.wait("document.querySelectorAll('#groups li').length > 0")
    browser.wait("document.querySelectorAll('#event-rows tr').length > 0")


def test_size(browser, demo):
    sizes = {url: len(demo.get(url[len(demo.url):]).encode()) for url in set(browser.requests)
             if "/api/" not in url}
    check("the whole page is at most 60 KB", sum(sizes.values()) <= PAGE_BYTES_MAX,
          f"{sum(sizes.values())} bytes in {len(sizes)} files")


def test_header(browser):
    text = browser.js("document.querySelector('header').textContent + "
                      "document.getElementById('now').textContent")
    for wanted in ("r1_mini-s1", "running", "base", "cold_start", "rl", "212 / 350", "left",
                   "generate", "12 of 64 groups of step 212 from worker-1, worker-2"):
        check(f"header shows {wanted!r}", wanted in text)
    check("title", re.match(r"rl 212 · reward 0\.\d+ · r1_mini-s1", browser.js("document.title")),
          browser.js("document.title"))
    shown = browser.js("document.getElementById('eval-more').textContent")
    check("the accuracy is of the set that was evaluated last", shown.startswith("chain"), shown)


def test_curves(browser, demo):
    sections = browser.js("[...document.querySelectorAll('#charts .part')].map(p => p.textContent)")
    check("four sections", sections[:4] == ["Training", "Stability", "Performance",
                                            "Mixture of experts"], sections)
    titles = browser.js("[...document.querySelectorAll('.chart h4')].map(h => h.textContent)")
    for wanted in ("Reward", "Reward parts", "Response length", "Held-out accuracy", "Format",
                   "Entropy", "KL", "Learner against worker", "Clipped", "Gradient norm",
                   "Tokens per second", "Seconds of a step", "Expert load over the mean"):
        check(f"chart {wanted!r}", wanted in titles)
    newest = json.loads(demo.get("api/v1/status"))["latest"]
    check("the shares of a step add up to its seconds", browser.js(
        "document.getElementById('share').textContent").startswith(
            f"last step {newest['time/step']:.1f} s"))
    # Every chart has drawn its curve: some pixels have the strong colour of a line.
    blank = browser.js("""[...document.querySelectorAll('.chart')].filter(chart => {
      const canvas = chart.querySelector('canvas');
      const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
      let strong = 0;
      for (let i = 0; i < data.length; i += 4) {
        const span = Math.max(data[i], data[i + 1], data[i + 2]) -
                     Math.min(data[i], data[i + 1], data[i + 2]);
        if (data[i + 3] > 100 && span > 60) ++strong;
      }
      return strong < 50;
    }).map(chart => chart.querySelector('h4').textContent)""")
    check("every chart shows a curve", blank == [], blank)
    reply = json.loads(demo.get("api/v1/metrics?keys=reward/mean"))
    newest = reply["series"][0]["value"][-1]
    shown = browser.js("document.querySelector('.legend b').textContent")
    check("the legend has the newest value", abs(float(shown) - newest) < 1e-3, shown)
    check("stage names stand in the stage menu", browser.js(
        "[...document.getElementById('stage').options].map(o => o.value)") ==
        ["", "base", "cold_start", "rl"])


def test_hover_and_zoom(browser):
    box = browser.js("""(() => { const c = document.querySelector('canvas');
      c.scrollIntoView({block: 'center'}); const r = c.getBoundingClientRect();
      return [r.left, r.top, r.width, r.height]; })()""")
    value = "document.querySelector('.legend b').textContent"
    newest = browser.js(value)
    y = box[1] + box[3] / 2
    browser.mouse("mouseMoved", box[0] + box[2] * 0.2, y)
    browser.wait(f"{value} !== {newest!r}")
    check("hover shows an older value", True, browser.js(value))
    browser.mouse("mousePressed", box[0] + box[2] * 0.3, y, "left", 1)
    browser.mouse("mouseMoved", box[0] + box[2] * 0.6, y, "left")
    browser.mouse("mouseReleased", box[0] + box[2] * 0.6, y, "left", 1)
    browser.wait("!document.getElementById('unzoom').hidden")
    browser.js("document.getElementById('unzoom').click()")
    browser.wait("document.getElementById('unzoom').hidden")
    browser.mouse("mouseMoved", 2, 2)
    browser.wait(f"{value} === {newest!r}")
    check("drag zooms, the button resets", True)


def test_workers(browser):
    rows = browser.js("[...document.querySelectorAll('#workers tr')].map("
                      "r => r.className + '|' + r.textContent)")
    check("three workers", len(rows) == 3, len(rows))
    check("a working one", rows[0].startswith("|worker-1mallard / 41207") and "30.9k" in rows[0]
          and "38 %" in rows[0] and "generating" in rows[0])
    check("the lost one stands out", rows[2].startswith("lost|worker-3"), rows[2])


def test_samples(browser):
    count = browser.js("document.querySelectorAll('#groups li').length")
    check("groups are listed", count == 64, count)
    check("a group's samples stand side by side",
          browser.js("document.querySelectorAll('#group .card').length") == 8)
    check("thinking and answer are coloured",
          browser.js("document.querySelectorAll('#group .think').length") == 8 and
          browser.js("document.querySelectorAll('#group .txt .answer').length") > 0)
    check("reward and reasons are shown",
          "exact_match 1 · match" in browser.js("document.querySelector('#group').textContent"))
    browser.js("document.getElementById('fold').click()")
    check("thinking folds", browser.js("document.querySelectorAll('#group .think').length") == 0)
    browser.js("document.getElementById('fold').click()")
    set_input(browser, "reward-max", "0.5")
    wrong = browser.js("document.querySelectorAll('#groups li').length")
    check("the reward filter leaves groups with such samples", 0 < wrong < count, wrong)
    check("and dims the others", browser.js("document.querySelectorAll('.card.dim').length") > 0)
    set_input(browser, "reward-max", "")


def set_input(browser, name, value):
    browser.js(f"(() => {{ const i = document.getElementById({name!r}); i.value = {value!r};"
               "i.dispatchEvent(new Event('input')); })()")


def test_hostile_samples(browser):
    browser.js("""(() => { const s = document.getElementById('sample-step');
      s.selectedIndex = s.options.length - 1; s.dispatchEvent(new Event('change')); })()""")
    browser.wait("document.querySelectorAll('#groups li').length === 5")
    set_input(browser, "sample-text", "HOSTILE")
    browser.wait("document.querySelectorAll('#groups li').length === 1")
    texts = browser.js("[...document.querySelectorAll('#group .card .txt')].map("
                       "t => t.textContent)")
    check("script is text", "<script>window.pwned = 1</script>" in texts[0], texts[0])
    check("reading direction is shown, not obeyed", "⟨U+202E⟩abc⟨U+202C⟩" in texts[2],
          texts[2])
    check("invalid bytes became U+FFFD", "���� caf�" in texts[3], texts[3])
    check("control characters are named", "⟨U+001B⟩[31mred" in texts[3])
    check("a long text is cut", len(texts[4]) == 20000, len(texts[4]))
    check("its card does not grow", browser.js(
        "Math.max(...[...document.querySelectorAll('.card')].map(c => c.offsetHeight))") < 450)
    browser.js("[...document.querySelectorAll('.card button')].pop().click()")
    check("until all is asked for", browser.js(
        "[...document.querySelectorAll('.card .txt')].pop().textContent.length") > 65000)
    check("no element came from a sample", browser.js(
        "document.querySelectorAll('#samples :is(script, img, iframe, a, .txt b, .txt i,"
        " .ask b, .ask i, .parts b)').length") == 0)
    check("no script ran", browser.js("window.pwned") is None)
    check("the page is no wider than the window", browser.js(
        "document.documentElement.scrollWidth <= innerWidth"))
    set_input(browser, "sample-text", "")


def test_policy(browser):
    browser.js("""(() => { const s = document.createElement('script');
      s.textContent = 'window.inline = 1'; document.body.append(s); })()""")
    check("the content policy stops an inline script", browser.js("window.inline") is None)
    stopped = browser.js("""new Promise(done => {
      document.addEventListener('securitypolicyviolation', e => done(e.effectiveDirective));
      fetch('http://127.0.0.2:9/').catch(() => setTimeout(() => done('nothing'), 1000)); })""")
    check("and a request to elsewhere", stopped == "connect-src", stopped)


def test_live(browser, demo):
    demo.tell("step")
    browser.wait("document.getElementById('step').textContent === '213 / 350'")
    check("a new step appears", True)


def test_restart(browser, demo, program):
    seconds = demo.stop()
    check("the server stops within a second", seconds < 1, f"{seconds:.2f} s")
    browser.wait("document.getElementById('banner').textContent.includes('not reachable since')")
    check("the page says that the learner is gone", browser.js(
        "document.getElementById('state').textContent") == "unreachable")
    check("and keeps the curves", browser.js("document.querySelectorAll('canvas').length") >= 15)
    address = demo.url[len("http://"):].rstrip("/")
    again = Demo(program, "--incarnation", "2", "--address", address)
    browser.wait("document.getElementById('banner').hidden")
    browser.wait("document.getElementById('foot').textContent.includes('attempt 2')")
    browser.wait("document.getElementById('step').textContent === '212 / 350'")
    check("it comes back with the next attempt", True)
    again.tell("fail")
    browser.wait("document.getElementById('state').textContent === 'failed'")
    check("a failure is shown as text", browser.js("document.getElementById('banner').textContent")
          == "The run failed: the loss was NaN <b>three</b> times")
    return again


def test_prometheus(demo):
    text = demo.get("metrics")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    samples = sum(len(family.samples) for family in families.values())
    check("prometheus_client parses /metrics", samples > 60,
          f"{len(families)} families, {samples} samples")
    check("workers", families["r1_workers_connected"].samples[0].value == 2)
    check("a histogram", families["r1_response_length_tokens"].type == "histogram")
    check("a counter", families["r1_groups"].type == "counter")
    check("no sample text", "script" not in text and "hostile" not in text)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program")
    parser.add_argument("--screenshots", type=pathlib.Path)
    arguments = parser.parse_args()
    demo = Demo(arguments.program)
    browser = Browser()
    try:
        test_prometheus(demo)
        open_page(browser, demo)
        test_size(browser, demo)
        test_header(browser)
        test_curves(browser, demo)
        if arguments.screenshots:
            arguments.screenshots.mkdir(parents=True, exist_ok=True)
            browser.resize(1440, 1180)
            for scheme in ("dark", "light"):
                browser.color_scheme(scheme)
                time.sleep(0.5)
                browser.screenshot(arguments.screenshots / f"dashboard_{scheme}.png")
        test_hover_and_zoom(browser)
        test_workers(browser)
        test_samples(browser)
        test_live(browser, demo)
        test_hostile_samples(browser)
        check("no error in the console", browser.errors == [], browser.errors)
        outside = [url for url in browser.requests if not url.startswith(demo.url)]
        check("no request to elsewhere", outside == [], outside)
        test_policy(browser)
        demo = test_restart(browser, demo, arguments.program)
        faults = [error for error in browser.errors
                  if "ERR_CONNECTION_REFUSED" not in error and "Content Security" not in error]
        check("no fault of the page while the learner was away", faults == [], faults)
    finally:
        browser.close()
        demo.process.kill()
    print("passed")


if __name__ == "__main__":
    main()
