"""Write the made trees, and what an audit of each one says.

``PYTHONPATH=audit:tests python -m hosts.make`` writes the trees from values.tsv, counters.tsv
and the stories; with ``--golden`` it audits them and writes expected.PROFILE.json.
"""

from __future__ import annotations

import json
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from hosts.stories import STORIES, Process, Sock, Story
from rstaudit.catalogue.load import devices, profiles, settings
from rstaudit.collect.host import Options, collect
from rstaudit.model.facts import HostState
from rstaudit.model.rule import Result
from rstaudit.model.sockets import TIME_WAIT
from rstaudit.rules.context import Context
from rstaudit.rules.engine import run
from rstaudit.rules.registry import rules

HERE = Path(__file__).parent
COMMAND = "PYTHONPATH=audit:tests python -m hosts.make"
PROFILES = ("default", "web", "client", "proxy", "database")

#: Path -> (text, or ``-> `` and where a link points; source of what is in it).
Files = dict[str, tuple[str, str]]

_ORIGIN = """# {name}

{title}.

This tree is made, not copied from a host: `tests/hosts/make.py` writes it from
`tests/hosts/values.tsv`, `counters.tsv` and `stories.py`. Kernel release: {release}.

Each sysctl and the name of each counter has a source, in `sources.tsv`: a kernel source or
document of the named version, or a reading on 6.18.44. What nobody looked up is left out, so an
audit calls it unknown. Half the truth about a distribution is in its patches: where only
the mainline source was read, the source says so by its version.

Counter values, addresses, processes and files below /etc are made up for the story.
"""


def table(name: str) -> dict[str, dict[str, str]]:
    """A table of this folder: row -> column -> cell."""
    head, *lines = (HERE / name).read_text().splitlines()
    columns = head.split("\t")[1:]
    rows = (line.split("\t") for line in lines)
    return {key: dict(zip(columns, cells, strict=True)) for key, *cells in rows}


def files_of(name: str) -> Files:
    """Every file of a tree, the texts about it included."""
    story = STORIES[name]
    files: Files = {**_identity(name, story), **_sysctls(name, story), **_counters(name)}
    files.update(_sockets(story))
    for process in story.processes:
        files.update(_process(process))
    files.update(story.files)
    origin = _ORIGIN.format(name=name, title=_capital(story.title), release=story.release)
    rows = "".join(f"{row}\n" for row in _sources(name, files))
    files["/sources.tsv"] = (f"file\tvalue\tsource\n{rows}", "")
    files["/ORIGIN.md"] = (origin, "")
    return files


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _identity(name: str, story: Story) -> Files:
    return {
        "/proc/sys/kernel/osrelease": (f"{story.release}\n", "the kernel that the tree is of"),
        "/proc/sys/kernel/hostname": (f"{name}\n", "made"),
        "/proc/uptime": (f"{story.uptime}.00 {story.uptime}.00\n", "made"),
    }


def _sysctls(name: str, story: Story) -> Files:
    files: Files = {}
    for key, row in table("values.tsv").items():
        value, source = story.running.get(key, (row[name].replace("\\t", "\t"), row["source"]))
        if value != "-":
            files["/proc/sys/" + key.replace(".", "/")] = (f"{value}\n", source)
    return files


def _counters(name: str) -> Files:
    groups: dict[str, dict[str, str]] = {}
    for counter, row in table("counters.tsv").items():
        if row[name] != "-":
            group, _, leaf = counter.rpartition(".")
            groups.setdefault(group, {})[leaf] = row[name]
    pairs = {
        group: f"{group}: {' '.join(values)}\n{group}: {' '.join(values.values())}\n"
        for group, values in groups.items()
    }
    gauges = " ".join(f"{leaf} {value}" for leaf, value in groups["sockstat.TCP"].items())
    return {
        "/proc/net/snmp": (pairs["Tcp"], ""),
        "/proc/net/netstat": (pairs["TcpExt"] + pairs.get("MPTcpExt", ""), ""),
        "/proc/net/sockstat": (f"TCP: {gauges}\n", ""),
    }


_HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
_FORMAT = "made, in the format of get_tcp4_sock(), net/ipv4/tcp_ipv4.c"


def _sockets(story: Story) -> Files:
    files: Files = {}
    for path, six in (("/proc/net/tcp", False), ("/proc/net/tcp6", True)):
        chosen = [sock for sock in story.sockets if (":" in sock.local[0]) is six]
        lines = [_line(number, sock) for number, sock in enumerate(chosen)]
        files[path] = (_HEAD + "".join(lines), _FORMAT)
    return files


def _line(number: int, sock: Sock) -> str:
    timer = f"03:{sock.left * 100:08X}" if sock.state == TIME_WAIT else "00:00000000"
    return (
        f"{number:4}: {_hex(*sock.local)} {_hex(*sock.peer)} {sock.state:02X} "
        f"00000000:{sock.queued:08X} {timer} 00000000 {sock.uid:5}        0 {sock.inode}\n"
    )


def _hex(address: str, port: int) -> str:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packed = socket.inet_pton(family, address)
    words = (packed[at : at + 4][::-1] for at in range(0, len(packed), 4))
    return f"{b''.join(words).hex().upper()}:{port:04X}"


def _process(process: Process) -> Files:
    folder = f"/proc/{process.pid}"
    ids = "\t".join([str(process.uid)] * 4)
    limit = f"Max open files            {process.soft:<20} 524288               files     \n"
    return {
        f"{folder}/comm": (f"{process.comm}\n", "made"),
        f"{folder}/exe": (f"-> /usr/sbin/{process.comm}", "made"),
        f"{folder}/status": (f"Name:\t{process.comm}\nUid:\t{ids}\n", "made"),
        f"{folder}/limits": (f"Limit                     Soft Limit\n{limit}", "made"),
        **{
            f"{folder}/fd/{3 + number}": (f"-> socket:[{inode}]", "made")
            for number, inode in enumerate(process.inodes)
        },
    }


def _sources(name: str, files: Files) -> Iterator[str]:
    """One row a value: file, value, source; counters by name."""
    for path, (text, source) in sorted(files.items()):
        if source:
            short = text.strip() if text.count("\n") <= 1 else "(the file)"
            yield "\t".join((path, short.replace("\t", " "), source))
    for counter, row in table("counters.tsv").items():
        if row[name] != "-":
            yield "\t".join((counter, row[name], f"name: {row['source']}; value: made"))


def write(name: str, root: Path) -> None:
    """Write one tree at ``root``, which must not have files of it yet."""
    for path, (text, _) in files_of(name).items():
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("-> "):
            place.symlink_to(text.removeprefix("-> "))
        else:
            place.write_text(text)


def on_disk(name: str) -> dict[str, str]:
    """The files of a tree as they are in this folder, the golden reports apart."""
    root = HERE / name
    found = {}
    for place in root.rglob("*"):
        if place.is_symlink():
            text = f"-> {place.readlink()}"
        elif place.is_file() and not place.name.startswith("expected."):
            text = place.read_text()
        else:
            continue
        found[f"/{place.relative_to(root)}"] = text
    return found


def audit(root: Path, profile: str) -> tuple[HostState, tuple[Result, ...]]:
    """The host in a tree, and the result of every rule through a profile of the catalogue."""
    host = collect(Options(root=str(root)))
    context = Context(host, profiles()[profile], dict(settings()), None, tuple(devices()))
    return host, tuple(run(rule, context) for rule in rules())


def golden(root: Path, profile: str) -> dict[str, list[str]]:
    """Rule -> outcome, and where it fails its severity and the first message."""
    report = {}
    for result in audit(root, profile)[1]:
        entry = [result.outcome.value]
        if result.findings:
            entry += [result.severity.label, result.findings[0].message]
        report[result.rule] = entry
    return report


def golden_text(report: dict[str, list[str]]) -> str:
    """As it is stored: a rule a line."""
    lines = (f"  {json.dumps(rule)}: {json.dumps(entry)}" for rule, entry in report.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main(arguments: list[str]) -> None:
    """Write the trees anew, or with ``--golden`` the reports about them."""
    for name in STORIES:
        root = HERE / name
        if arguments == ["--golden"]:
            for profile in PROFILES:
                (root / f"expected.{profile}.json").write_text(golden_text(golden(root, profile)))
            continue
        kept = {path.name: path.read_text() for path in root.glob("expected.*.json")}
        shutil.rmtree(root, ignore_errors=True)
        write(name, root)
        for file, text in kept.items():
            (root / file).write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
