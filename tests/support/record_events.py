"""Record tests/events/KERNEL from the running kernel: `python -m support.record_events`, as root.

Three resets on loopback in a namespace of their own: unread data, a closed port, a lingering close.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
import time
from pathlib import Path

from rstaudit.collect.tracefs import Trace
from support.netns import connected, listener, network_namespace
from support.trace_pages import FOLDER
from support.tracing import TRACING, private_mounts


def stage() -> list[str]:
    """The resets, each in words."""
    server = listener()
    client, accepted = connected(server)
    client.send(b"unread")
    time.sleep(0.02)
    accepted.close()
    client.close()
    refused = socket.socket()
    refused.connect_ex(("127.0.0.1", 9))
    refused.close()
    client, accepted = connected(server)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("@ii", 1, 0))
    client.close()
    time.sleep(0.02)
    accepted.close()
    server.close()
    return ["close with unread data", "connect to a closed port", "close with SO_LINGER {1, 0}"]


def main() -> None:
    """Write the formats, the page layout and the pages."""
    folder = FOLDER / ".".join(os.uname().release.split(".")[:2])
    folder.mkdir(exist_ok=True)
    with private_mounts(), network_namespace():
        trace = Trace(1024)
        trace.start()
        try:
            staged = stage()
            pages = trace.read(1000)
        finally:
            trace.close()
        for layout in trace.layouts:
            (found,) = TRACING.glob(f"events/*/{layout.name}/format")
            (folder / f"{layout.name}.format").write_text(found.read_text())
        (folder / "header_page").write_text((TRACING / "events/header_page").read_text())
    record = {
        "pid": os.getpid(),
        "staged": staged,
        "pages": [
            {"cpu": page.cpu, "data": base64.b64encode(page.data.rstrip(b"\0")).decode()}
            for page in pages
        ],
    }
    Path(folder / "pages.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
