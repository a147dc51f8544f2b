"""An HTTP client as a program of its own: HOST PORT SOURCE MANNER, where MANNER is one of

forgets   20 responses, none read and none closed
closes    the same with both
binds     20 connections from SOURCE, kept
anew      600 requests, each on a connection of its own, the last of them kept
reuses    600 requests on one connection
leaks     as forgets, and one more every 20 ms for as long as it lives
"""  # noqa: D415 - a list

from __future__ import annotations

import http.client
import sys
import time


def main(host: str, port: int, source: str, manner: str) -> None:
    """Ask, say ``done``, and stay until the input closes."""
    kept: list[object] = []
    if manner in ("forgets", "closes", "binds", "leaks"):
        bound = source if manner == "binds" else None
        kept += [ask(host, port, bound, manner) for _ in range(20)]
    else:
        kept.append(many(host, port, 600, again=manner == "reuses"))
    print("done", flush=True)  # noqa: T201 - the test waits for it
    while manner == "leaks":
        kept.append(ask(host, port, None, manner))
        time.sleep(0.02)
    sys.stdin.read()


def ask(host: str, port: int, source: str | None, manner: str) -> object:
    """One request; what is returned holds its connection."""
    bound = (source, 0) if source else None
    connection = http.client.HTTPConnection(host, port, source_address=bound)
    last = {} if manner == "binds" else {"Connection": "close"}
    connection.request("GET", "/", headers=last)
    response = connection.getresponse()
    if manner not in ("forgets", "leaks"):
        response.read()
    return connection if manner == "binds" else response


def many(host: str, port: int, count: int, *, again: bool) -> object:
    """``count`` requests, on one connection or on one each."""
    connection = http.client.HTTPConnection(host, port)
    for number in range(count):
        connection.request("GET", "/")
        connection.getresponse().read()
        if not again and number < count - 1:
            connection.close()
    return connection


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4])
