"""7xx: descriptors and memory."""

from __future__ import annotations

from collections.abc import Iterator

from rstaudit.model.facts import Gap, MissingFact
from rstaudit.model.names import LIMITS, Limits
from rstaudit.model.rule import Finding, Severity
from rstaudit.rules.context import Context, Family

RULES = Family()

_TCP_MEM = "net.ipv4.tcp_mem"
_FILE_NR = "fs.file-nr"

#: A process with a smaller limit has given up opening files on purpose (a sandbox such as that
#: of sshd sets 0 or 1).
_SANDBOX = 16


@RULES.rule(
    "RST701",
    "process-near-descriptor-limit",
    "A process is near its limit of open descriptors",
    Severity.WARNING,
)
def near_descriptor_limit(ctx: Context) -> Iterator[Finding]:
    """At the limit accept() and socket() fail with EMFILE.

    A server then stops accepting: its accept queue fills, new clients wait and time out or are
    reset, while the old ones go on. Raising fs.file-max does nothing about it; the limit is the
    process's own.

    Confirm: `grep "open files" /proc/PID/limits` and `ls /proc/PID/fd | wc -l`; the log of the
    program shows "Too many open files".
    Leave alone: when the program bounds its connections below the limit and closes the rest.
    References: getrlimit(2), RLIMIT_NOFILE; accept(2), EMFILE; systemd.exec(5), LimitNOFILE
    """
    for process in ctx.host.need(LIMITS):
        if process.soft is not None and process.soft >= _SANDBOX:
            yield from _judge(process, process.soft)
    if gap := ctx.host.gaps.get(LIMITS.name):
        raise MissingFact(gap)


def _judge(process: Limits, soft: int) -> Iterator[Finding]:
    if 100 * process.open <= 80 * soft:
        return
    percent = 100 * process.open // soft
    better = 2 * max(soft, process.open)
    hard = max(better, process.hard or better)
    yield Finding(
        f"{process.comm} (pid {process.pid}) has {process.open} descriptors open of the"
        f" {soft} it may have ({percent} %)",
        f"{process.comm} (pid {process.pid})",
        f"prlimit --pid {process.pid} --nofile={better}:{hard}"
        f"  # and LimitNOFILE={better} in its unit, for the next start",
        {
            "process": process.comm,
            "pid": process.pid,
            "open": process.open,
            "soft_limit": soft,
            "hard_limit": process.hard,
            "percent": percent,
        },
        severity=Severity.ERROR if 100 * process.open > 95 * soft else None,
    )


@RULES.rule(
    "RST702",
    "tcp-memory-pressure",
    "TCP is short of memory",
    Severity.WARNING,
)
def memory_pressure(ctx: Context) -> Iterator[Finding]:
    """`tcp_mem` bounds the memory of all TCP sockets of the machine, in pages.

    Above its second value the kernel shrinks windows and throws received data away to have it
    sent again; above the third it refuses memory and resets orphaned connections
    (TCPAbortOnMemory). The usual cause is a program that does not read what it receives.

    Confirm: `ss -tm` shows which sockets hold the memory; compare "mem" of
    /proc/net/sockstat with tcp_mem.
    Leave alone: never, when it lasts; a short burst passes by itself.
    References: Documentation/networking/ip-sysctl.rst, tcp_mem; net/ipv4/tcp.c (tcp_check_oom)
    """
    yield from _memory_events(ctx)  # first: they are there in every network namespace
    yield from _memory_now(ctx)


def _memory_now(ctx: Context) -> Iterator[Finding]:
    limits = ctx.host.integers(_TCP_MEM)
    if len(limits) != 3:
        detail = f"{_TCP_MEM} does not hold three numbers"
        raise MissingFact(Gap(f"sysctl:{_TCP_MEM}", "malformed", detail))
    pages = ctx.rate("sockstat.TCP.mem").total
    if pages <= limits[1]:
        return
    over = pages > limits[2]
    bound, what = (limits[2], "limit") if over else (limits[1], "pressure mark")
    yield Finding(
        f"TCP sockets hold {pages} pages of memory, more than the {what} of {bound}",
        _TCP_MEM,
        "Find the sockets that hold the memory with `ss -tm`; their program does not read.",
        {"pages": pages, "tcp_mem": " ".join(map(str, limits)), "bound": bound},
        severity=Severity.ERROR if over else None,
    )


def _memory_events(ctx: Context) -> Iterator[Finding]:
    for counter, what, severity in (
        ("TcpExt.TCPMemoryPressures", "TCP came under memory pressure", None),
        ("TcpExt.TCPAbortOnMemory", "TCP reset connections for want of memory", Severity.ERROR),
    ):
        rate = ctx.rate(counter)
        if rate.now:
            now = round(rate.now, 1)
            yield Finding(
                f"{what} between the two samples, {now} times a second",
                counter,
                "Find the sockets that hold the memory with `ss -tm`, orphans with `ss -to`.",
                {"counter": counter, "per_second": now, "total": rate.total},
                severity=severity,
            )


@RULES.rule(
    "RST705",
    "file-table-nearly-full",
    "The host's table of open files is nearly full",
    Severity.WARNING,
)
def file_table_nearly_full(ctx: Context) -> Iterator[Finding]:
    """`fs.file-max` bounds the open files of all processes together.

    At the limit every open(), socket() and accept() of an unprivileged process fails with
    ENFILE, and listeners stop accepting. The default follows from memory and is rarely reached;
    a process that leaks descriptors reaches it.

    Confirm: `cat /proc/sys/fs/file-nr` shows open files, free ones, and the limit.
    Leave alone: never; find the process that holds them first.
    References: Documentation/admin-guide/sysctl/fs.rst; fs/file_table.c (alloc_empty_file)
    """
    used, free, limit = _file_table(ctx)
    held = used - free
    if 100 * held <= 80 * limit:
        return
    percent = 100 * held // limit
    yield Finding(
        f"{held} of the {limit} files that this host may have open are in use ({percent} %)",
        "fs.file-max",
        f"sysctl -w fs.file-max={2 * limit}",
        {"open": held, "limit": limit, "percent": percent},
        severity=None if 100 * held > 95 * limit else Severity.INFO,
    )


def _file_table(ctx: Context) -> tuple[int, int, int]:
    numbers = ctx.host.integers(_FILE_NR)
    if len(numbers) != 3 or numbers[2] <= 0:
        detail = f"{_FILE_NR} does not hold three numbers"
        raise MissingFact(Gap(f"sysctl:{_FILE_NR}", "malformed", detail))
    return numbers[0], numbers[1], numbers[2]
