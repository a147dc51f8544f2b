"""Pictures and transcript of docs/pcap.md.

``python tests/support/pictures.py`` makes them anew (needs chromium); with ``--text`` only the
transcript. The capture is `support.example_capture`; both show what the tool prints of it.
"""

from __future__ import annotations

import html
import os
import pty
import re
import subprocess
import sys
import tempfile
from pathlib import Path

# run by its path as well as imported by tests
sys.path.insert(0, str(Path(__file__).parent.parent))

from support.cli import COMMAND, environment, rstaudit
from support.example_capture import capture

IMAGES = Path(__file__).parent.parent.parent / "docs" / "images"

#: Terminal colours (SGR codes that rich writes) in words of a style sheet.
_STYLES = {
    "1": "font-weight:bold", "2": "color:#8b949e", "31": "color:#ff8a80", "32": "color:#7fd694",
    "33": "color:#f0b860", "36": "color:#79c0ff",
}  # fmt: skip

_TERMINAL = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #14171a; }}
pre {{
  margin: 0; padding: 16px 20px; color: #e4e7eb; font: 15px/1.25 "DejaVu Sans Mono", monospace;
}}
</style><pre>{}</pre>"""


PAGE = IMAGES.parent / "pcap.md"

#: The transcript in the page.
TRANSCRIPT = re.compile(
    r"(?<=^```text\n\$ rstaudit pcap web\.pcap\n).*?(?=^```)", re.DOTALL | re.MULTILINE
)


def main() -> None:
    """Write the transcript and both pictures."""
    PAGE.write_text(TRANSCRIPT.sub(lambda _: transcript(), PAGE.read_text()))
    if "--text" in sys.argv:
        return
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rstaudit-pictures-") as name:
        folder = Path(name)
        (folder / "web.pcap").write_bytes(capture())
        ladder = ["pcap", "web.pcap", "--ladder", "--flow", "198.51.100.9"]
        text = on_a_terminal(folder, ladder)
        shown = f"$ rstaudit {' '.join(ladder)}\n{text}"
        (folder / "text.html").write_text(_TERMINAL.format(coloured(shown)))
        rows = shown.count("\n") + 1
        photograph(folder / "text.html", IMAGES / "pcap-ladder-text.png", 860, 19 * rows + 32)
        report = [*COMMAND, "pcap", "web.pcap", "--flow", "198.51.100.9", "--format", "html"]
        subprocess.run(
            [*report, "-o", "report.html"], cwd=folder, env=environment(), check=True, timeout=60
        )
        photograph(folder / "report.html", IMAGES / "pcap-ladder-html.png", 1000, 1800)


def transcript() -> str:
    """What the tool prints of the capture in a pipe."""
    with tempfile.TemporaryDirectory(prefix="rstaudit-pictures-") as name:
        (Path(name) / "web.pcap").write_bytes(capture())
        return rstaudit("pcap", "web.pcap", cwd=Path(name), COLUMNS="80").stdout


def on_a_terminal(folder: Path, arguments: list[str]) -> str:
    """What the tool prints there, colours included."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments], cwd=folder, stdin=subprocess.DEVNULL, stdout=theirs,
        env=environment(TERM="xterm", COLUMNS="80", LC_ALL="C.UTF-8"),
    )  # fmt: skip
    os.close(theirs)
    parts = []
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # a terminal whose last program has ended
            break
        if not part:
            break
        parts.append(part)
    os.close(ours)
    if process.wait(60):
        raise SystemExit("rstaudit failed")
    return b"".join(parts).decode().replace("\r\n", "\n")


def coloured(text: str) -> str:
    """Terminal output as HTML."""
    parts: list[str] = []
    for piece in re.split(r"(\x1b\[[0-9;]*m)", text):
        if not piece.startswith("\x1b"):
            parts.append(html.escape(piece))
            continue
        codes = piece[2:-1].split(";")
        style = ";".join(_STYLES[code] for code in codes if code in _STYLES)
        parts.append(f'<span style="{style}">' if style else "</span>")
    return "".join(parts)


def photograph(page: Path, picture: Path, width: int, height: int) -> None:
    """A browser's picture of ``page``."""
    subprocess.run(
        [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--user-data-dir={page.parent / 'profile'}", f"--window-size={width},{height}",
            f"--screenshot={picture}", page.as_uri(),
        ],
        capture_output=True, check=True, timeout=90,
    )  # fmt: skip


if __name__ == "__main__":
    main()
