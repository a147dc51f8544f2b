"""The README's transcript: a real audit of a host in trouble, made again by running this file.

    .ci/setup dev python tests/support/transcript.py        as root: puts a new one into README.md

The trouble is made in a network and a UTS namespace that end with the process: a program that
does not close its connections and does not accept new ones, and a setting from bad advice.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

README = Path(__file__).parent.parent.parent / "README.md"
BLOCK = re.compile(r"(?<=```text\n)\$ rstaudit --profile web\n.*?(?=```\n)", re.DOTALL)
COMMAND = (sys.executable, "-m", "rstaudit", "--profile", "web")

SETTINGS = {
    "net/ipv4/tcp_abort_on_overflow": "1",
    "net/ipv4/tcp_migrate_req": "1",  # good advice: one line less to read
}


def cause_trouble(held: ExitStack) -> None:
    """Be a program called orders-api that leaks connections; the sockets stay open in `held`."""
    Path("/proc/self/comm").write_text("orders-api")
    leaking = held.enter_context(socket.create_server(("127.0.0.1", 8080), backlog=1024))
    for _ in range(40):
        client = socket.create_connection(leaking.getsockname())
        held.enter_context(leaking.accept()[0])
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        client.close()
    stuck = held.enter_context(socket.create_server(("127.0.0.1", 8081), backlog=8))
    for _ in range(9):
        client = held.enter_context(socket.socket())
        client.setblocking(False)
        client.connect_ex(stuck.getsockname())
    time.sleep(0.2)


def audit() -> None:
    """Print the audit amid the trouble, in the namespaces that this process was started in."""
    socket.sethostname("web1")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for key, value in SETTINGS.items():
        if Path("/proc/sys", key).exists():
            Path("/proc/sys", key).write_text(value)
    with ExitStack() as held:
        cause_trouble(held)
        status = subprocess.run(COMMAND, check=False).returncode
    if status != 1:
        sys.exit(f"the audit ended with status {status}")


def record() -> str:
    """What the audit prints, from namespaces of its own; needs root."""
    done = subprocess.run(
        ["unshare", "--net", "--uts", "--", sys.executable, __file__, "--audit"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    # this machine's own build of the kernel says nothing to a reader
    stdout = re.sub(r"(kernel [\d.]+)[^,\s]*", r"\1", done.stdout)
    return f"$ rstaudit --profile web\n{stdout}"


def findings(transcript: str) -> list[str]:
    """Each finding without what differs between runs: numbers, paths, units, line breaks."""
    blocks = [block for block in transcript.split("\n\n") if " RST" in block.splitlines()[0]]
    flat = [re.sub(r", (?:unit|container) [^,)]+", "", " ".join(b.split())) for b in blocks]
    return [re.sub(r"[\d.]+|/\S+", "N", block) for block in flat]


if __name__ == "__main__":
    if sys.argv[1:] == ["--audit"]:
        audit()
    elif sys.argv[1:] == ["--print"]:
        sys.stdout.write(record())
    else:
        README.write_text(BLOCK.sub(lambda _: record(), README.read_text()))
