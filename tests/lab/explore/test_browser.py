import json
import re
import time

import pytest
from selenium.webdriver.common.keys import Keys

from multispin_env.envs.rendering.traces import round_up
from multispin_lab.explore import no_barrier
from multispin_lab.explore.one_round import RoundSettings
from multispin_lab.explore.page import VIEWS, view_numbers
from multispin_lab.explore.settings import ScenarioSources
from tests.lab.explore.browser import CHROMEDRIVER, CHROMIUM, browser, redraw, resize, served, visit

installed = CHROMIUM.exists() and CHROMEDRIVER.exists()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not installed, reason="needs Chromium and its driver")]

NAMELESS = """return [...document.querySelectorAll('input:not([type=hidden]), select, [contenteditable]')]
    .filter(e => !(e.labels && e.labels.length) && !e.ariaLabel).map(e => e.outerHTML)"""
"""Controls without a name for screen readers."""

CUT = """const context = document.createElement('canvas').getContext('2d');
    return [...document.querySelectorAll('#controls select')].filter(menu => {
      context.font = getComputedStyle(menu).font;
      return [...menu.options].some(option => context.measureText(option.text).width > menu.clientWidth - 24);
    }).map(menu => menu.id)"""
"""Menus with an option that is wider than the menu without its arrow."""


@pytest.fixture(scope="module")
def address():
    with served() as where:
        yield where


@pytest.fixture(scope="module")
def shared():
    with browser() as driver:
        driver.set_script_timeout(20)
        yield driver


@pytest.fixture
def driver(shared):
    resize(shared, 1200)
    shared.get("about:blank")
    for kind in ("browser", "performance"):
        shared.get_log(kind)
    return shared


def text(driver, css):
    return driver.execute_script("return document.querySelector(arguments[0]).textContent", css)


def texts(driver, css):
    return driver.execute_script("return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", css)


def until(driver, script, *arguments, seconds=10.0):
    end = time.monotonic() + seconds
    while not (result := driver.execute_script(script, *arguments)):
        assert time.monotonic() < end, script
        time.sleep(0.01)
    return result


def edit(driver, cell, value, key=Keys.ENTER):
    driver.execute_script(
        "window.answered = 0; document.addEventListener('drawn', () => { window.answered += 1; }, { once: true })"
    )
    result = driver.find_element("css selector", f'[data-cell="{cell}"]')
    driver.execute_script("arguments[0].focus()", result)
    result.send_keys(Keys.CONTROL, "a", Keys.NULL, value, key)
    if key == Keys.ENTER:
        until(driver, "return window.answered")


def state_of(driver):
    """Results and address of the page, without the player."""
    script = """const results = document.getElementById('results').cloneNode(true);
        results.querySelector('#player')?.replaceChildren();
        return [[...results.querySelectorAll('.card')].map(e => e.textContent), location.href]"""
    return driver.execute_script(script)


@pytest.mark.parametrize("view", VIEWS.names())
def test_a_view_opens_and_redraws_in_silence(driver, address, view):
    """Empty console, no foreign requests, and links that restore the state."""
    visit(driver, f"{address}/{view}")
    first = state_of(driver)
    assert first[0]
    assert driver.execute_script(NAMELESS) == []
    for width in (1600, 400):
        resize(driver, width)
        until(driver, "return window.innerWidth === arguments[0]", width)  # a frame after the style sheet has come
        assert driver.execute_script("return document.documentElement.scrollWidth") <= width
        assert driver.execute_script(CUT) == []
    labels = texts(driver, "[data-label]")
    redraw(driver, "scenario", "qwen3.5")
    assert texts(driver, "[data-label]") != labels
    redraw(driver, "num_users", 3)
    changed = state_of(driver)
    assert changed[0] != first[0]
    assert changed[1] == driver.execute_script("return document.getElementById('link').href")
    assert text(driver, "output[for=num_users]") == "3"
    assert text(driver, "#error") == ""
    driver.get("about:blank")
    visit(driver, changed[1])
    assert state_of(driver) == changed
    assert driver.execute_script("return document.getElementById('num_users').value") == "3"
    assert driver.get_log("browser") == []
    messages = [json.loads(line["message"])["message"] for line in driver.get_log("performance")]
    asked = [entry["params"]["request"]["url"] for entry in messages if entry["method"] == "Network.requestWillBeSent"]
    assert f"{address}/{view}" in asked
    assert not [url for url in asked if not url.startswith((f"{address}/", "data:", "chrome:", "about:"))]


def test_the_copied_python_and_the_tables_are_those_of_the_link(driver, address):
    visit(driver, f"{address}/one-round?num_users=5&edits=2.snr_db%3D4.5&moved=3&moved_db=-7.5&payload=ids")
    allowed = {"origin": address, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    driver.execute_cdp_cmd("Browser.grantPermissions", allowed)
    driver.find_element("css selector", "[data-copy=python]").click()
    until(driver, "return document.querySelector('[data-copy=python]').textContent === 'Copied'")
    code = driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert code == text(driver, "#python")
    link = driver.execute_script("return document.getElementById('link').getAttribute('href')")
    assert f"view_numbers({link!r})" in code
    result = view_numbers(link)
    arrays = result.decision.draft_length, result.decision.bandwidth / 1e6, result.outcome.tokens
    for column, values, digits in zip((2, 3, 5), arrays, (0, 3, 3), strict=True):
        assert texts(driver, f"[data-table=allocation] tbody td:nth-child({column})") == [
            f"{value:.{digits}f}" for value in values
        ]
    rows = texts(driver, "[data-table=controllers] tbody td")
    assert dict(zip(rows[::3], rows[1::3], strict=True)) == {
        name: f"{entry:.2f}" for name, entry in result.goodputs.items()
    }


def test_the_timelines_play_by_the_keyboard(driver, address):
    visit(driver, f"{address}/no-barrier?num_users=20")
    player = driver.find_element("id", "player")
    now, end = re.findall(r"[\d.]+", text(driver, "#player output"))
    assert now == end
    of = "const p = document.getElementById('player').player; return "
    news = texts(driver, ".player-news")
    assert driver.execute_script(f"{of} [p.clock - p.end, p.playing]") == [0, False]  # curves are whole at first
    assert all(sum(map(int, re.findall(r"(\d+) (?:drafting|uploading|waiting|in ver)", line))) == 20 for line in news)
    bound, top = driver.execute_script(f"{of} [p.curves[0].bound, p.curves[0].top]")
    assert top == round_up(bound)
    player.send_keys("+", " ")
    time.sleep(1.0)
    frames, seconds, moved = driver.execute_script(
        f"{of} [p.frames, (performance.now() - p.started) / 1000, p.clock / p.record.ticks]"
    )
    assert frames > 1
    assert moved == pytest.approx(seconds, abs=0.2)  # ahead of its first speed, one half
    assert texts(driver, ".player-news") != news
    player.send_keys(" ")
    paused = driver.execute_script(f"{of} p.clock")
    player.send_keys(Keys.ARROW_LEFT)
    assert driver.execute_script(f"{of} [p.playing, p.clock]") == [False, paused - 5000]


def test_the_words_beside_the_timelines_are_those_of_the_episode(driver, address):
    query = "num_users=3&seconds=2&episodes=2&requests=poisson&load=1.5"
    visit(driver, f"{address}/no-barrier?{query}")
    result = no_barrier.NoBarrierSettings.from_query(query).compute(ScenarioSources())
    for position, (name, facts) in enumerate(result.first.items(), start=1):
        shown = texts(driver, f"[data-table=first] tbody tr:nth-child({position}) td")
        assert shown == [name, *(f"{value:.3f}" for value in facts.values())]
    driver.execute_script("const p = document.getElementById('player').player; p.seek(p.end)")
    for side, news in zip(result.record["sides"], texts(driver, ".player-news"), strict=True):
        shown = min(entry["shown"] for entry in result.record["sides"])
        last = max(number for number, end in enumerate(side["ends"]) if end <= shown)
        rate = side["gained"][last] * result.record["ticks"] / side["ends"][last]
        assert f" {rate:.1f} tokens/s in time so far, {100 * rate / result.bound:.0f} % of the bound" in news
        assert f"; {side['waiting'][last]} requests waiting. " in news
        in_time = sum(answer[1] for answer in side["answers"] if answer[0] <= side["ends"][last])
        assert f"Requests: {in_time} in time, " in news
        doing = [int(entry) for entry in re.findall(r"(\d+) (?:drafting|uploading|waiting|in verification|idle)", news)]
        assert sum(doing) == 3


def test_a_bad_cell_is_refused_and_the_last_good_state_stays(driver, address):
    visit(driver, f"{address}/one-round?num_users=3")
    edit(driver, "2.snr_db", "4.5")
    good = state_of(driver)
    assert "edits=2.snr_db%3D4.5" in good[1]
    assert text(driver, "#error") == ""
    edit(driver, "3.acceptance", "1.5")
    assert text(driver, "#error") == "device 3, acceptance: expected a finite number in [0, 1], got 1.5"
    assert state_of(driver) == good
    edit(driver, "1.draft_ms", "a lot; more")
    assert text(driver, "#error").startswith("device 1, draft time (ms/token): expected a number from 0.01 to 10000")
    assert state_of(driver) == good
    redraw(driver, "megahertz", 20)
    assert text(driver, "#error") == ""
    assert text(driver, '[data-cell="2.snr_db"]') == "4.5"
    result = RoundSettings(num_users=3, megahertz=20.0, edits="2.snr_db=4.5").compute(ScenarioSources())
    assert text(driver, "[data-number=goodput]") == f"{result.goodputs['optimal']:.2f} tokens/s"
    edit(driver, "1.snr_db", "59", key=Keys.ESCAPE)
    assert text(driver, "[data-number=goodput]") == f"{result.goodputs['optimal']:.2f} tokens/s"
    driver.find_element("css selector", "[data-set=edits]").click()  # undo
    until(driver, "return !location.href.includes('edits')")
    assert text(driver, '[data-cell="2.snr_db"]') != "4.5"


def test_all_is_reached_by_the_keyboard(driver, address):
    visit(driver, f"{address}/one-round?num_users=1")
    focused = """const {id, dataset, tagName} = document.activeElement;
        return id || dataset.cell || dataset.copy || dataset.set || tagName"""
    reached = []
    for _ in range(40):
        driver.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(driver.execute_script(focused))
        if reached[-1] == "command":
            break
    controls = driver.execute_script("return [...document.querySelectorAll('.control [id]')].map(e => e.id)")
    assert [entry for entry in reached if entry in controls] == controls
    for entry in ("1.draft_ms", "1.snr_db", "1.acceptance", "edits", "link", "python", "command"):
        assert entry in reached
    before = text(driver, "[data-number=goodput]")
    slider = driver.find_element("id", "megahertz")
    slider.send_keys(Keys.ARROW_RIGHT)
    until(driver, "return document.querySelector('[data-number=goodput]').textContent !== arguments[0]", before)
    assert text(driver, "output[for=megahertz]") == "10.5 MHz"
