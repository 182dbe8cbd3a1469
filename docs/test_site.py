"""The documentation: built strictly, every page opened in a browser, every block of code run as it is printed.

mkdocs build && pytest -n auto docs        # Chromium must be there (Debian: apt install chromium)
"""

import functools
import html
import http.server
import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import quick_xla

ROOT = Path(__file__).parent.parent
PAGES, SITE = ROOT / "docs" / "pages", ROOT / "site"
sys.path.insert(0, str(ROOT / "docs"))
FENCE = re.compile(r"^```python([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NAMES = sorted(str(p.relative_to(SITE)) for p in SITE.rglob("*.html") if p.name != "404.html") if SITE.exists() else []


def blocks(path):
    """The Python of a page, in order; another simulator's is left out."""
    text = re.sub(r'--8<-- "(.*?)"', lambda m: (ROOT / "docs" / m[1]).read_text(), path.read_text(encoding="utf-8"))
    return [code for title, code in FENCE.findall(text) if "aihwkit" not in title]


WITH_CODE = sorted(
    str(p.relative_to(PAGES))
    for p in PAGES.rglob("*.md")
    if blocks(p) and "own/" not in str(p) and p.name != "plots.md"
)  # those: by the tests, and by the build


@pytest.mark.parametrize("name", WITH_CODE)
def test_a_pages_code_runs_as_printed(name, tmp_path, tmp_path_factory):
    cache = tmp_path_factory.getbasetemp().parent / "cache"
    env = {
        **os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        "JAX_LOGGING_LEVEL": "CRITICAL", "MPLBACKEND": "Agg", "XLA_FLAGS": quick_xla.PROGRAMS,
    }  # fmt: skip
    code = "\n\n".join(blocks(PAGES / name))
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_everyday_tasks_take_ten_lines_each():
    """The code of a task without its data, as a user writes it."""
    longest = {}
    for name, which in TASKS.items():
        code = blocks(PAGES / name)[which]
        longest[name, which] = len([line for line in code.splitlines() if line.strip() and not is_import(line)])
    assert max(longest.values()) <= 10, longest


def is_import(line):
    return line.startswith(("import ", "from "))


TASKS = {
    "how-to/own-device.md": 1, "how-to/networks.md": 0, "how-to/adc-bits.md": 0, "how-to/wire-resistance.md": 0,
    "how-to/methods.md": 0, "how-to/own-noise.md": 1, "how-to/save-and-load.md": 0, "how-to/other-libraries.md": 2,
    "how-to/meaning.md": 0, "how-to/population.md": 0,
}  # fmt: skip


# -------------------------------------------------------------------------------------------- the built site


def test_the_site_is_built():
    assert len(NAMES) > 60, "build it first: mkdocs build"


def test_every_public_name_has_an_entry():
    import hooks

    ids = set()
    for page in (SITE / "api").glob("*.html"):
        ids |= set(re.findall(r'id="([^"]+)"', page.read_text(encoding="utf-8")))
    missing = []
    for name in hooks.MODULES:
        path = name if name != "crossjax.wires" else "crossjax.circuits.wires"
        module = importlib.import_module(path)
        for entry in hooks.public(name) if name != "crossjax.interop" else ():
            value = getattr(module, entry)
            home = f"{getattr(value, '__module__', path)}.{getattr(value, '__qualname__', entry)}"
            if not inspect.ismodule(value) and not {f"{path}.{entry}", home} & ids:
                missing.append(f"{name}.{entry}")
    for inner in hooks.INTEROP:
        module = importlib.import_module(f"crossjax.interop.{inner}")
        for entry in module.__all__:
            value = getattr(module, entry)
            if not {f"{module.__name__}.{entry}", f"{value.__module__}.{value.__qualname__}"} & ids:
                missing.append(f"{module.__name__}.{entry}")
    assert not missing


def test_pages_show_the_files_that_are_run():
    for page in [*sorted((PAGES / "own").glob("*.md")), PAGES / "how-to" / "plots.md"]:
        text = (SITE / page.relative_to(PAGES)).with_suffix(".html").read_text(encoding="utf-8")
        shown = re.sub(r"<[^>]+>", "", text)
        for name in re.findall(r'--8<-- "(.*?)"', page.read_text(encoding="utf-8")) or [None]:
            assert name, f"{page} shows no file"
            last = (ROOT / "docs" / name).read_text(encoding="utf-8").splitlines()[-1]
            assert html.escape(last, quote=False) in shown, (page.name, name)


def test_nothing_is_fetched_from_elsewhere():
    for name in NAMES:
        text = (SITE / name).read_text(encoding="utf-8")
        found = re.findall(r'<(?:script|img|iframe)[^>]+src="(https?://[^"]+)"', text)
        found += re.findall(r'<link[^>]+rel="(?:stylesheet|preconnect)"[^>]*href="(https?://[^"]+)"', text)
        assert not found, name


def test_links_within_the_site_lead_somewhere():
    for name in NAMES:
        page = SITE / name
        for link in re.findall(r'(?:href|src)="([^"]+)"', page.read_text(encoding="utf-8")):
            target = link.split("#")[0].split("?")[0]
            if target and not re.match(r"[a-z]+:|//|data:", target):
                assert (page.parent / target).resolve().exists(), f"{name}: {link}"


# ---------------------------------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def served():
    """The address of the site."""
    quiet = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(SITE))
    quiet.func.log_message = lambda *args: None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    where = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert where, "no browser: these tests need Chromium (Debian: apt install chromium)"
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]  # fmt: skip
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=where, args=quiet)
        yield chromium
        chromium.close()


@pytest.mark.parametrize("width", [1280, 380])
def test_every_page_opens_on_a_desk_and_on_a_phone(width, browser, served):
    page = browser.new_page(viewport={"width": width, "height": 900})
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("response", lambda response: problems.extend([response.url] if response.status >= 400 else []))
    page.on("request", lambda request: problems.extend([request.url] if served not in request.url else []))
    for name in NAMES:
        page.goto(f"{served}/{name}", wait_until="load")
        assert page.locator("h1").first.inner_text().strip(), name
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 1, f"{name} is {wide} pixels wider than a screen of {width}"
        broken = page.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)")
        assert not broken, (name, broken)
    assert not [p for p in problems if not p.startswith("data:")], problems[:5]
    page.close()


def test_navigation_and_search_lead_to_pages(browser, served):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{served}/index.html")
    seen = [page.title()]
    while (following := page.locator("a.md-footer__link--next")).count():
        following.click()
        page.wait_for_load_state()
        assert page.title() not in seen
        seen.append(page.title())
        if len(seen) > len(NAMES):
            break
    side = page.locator("nav.md-nav--primary a.md-nav__link[href]")
    assert side.count() >= len(NAMES) - 5
    for words, wanted in (("drift exponent", "api"), ("GDP", "methods"), ("wire resistance", "wire-resistance")):
        page.goto(f"{served}/index.html")
        found = page.locator(".md-search-result__item a")
        for _ in range(8):  # words that are typed while the index is still loading find nothing
            page.locator("input.md-search__input").click()
            page.locator("input.md-search__input").fill("")
            page.locator("input.md-search__input").press_sequentially(words, delay=20)
            page.wait_for_timeout(2000)
            if found.count():
                break
        links = [a.get_attribute("href") for a in found.all()]
        assert any(wanted in link for link in links), (words, links)
        page.goto(links[0])
        assert page.locator("h1").first.inner_text()
    page.close()
