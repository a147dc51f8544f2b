"""``rstaudit pcap`` as a real process: files, pipes, what is broken, and every ending."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.cli import COMMAND, environment, rstaudit
from support.example_capture import START_NS, capture, downloaded, refused
from support.pictures import TRANSCRIPT, transcript
from support.talk import Talk
from support.wire import pcap
from test_report_json import validate

DOCS = Path(__file__).parent.parent / "docs"

#: The example: 24 refused connections, a forgotten one, six harmless endings of two resets each.
REFUSED, FORGOTTEN, HARMLESS = 24, 1, 12


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """The capture of docs/pcap.md."""
    path = tmp_path / "web.pcap"
    path.write_bytes(capture())
    return path


def answer(*arguments: str | Path, status: int = 0) -> dict[str, Any]:
    """The JSON document, which follows its schema."""
    done = rstaudit("pcap", "--format", "json", *map(str, arguments))
    assert done.returncode == status, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    validate("pcap", document)
    return document


def resets(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Those of all files."""
    return [reset for file in document["files"] for reset in file["resets"]]


def text(*arguments: str | Path, columns: int = 80) -> str:
    """The report; nothing on stderr."""
    done = rstaudit("pcap", *map(str, arguments), COLUMNS=str(columns))
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout


def test_every_reset_is_in_the_document(web: Path) -> None:
    """Frame, time, ends, cause; counts of the capture."""
    (file,) = answer(web)["files"]
    assert (file["packets"], file["tcp_packets"], file["flows"]) == (167, 167, 31)
    assert len(file["resets"]) == file["all_resets"] == REFUSED + FORGOTTEN + HARMLESS
    assert (file["truncated"], file["problem"], file["skipped"]) == (False, None, {})
    assert file["first_time"] == "2026-11-20T09:14:00.000000000Z"
    last = file["resets"][-1]
    assert (last["frame"], last["src"], last["dst"]) == (
        167,
        "192.0.2.5:8080",
        "198.51.100.9:51234",
    )
    assert last["cause"] in ("half-open", "idle-timeout")
    causes = Counter(reset["cause"] for reset in file["resets"])
    assert causes["closed-port"] == REFUSED
    assert [reset["frame"] for reset in file["resets"]] == sorted(
        reset["frame"] for reset in file["resets"]
    )


def test_the_text_has_a_group_for_each_cause(web: Path) -> None:
    """However many resets it holds; the harmless ones apart."""
    report = text(web, columns=120)
    assert report.startswith(f"{web}: 167 packets, 31 flows: 37 resets")
    assert report.count("closed-port: ") == 1
    harmful, harmless = report.split("Harmless: ")
    assert "24 resets, " in harmful
    assert "12 resets" in harmless or harmless.count("6 resets") == 2


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (["--flow", "167"], 1),
        (["--flow", "198.51.100.9:51234-192.0.2.5:8080"], 1),
        (["--flow", "192.0.2.5:9090"], REFUSED),
        (["--flow", "192.0.2.5-198.51.100.20"], REFUSED // 4),
        (["--cause", "closed-port"], REFUSED),
        (["--cause", "CLOSED-PORT", "--flow", "192.0.2.5:443"], 0),
        (["--since", "+2000"], FORGOTTEN),
        (["--until", "+2000"], REFUSED + HARMLESS),
        (["--since", "+3", "--until", "+5"], 2),
        (["--since", "2026-11-20T09:14:04Z", "--until", str(START_NS // 10**9 + 5)], 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_choose_resets(web: Path, options: list[str], count: int) -> None:
    """By flow, cause and time; how many there are in all is still said."""
    document = answer(web, *options)
    assert len(resets(document)) == count
    assert document["files"][0]["all_resets"] == REFUSED + FORGOTTEN + HARMLESS


@pytest.mark.parametrize("form", ["text", "json", "html"])
def test_a_flow_without_resets_is_likely_a_mistake(web: Path, form: str) -> None:
    """The work was done, so the status is 0; stderr says what the number should have been."""
    done = rstaudit("pcap", str(web), "--format", form, "--flow", "9999")
    assert done.returncode == 0
    assert done.stderr == (
        "rstaudit: --flow: frame 9999 is no reset that the other options leave in;"
        " without --flow there are some\n"
    )


def test_the_ladder_draws_the_flow(web: Path) -> None:
    """From handshake to reset, each end's state, what is left out counted."""
    report = text(web, "--ladder", "--flow", "167")
    assert "client 198.51.100.9:51234, server 192.0.2.5:8080\n" in report
    rows = [line for line in report.splitlines() if "│" in line]
    assert [row.split()[0] for row in rows[1:4]] == ["1", "2", "3"]
    assert "SYN_SENT" in rows[1]
    assert rows[3].split()[2] == rows[3].split()[-1] == "ESTABLISHED"
    assert any(re.search(r"… \d+ segments in [\d.]+ s …", row) for row in rows)
    assert any("2105.5 s without a segment" in row for row in rows)
    assert "━ RST seq" in rows[-1] or "━ RST" in rows[-1]
    assert max(map(len, report.splitlines())) <= 100


def test_a_port_that_refuses_is_drawn_closed(web: Path) -> None:
    """A server that only ever answers with resets has no socket, and is in no state but CLOSE."""
    report = text(web, "--ladder", "--flow", "192.0.2.5:9090")
    rows = [line for line in report.splitlines() if "│" in line]
    assert len(rows) == 3 * report.count("\nclient ")
    assert {row.split()[-1] for row in rows} == {"CLOSE"}


def test_chosen_flows_are_drawn_whole(web: Path) -> None:
    """Also where the first flows of their kind were not chosen."""
    report = text(web, "--ladder", "--since", "+35", "--cause", "closed-port")
    assert "─ SYN seq 0 ─" in report


def test_every_group_gets_a_ladder(web: Path) -> None:
    """One flow of each kind."""
    report = text(web, "--ladder")
    assert report.count("\nclient 198.51.100.") >= 3
    assert "ladder:" not in report


def test_html_is_written_whole(web: Path, tmp_path: Path) -> None:
    """With a ladder for each kind; the file is private."""
    page = tmp_path / "report.html"
    assert text(web, "--format", "html", "-o", page) == ""
    assert page.read_text().count("<svg") >= 3
    assert page.stat().st_mode & 0o777 == 0o600


def test_standard_input_gives_the_same_answer(web: Path) -> None:
    """`-` is a capture like any other."""
    done = subprocess.run(
        [*COMMAND, "pcap", "-", "--format", "json"], input=web.read_bytes(), env=environment(),
        capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    piped = json.loads(done.stdout)
    direct = answer(web)
    assert piped["files"][0].pop("file") == "-"
    direct["files"][0].pop("file")
    assert piped == direct


def test_a_file_on_standard_input_is_whole(web: Path) -> None:
    """Nothing can be added to it, so nothing is printed ahead of the report."""
    with web.open("rb") as file:
        done = subprocess.run(
            [*COMMAND, "pcap", "-"], stdin=file, env=environment(), capture_output=True,
            text=True, check=True, timeout=60,
        )  # fmt: skip
    assert done.stdout.startswith("-: 167 packets")
    assert "ladder:" not in done.stdout


def test_several_files_are_read_each_on_its_own(web: Path, tmp_path: Path) -> None:
    """In the order given; the text says which frame is whose."""
    other = tmp_path / "other.pcap"
    other.write_bytes(pcap(refused(1).packets))
    document = answer(other, web)
    assert [file["file"] for file in document["files"]] == [str(other), str(web)]
    assert [len(file["resets"]) for file in document["files"]] == [1, 37]
    assert f"{other}:2" in text(other, web, columns=200)


def test_a_damaged_file_is_reported_up_to_there(web: Path, tmp_path: Path) -> None:
    """Everything before is reported; stderr and the document say where it ends."""
    cut = tmp_path / "cut.pcap"
    whole = web.read_bytes()
    cut.write_bytes(whole[: len(whole) - 20])
    done = rstaudit("pcap", str(cut), "--format", "json")
    assert done.returncode == 0
    (file,) = json.loads(done.stdout)["files"]
    assert file["truncated"] is True
    assert str(len(whole) - 20 - 50) in file["problem"] or "offset" in file["problem"]
    assert file["packets"] == 166
    assert re.fullmatch(r"rstaudit: \S+cut\.pcap: .*offset.*\n", done.stderr)
    shown = rstaudit("pcap", str(cut))
    assert "; cut short: " in " ".join(shown.stdout.split())


def test_what_cannot_be_read_is_named(web: Path, tmp_path: Path) -> None:
    """Alone: status 2 and a line. Among others: those are reported, and it is named."""
    noise, missing = tmp_path / "notes.txt", tmp_path / "missing.pcap"
    noise.write_text("this is no capture\n" * 20)
    for bad in (noise, missing):
        alone = rstaudit("pcap", str(bad))
        assert (alone.returncode, alone.stdout) == (2, "")
        assert alone.stderr.startswith(f"rstaudit: {bad}: ")
        assert alone.stderr.count("\n") == 1
    done = rstaudit("pcap", "--format", "json", str(noise), str(web), str(missing))
    assert done.returncode == 0
    document = json.loads(done.stdout)
    validate("pcap", document)
    assert [one["file"] for one in document["unreadable"]] == [str(noise), str(missing)]
    assert len(resets(document)) == 37
    assert done.stderr.count("\n") == 2


def test_an_empty_capture_has_no_resets(tmp_path: Path) -> None:
    """A header and nothing behind it is a capture."""
    empty = tmp_path / "empty.pcap"
    empty.write_bytes(pcap([]))
    assert text(empty, columns=200) == f"{empty}: 0 packets, 0 flows: no resets\n"
    assert answer(empty)["files"][0]["first_time"] is None


def test_the_status_can_tell_of_harm(web: Path, tmp_path: Path) -> None:
    """--fail-on-reset: 1 for harmful resets among those chosen, not for harmless ones."""
    harmless = tmp_path / "tls.pcap"
    harmless.write_bytes(pcap(downloaded(0).packets))
    for form in ("text", "json"):
        options = ["--format", form, "--fail-on-reset"]
        assert rstaudit("pcap", str(web), *options).returncode == 1
        assert rstaudit("pcap", str(web), *options, "--until", "+1").returncode == 0
        assert rstaudit("pcap", str(harmless), *options).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: FILE; see rstaudit pcap --help"),
        (["--flow", "x", "web.pcap"], "--flow: 'x' is no flow; give "),
        (["--since", "noon", "web.pcap"], "--since: 'noon' is no time; give "),
        (["--cause", "closed-prot", "web.pcap"], "did you mean 'closed-port'?"),
        (["--follow", "a", "b"], "--follow takes one FILE"),
        (["-", "-"], "standard input can be read once only"),
        (["--format", "xml", "web.pcap"], "unknown format 'xml'"),
        (["--ladder", "--format", "json", "web.pcap"], "--ladder is for text"),
        (["--limit", "x", "web.pcap"], "'x' is not a whole number"),
        (["-o", "/nowhere/x", "web.pcap"], "no such directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line(web: Path, arguments: list[str], message: str) -> None:
    """Status 2, what is wrong and what to do, nothing on standard output."""
    done = rstaudit("pcap", *arguments, cwd=web.parent)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    """A file's name may hold anything; the command to paste is quoted."""
    path = tmp_path / "a b\x1b[31m'$(x).pcap"
    path.write_bytes(pcap(refused(0).packets))
    report = text(path)
    assert "\x1b" not in report
    assert "\\x1b[31m" in report
    assert answer(path)["files"][0]["file"] == str(path)


def test_nothing_heavy_is_loaded(web: Path) -> None:
    """Plain text loads no colours, no templates, no YAML; the audit loads no numpy."""
    done = loaded("pcap", str(web))
    assert "numpy" in done
    assert not done & {"rich", "jinja2", "yaml", "logging", "subprocess", "asyncio"}
    assert "numpy" not in loaded("--interval", "0", "--fail-on", "never")


def loaded(*arguments: str) -> set[str]:
    """The modules that a run imports."""
    done = subprocess.run(
        [*COMMAND[:1], "-X", "importtime", *COMMAND[1:], *arguments],
        env=environment(), capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}


@contextmanager
def running(*arguments: str | Path, **more: Any) -> Iterator[subprocess.Popen[bytes]]:
    """The tool at work on something that may still grow."""
    process = subprocess.Popen(
        [*COMMAND, "pcap", *map(str, arguments)], env=environment(COLUMNS="200"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def line_of(process: subprocess.Popen[bytes]) -> str:
    """The next line it prints."""
    assert process.stdout is not None
    return process.stdout.readline().decode()


def test_a_live_capture_prints_resets_as_they_come() -> None:
    """Before the pipe closes; Ctrl-C then prints the report and ends as Ctrl-C does."""
    with running("-", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(pcap([*refused(0).packets, *downloaded(0).packets]))
        process.stdin.flush()
        first = line_of(process)
        assert " frame 2 192.0.2.5:9090 > 198.51.100.20:41000 closed-port (" in first
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=20)
        assert process.returncode == -signal.SIGINT
        assert errors == b""
        assert b"-: 13 packets, 2 flows: 3 resets" in rest


def test_the_end_of_a_pipe_prints_the_report() -> None:
    """Status 0, and what was found."""
    with running("-", stdin=subprocess.PIPE) as process:
        rest, errors = process.communicate(pcap(refused(0).packets), timeout=30)
    assert (process.returncode, errors) == (0, b"")
    assert rest.count(b"closed-port") >= 2


def test_a_growing_file_is_followed(tmp_path: Path) -> None:
    """What is appended is read, also where a packet comes in two pieces."""
    path = tmp_path / "growing.pcap"
    whole = pcap([*refused(0).packets, *refused(1).packets])
    path.write_bytes(whole[:30])
    with running("--follow", path) as process, path.open("ab", buffering=0) as file:
        for piece in (whole[30:200], whole[200:250], whole[250:]):
            time.sleep(0.1)
            file.write(piece)
        lines = [line_of(process), line_of(process)]
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=20)
    assert [re.findall(r"frame (\d+)", line) for line in lines] == [["2"], ["4"]]
    assert b"4 packets, 2 flows: 2 resets" in rest


def test_json_of_a_live_capture_is_whole_after_ctrl_c() -> None:
    """Resets are written as they come; the document is closed, and says it was interrupted."""
    with running("-", "--format", "json", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(pcap(refused(0).packets))
        process.stdin.flush()
        lines: list[str] = []
        while not lines or '"frame": 2' not in lines[-1]:
            lines.append(line_of(process))
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=20)
        document = json.loads("".join(lines) + rest.decode())
    validate("pcap", document)
    assert document["interrupted"] is True
    assert len(resets(document)) == 1


def test_ctrl_c_before_anything_came_ends_quietly() -> None:
    """Nothing was read, so there is nothing to say."""
    with running("-", stdin=subprocess.PIPE) as process:
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == -signal.SIGINT
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()


@pytest.mark.parametrize("form", ["text", "json", "html"])
def test_a_closed_pipe_is_not_an_error(web: Path, form: str) -> None:
    """Whoever reads may stop reading."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [*COMMAND, "pcap", str(web), "--format", form], env=environment(), stdout=writer,
            stderr=subprocess.PIPE, text=True, check=False, timeout=60,
        )  # fmt: skip
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_live_capture_ends_when_nobody_reads() -> None:
    """`tcpdump ... | rstaudit pcap - | head -1` comes to an end."""
    with running("-", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(pcap(refused(0).packets))
        process.stdin.flush()
        line_of(process)
        process.stdout.close()
        process.stdout = None
        process.stdin.write(pcap([p for n in range(1, 9) for p in refused(n).packets])[24:])
        process.stdin.flush()
        assert process.wait(20) == 0


def test_colour_is_for_terminals(web: Path) -> None:
    """On one the reset stands out; in a pipe, and with NO_COLOR, there are no codes."""
    assert "\x1b" not in text(web, "--ladder")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "pcap", str(web), "--ladder", "--flow", "167"], stdout=theirs,
        stdin=subprocess.DEVNULL, env=environment(TERM="xterm"),
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while part := _read(ours):
        shown += part
    os.close(ours)
    assert process.wait(30) == 0
    assert re.search(rb"\x1b\[1;31m[^\x1b]*RST", shown)


def test_a_large_file_shows_how_far_it_is(tmp_path: Path) -> None:
    """On a terminal, on stderr, and nothing of it stays; the report is as ever."""
    one = pcap(Talk().c("PA", bytes(60_000)).packets)
    large = tmp_path / "large.pcap"
    large.write_bytes(one[:24] + one[24:] * 1200)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "pcap", str(large)], stdout=subprocess.DEVNULL, stderr=theirs,
        stdin=subprocess.DEVNULL, env=environment(TERM="xterm"),
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while part := _read(ours):
        shown += part
    os.close(ours)
    assert process.wait(30) == 0
    assert re.search(rb"large\.pcap: \d+ %", shown)
    assert shown.rpartition(b"%")[2].strip() == b""


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # its last program has ended
        return b""


def test_a_locale_without_unicode_gets_a_ladder_in_ascii(web: Path) -> None:
    """Nothing is spelled out in escapes."""
    done = rstaudit("pcap", str(web), "--ladder", PYTHONIOENCODING="ascii")
    assert done.stdout.isascii()
    assert "\\u" not in done.stdout
    assert "= RST" in done.stdout


PAGE = (DOCS / "pcap.md").read_text()


def test_the_page_shows_what_the_tool_prints() -> None:
    """Its transcript is one; `python tests/support/pictures.py` writes it anew."""
    assert TRANSCRIPT.findall(PAGE) == [transcript()]


def test_the_page_lists_every_option() -> None:
    """And no other."""
    ours = set(re.findall(r"--[a-z][a-z-]+", rstaudit("pcap", "--help").stdout)) - {"--help"}
    table = PAGE.partition("## Options")[2].partition("## ")[0]
    assert set(re.findall(r"--[a-z][a-z-]+", table)) == ours - {"--output"}


def test_the_pictures_are_there() -> None:
    """Each that the page shows, made by tests/support/pictures.py."""
    for name in re.findall(r"\]\((images/[^)]+)\)", PAGE):
        assert (DOCS / name).read_bytes().startswith(b"\x89PNG")
