"""The HTML report: one file, everything in it text, and a browser that has nothing to say."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from rstaudit.model.capture import Unreadable
from rstaudit.model.ladder import Ladder, States, Step
from rstaudit.report import ladder_svg
from rstaudit.report.pcap_groups import Group
from rstaudit.report.pcap_html import render
from support.captured import LIKELY, TIME, MadeReset, grouped, half_open, made, summed

HOSTILE = (
    "<script>alert(1)</script><img src=http://example.invalid/x onerror='alert(2)'>\x1b[31m&\"'"
)

Drawing = tuple[Ladder, dict[int, MadeReset]]


def page(*resets: MadeReset, file: str = "web.pcap", ladder: Ladder | None = None) -> str:
    """The report on these resets, each group with ``ladder``."""

    def drawings(group: Group) -> Iterable[Drawing]:
        if ladder is not None:
            last = ladder.steps[-1][0].frame
            yield ladder, {last: next(r for r in resets if r.diagnosis.cause == group.cause)}

    broken = [Unreadable("notes.txt", "a text file")]
    return render([summed(len(resets), file)], broken, grouped(*resets, file=file), None, drawings)


class Seen(HTMLParser):
    """Elements and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Text between tags."""
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element of that name."""
        return [attributes for name, attributes in self.elements if name == tag]


def squeezed(text: str) -> str:
    """With single blanks."""
    return " ".join(text.split())


def test_each_kind_has_a_section_and_a_ladder() -> None:
    """Cause, count, who, why, what else, what to do, and the drawing."""
    seen = Seen(
        page(
            made("half-open", confidence=LIKELY, alternatives=("idle-timeout",)),
            made("closed-port"), made("data-to-closed", benign=True), ladder=half_open(),
        )
    )  # fmt: skip
    assert len(seen.all("section")) == len(seen.all("svg")) == 3
    text = squeezed(seen.text)
    for words in (
        "Nothing listens on that port",
        "1 reset, likely, from server 192.0.2.5:8080 to client 198.51.100.9:51234",
        "The server answered data with a bare reset.",
        "idle-timeout (A device on the path forgot the idle connection)",
        "Start the service, or make clients wait until it says it is ready.",
        "Harmless: nothing was lost, and nobody needs to act.",
        "not read: a text file",
        "… 1,234 segments in 1.1 s …",
    ):
        assert words in text


def test_the_file_needs_nothing_else() -> None:
    """No script, no address to load from, and a policy that forbids both."""
    html = page(made(), ladder=half_open())
    seen = Seen(html)
    assert not seen.all("script")
    links = [a[name] for _, a in seen.elements for name in ("src", "href") if name in a]
    assert all(str(link).startswith(("#", "data:,")) for link in links)
    assert "url(" not in re.sub(r"url\(#[a-z]+-\d+\)", "", html)
    (policy,) = [meta for meta in seen.all("meta") if "http-equiv" in meta]
    assert str(policy["content"]).startswith("default-src 'none'")


def test_hostile_text_stays_text() -> None:
    """Names of files, payloads and evidence hold no markup and no control characters."""
    step = Step(TIME, 1, True, "SYN", 0, None, 0, 0, HOSTILE)
    ladder = Ladder(HOSTILE, HOSTILE, States(HOSTILE, "?"), ((step, States(HOSTILE, HOSTILE)),))
    reset = made(frame=1, why=HOSTILE, evidence={"payload": HOSTILE, HOSTILE: 1})
    html = page(reset, file=HOSTILE, ladder=ladder)
    seen = Seen(html)
    assert not seen.all("script")
    assert not seen.all("img")
    assert "\x1b" not in html
    assert "alert(1)" in seen.text


def test_ids_are_unique_and_links_lead_to_one() -> None:
    """Also where one kind has several ladders."""
    seen = Seen(page(made("half-open"), made("closed-port"), ladder=half_open()))
    ids = [attributes["id"] for _, attributes in seen.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [str(link["href"])[1:] for link in seen.all("a")]
    assert targets
    assert set(targets) <= set(ids)


def test_the_drawing_is_well_formed_and_described() -> None:
    """XML that a parser takes; a title, and every segment in words for a screen reader."""
    root = ElementTree.fromstring(ladder_svg.render(half_open(), {1241}, 1))
    assert root.get("role") == "img"
    assert root.findtext("title") == "Ladder of 198.51.100.9:51234 and 192.0.2.5:8080"
    words = str(root.findtext("desc"))
    assert "Frame 1, 0.000000 s: client sends SYN seq 0; client SYN_SENT, server LISTEN." in words
    assert words.count("Frame") == 7
    arrows = [line.get("class") for line in root.iter("line") if line.get("marker-end")]
    assert arrows == ["segment"] * 6 + ["reset"]
    texts = [text.text for text in root.iter("text")]
    assert "ESTABLISHED" in texts
    assert "60.2 s without a segment" in texts


@pytest.mark.live
def test_a_browser_shows_it_and_asks_for_nothing(tmp_path: Path) -> None:
    """Chromium: no message on its console, no request but for the file itself."""
    report, log = tmp_path / "report.html", tmp_path / "net.json"
    report.write_text(page(made("half-open", why=HOSTILE), ladder=half_open()))
    done = subprocess.run(
        [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={log}",
            "--disable-background-networking", "--disable-component-update", "--no-first-run",
            "--dump-dom", report.as_uri(),
        ],
        capture_output=True, text=True, check=True, timeout=90,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    assert done.stdout.count("<svg") == 1
    assert "alert(1)" in done.stdout
    assert "example.invalid" not in log.read_text(errors="replace")
