"""The 6xx rules: each one fires on what it is for, and is silent where nothing is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict, Unpack

import pytest

from rstaudit.model.facts import Gap, Kernel
from rstaudit.model.names import PERSISTED
from rstaudit.model.rule import Finding, Outcome, Severity
from rstaudit.model.setting import Change, Default, Setting
from rstaudit.rules import persistence, stale
from rstaudit.rules.context import Context, Rule
from rstaudit.rules.engine import run
from support.hosts import judge, make_context, make_host, make_kernel
from support.trees import persisted_in

FIN = "net.ipv4.tcp_fin_timeout"
BUCKETS = "net.ipv4.tcp_max_tw_buckets"
RECYCLE = "net.ipv4.tcp_tw_recycle"
DELAY = "net.ipv4.tcp_tw_reuse_delay"
MAX = "net.netfilter.nf_conntrack_max"
RULES = [f"RST60{n}" for n in range(1, 10)]

STOCK = {
    FIN: "60", BUCKETS: "131072", "net.ipv4.tcp_timestamps": "1", "net.core.somaxconn": "4096",
    "net.ipv4.tcp_syncookies": "1", "net.ipv4.ip_local_port_range": "32768\t60999",
    "net.core.default_qdisc": "fq_codel", "net.core.optmem_max": "81920",
    "net.ipv4.ping_group_range": "0\t2147483647", "net.ipv4.ip_local_reserved_ports": "",
    **{f"net.ipv4.conf.{i}.rp_filter": "2" for i in ("all", "default", "eth0", "lo")},
    **{f"net.ipv4.conf.{i}.accept_source_route": "0" for i in ("all", "default", "eth0", "lo")},
    **{f"net.ipv6.conf.{i}.use_tempaddr": "0" for i in ("all", "default", "eth0", "lo")},
}  # fmt: skip


class Parts(TypedDict, total=False):
    """What may differ from an empty catalogue entry."""

    valid: tuple[int, int]
    removed: Change
    added: Change
    mainline: bool


def setting(key: str, default: str | None = None, **more: Unpack[Parts]) -> Setting:
    """A catalogue entry with only what the rules here look at."""
    defaults = (Default(default, None, None, ()),)
    entry = Setting(key, "", "", "", defaults, None, None, None, None, True, (), (), (), (), "")
    return entry._replace(**more)


CATALOGUE = {
    entry.key: entry
    for entry in (
        setting(FIN, "60", valid=(1, 3600)),
        setting(BUCKETS, valid=(1, 2**31 - 1)),
        setting(RECYCLE, "0", valid=(0, 1), removed=Change(None, (4, 12))),
        setting(DELAY, "1000", added=Change((6, 12), (6, 14))),
        setting("net.ipv4.tcp_timestamps", "1", valid=(0, 2)),
        setting("net.core.somaxconn", "4096"),
        setting("net.ipv4.vs.timeout_timewait", mainline=False),
        setting(MAX),
    )
}


def context(
    root: Path,
    files: Mapping[str, str | bytes],
    running: Mapping[str, str] = STOCK,
    kernel: str = "6.1.0-32-amd64",
    initial: bool | None = True,
) -> Context:
    """A systemd host with ``files`` and ``running`` values."""
    persisted = persisted_in(root, files, running, make_kernel(kernel))
    host = make_host(
        sysctls=running, kernel=kernel, initial=initial, facts={PERSISTED: persisted}
    )  # fmt: skip
    return make_context(host, settings=CATALOGUE)


def findings(rule: str, ctx: Context) -> list[Finding]:
    """What a rule of either family finds; its outcome is pass or fail accordingly."""
    family = persistence.RULES if rule in {r.id for r in persistence.RULES.rules} else stale.RULES
    result = judge(family, rule, ctx)
    assert result.outcome is (Outcome.FAIL if result.findings else Outcome.PASS), result
    return list(result.findings)


def every(ctx: Context) -> dict[str, list[str]]:
    """Messages of all 6xx rules that found something."""
    found = {rule: [f.message for f in findings(rule, ctx)] for rule in RULES}
    return {rule: messages for rule, messages in found.items() if messages}


def test_the_two_families_have_the_nine_rules() -> None:
    """Each id once."""
    assert sorted(r.id for r in (*persistence.RULES.rules, *stale.RULES.rules)) == RULES


def test_rules_have_their_text() -> None:
    """Every docstring has its sections."""
    for rule in (*persistence.RULES.rules, *stale.RULES.rules):
        text = rule.text()
        assert all((text.why, text.confirm, text.leave_alone, text.references)), rule.id


@pytest.mark.parametrize("rule", [*persistence.RULES.rules, *stale.RULES.rules])
def test_none_applies_in_another_namespace(rule: Rule, tmp_path: Path) -> None:
    """Files below /etc do not set it."""
    ctx = context(tmp_path, {"/etc/sysctl.d/a.conf": f"{FIN}=5\n"}, initial=False)
    assert run(rule, ctx).outcome is Outcome.NOT_APPLICABLE


@pytest.mark.parametrize("rule", [*persistence.RULES.rules, *stale.RULES.rules])
def test_an_unreadable_file_is_no_pass(rule: Rule, tmp_path: Path) -> None:
    """A gap leaves each rule unknown."""
    (tmp_path / "etc/sysctl.d/dir.conf").mkdir(parents=True)
    result = run(rule, context(tmp_path, {}))
    assert result.outcome is Outcome.UNKNOWN
    assert result.reason is not None
    assert "dir.conf" in result.reason


UBUNTU = {
    "/etc/sysctl.conf": "# nothing\n",
    "/etc/sysctl.d/99-sysctl.conf": "-> ../sysctl.conf",
    "/etc/sysctl.d/10-network-security.conf": "net.ipv4.conf.default.rp_filter=2\n"
    "net.ipv4.conf.all.rp_filter=2\n",
    "/etc/sysctl.d/10-ipv6-privacy.conf": "net.ipv6.conf.all.use_tempaddr = 2\n"
    "net.ipv6.conf.default.use_tempaddr = 2\n",
    "/etc/sysctl.d/99-cloudimg-ipv6.conf": "net.ipv6.conf.all.use_tempaddr = 0\n"
    "net.ipv6.conf.default.use_tempaddr = 0\n",
    "/etc/sysctl.d/10-bufferbloat.conf": "net.core.default_qdisc = fq_codel\n",
    "/etc/sysctl.d/10-console-messages.conf": "kernel.printk = 4 4 1 7\n",
    "/usr/lib/sysctl.d/50-default.conf": "-net.ipv4.ping_group_range = 0 2147483647\n",
    "/etc/ufw/ufw.conf": "ENABLED=no\n",
    "/etc/default/ufw": "IPT_SYSCTL=/etc/ufw/sysctl.conf\n",
    "/etc/ufw/sysctl.conf": "net/ipv4/conf/all/accept_redirects=0\nnet/ipv4/tcp_sack=1\n",
    "/proc/modules": "nf_conntrack 1 0 - Live 0x0\n",
}
RHEL = {
    "/etc/sysctl.conf": "# empty\n",
    "/etc/sysctl.d/99-sysctl.conf": "-> ../sysctl.conf",
    "/usr/lib/sysctl.d/10-default-yama-scope.conf": "kernel.yama.ptrace_scope = 0\n",
    "/usr/lib/sysctl.d/50-default.conf": "net.ipv4.conf.default.rp_filter = 2\n"
    "net.ipv4.conf.*.rp_filter = 2\n-net.ipv4.conf.all.rp_filter\n"
    "net.ipv4.conf.default.accept_source_route = 0\nnet.ipv4.conf.*.accept_source_route = 0\n"
    "-net.ipv4.conf.all.accept_source_route\nnet.ipv4.conf.*.promote_secondaries = 1\n"
    "-net.ipv4.ping_group_range = 0 2147483647\n-net.core.default_qdisc = fq_codel\n",
    "/usr/lib/sysctl.d/50-redhat.conf": "net.ipv4.conf.all.rp_filter = 1\n"
    "net.ipv4.conf.*.rp_filter = 1\nkernel.kptr_restrict = 1\n",
    "/usr/lib/sysctl.d/50-libkcapi-optmem_max.conf": "net.core.optmem_max = 81920\n",
    "/etc/tuned/active_profile": "virtual-guest\n",
    "/etc/systemd/system/multi-user.target.wants/tuned.service": "-> /usr/lib/x",
    "/usr/lib/tuned/throughput-performance/tuned.conf": "[sysctl]\nvm.dirty_ratio=>40\n"
    "net.core.somaxconn=>2048\n",
    "/usr/lib/tuned/virtual-guest/tuned.conf": "[main]\ninclude=throughput-performance\n",
    "/proc/modules": "nf_conntrack 1 0 - Live 0x0\n",
}
DEBIAN = {
    name: Path(name).read_text()
    for name in ("/etc/sysctl.conf", *map(str, Path("/usr/lib/sysctl.d").glob("*.conf")))
    if Path(name).is_file()
}


@pytest.mark.parametrize("files", [UBUNTU, RHEL, DEBIAN], ids=["ubuntu", "rhel9", "this"])
def test_stock_systems_are_quiet(files: dict[str, str], tmp_path: Path) -> None:
    """What distributions ship is no finding, even where their own files differ."""
    assert every(context(tmp_path, files)) == {}


def test_601_names_the_line_that_a_reboot_applies(tmp_path: Path) -> None:
    """Running 60, the file says 30."""
    ctx = context(tmp_path, {"/etc/sysctl.d/90-x.conf": f"# mine\n{FIN} = 30\n"})
    (finding,) = findings("RST601", ctx)
    assert finding.evidence["file"] == "/etc/sysctl.d/90-x.conf:2"
    assert finding.fix == f"sysctl -w {FIN}=30"


@pytest.mark.parametrize(
    ("key", "running", "written"),
    [
        (FIN, "60", "0x3c"), (FIN, "60", "060 # no, 48"), (FIN, "60", "60 # seconds"),
        ("net.ipv4.ip_local_port_range", "1024\t65535", "1024 65535"),
        ("net.ipv4.ip_local_reserved_ports", "80-82,90", "90,80,81,82"),
        ("net.core.default_qdisc", "fq_codel", "fq_codel"),
    ],
)  # fmt: skip
def test_601_compares_as_the_kernel_reads(
    key: str, running: str, written: str, tmp_path: Path
) -> None:
    """Bases, blanks, comments behind a number and the order of ports do not count as drift."""
    ctx = context(
        tmp_path, {"/etc/sysctl.d/a.conf": f"{key} = {written}\n"}, {**STOCK, key: running}
    )
    assert bool(findings("RST601", ctx)) is written.startswith("060")


def test_601_a_value_that_nothing_sets_is_information(tmp_path: Path) -> None:
    """Set by hand and not written down."""
    (finding,) = findings("RST601", context(tmp_path, {}, {**STOCK, FIN: "20"}))
    assert finding.severity is Severity.INFO
    assert "no file sets it" in finding.message


def test_601_leaves_interfaces_and_bpftune_alone(tmp_path: Path) -> None:
    """Who makes an interface sets its keys later; bpftune moves its own."""
    files = {
        "/etc/sysctl.d/a.conf": "net.ipv4.conf.eth0.rp_filter = 1\nnet.ipv4.tcp_syncookies = 0\n",
        "/sys/fs/cgroup/system.slice/bpftune.service/x": "",
    }
    assert findings("RST601", context(tmp_path, files)) == []


def test_602_two_files_of_the_administrator(tmp_path: Path) -> None:
    """The winner and the loser are named with their lines."""
    files = {"/etc/sysctl.d/10-a.conf": f"{FIN}=30\n", "/etc/sysctl.d/20-b.conf": f"{FIN}=60\n"}
    (finding,) = findings("RST602", context(tmp_path, files))
    assert "20-b.conf:1 sets 60 and wins" in finding.message
    assert finding.fix.endswith("/etc/sysctl.d/10-a.conf:1")


def test_602_the_two_readers_end_differently(tmp_path: Path) -> None:
    """99-z.conf wins at boot, /etc/sysctl.conf by hand."""
    files = {
        "/etc/sysctl.conf": f"{FIN}=30\n",
        "/etc/sysctl.d/99-sysctl.conf": "-> ../sysctl.conf",
        "/etc/sysctl.d/99-z.conf": f"{FIN}=60\n",
    }
    (finding,) = findings("RST602", context(tmp_path, files))
    assert (finding.evidence["at_boot"], finding.evidence["by_hand"]) == ("60", "30")


def test_602_overriding_a_package_is_no_disagreement(tmp_path: Path) -> None:
    """That is what /etc is for; nor are two lines of one value."""
    files = {
        "/usr/lib/sysctl.d/10-a.conf": f"{FIN}=30\n",
        "/etc/sysctl.d/20-b.conf": f"{FIN}=60\n",
        "/etc/sysctl.d/30-c.conf": f"{FIN}=60\n",
    }
    assert findings("RST602", context(tmp_path, files)) == []


def test_603_a_leftover_line_is_information(tmp_path: Path) -> None:
    """On 6.1 tcp_tw_recycle does nothing but fail."""
    (finding,) = findings("RST603", context(tmp_path, {"/etc/sysctl.d/a.conf": f"{RECYCLE}=1\n"}))
    assert (finding.severity, finding.fix) == (None, "remove /etc/sysctl.d/a.conf:1")


@pytest.mark.parametrize(("running", "line", "fires"), [("1", "", 1), ("0", "1", 1), ("0", "0", 0)])
def test_603_is_an_error_where_the_kernel_has_it(
    running: str, line: str, fires: int, tmp_path: Path
) -> None:
    """On RHEL 7 it drops clients, now or after the next boot."""
    files = {"/etc/sysctl.d/a.conf": f"{RECYCLE}={line}\n"} if line else {}
    ctx = context(tmp_path, files, {**STOCK, RECYCLE: running}, "3.10.0-1160.el7")
    assert [f.severity for f in findings("RST603", ctx)] == [Severity.ERROR] * fires


def test_604_a_misspelt_key_gets_its_neighbour(tmp_path: Path) -> None:
    """tcp_fin_timout is close to tcp_fin_timeout."""
    ctx = context(tmp_path, {"/etc/sysctl.d/a.conf": "net.ipv4.tcp_fin_timout = 30\n"})
    (finding,) = findings("RST604", ctx)
    assert finding.evidence["nearest"] == FIN


def test_604_a_key_of_later_kernels(tmp_path: Path) -> None:
    """tcp_tw_reuse_delay came after 6.12."""
    (finding,) = findings("RST604", context(tmp_path, {"/etc/sysctl.d/a.conf": f"{DELAY}=1\n"}))
    assert "6.14" in finding.message


@pytest.mark.parametrize(
    "line",
    ["net.ipv4.conf.wg0.rp_filter=1", "net.bridge.bridge-nf-call-iptables=1", f"{MAX}=1",
     "-net.ipv4.tcp_nonsense=1", "kernel.nonsense=1", f"{FIN}=60"],
)  # fmt: skip
def test_604_keys_that_may_yet_appear_are_left_alone(line: str, tmp_path: Path) -> None:
    """Interfaces, modules that are not loaded, lines that expect to fail."""
    files = {"/etc/sysctl.d/a.conf": f"{line}\n", "/proc/modules": "x 1 0 - Live 0\n"}
    assert findings("RST604", context(tmp_path, files)) == []


@pytest.mark.parametrize("where", ["now", "at boot"])
def test_605_a_value_that_means_nothing(where: str, tmp_path: Path) -> None:
    """-1 and 0 are accepted by the kernel."""
    files = {} if where == "now" else {"/etc/sysctl.d/a.conf": f"{FIN}=-1\n"}
    running = {**STOCK, FIN: "-1"} if where == "now" else STOCK
    (finding,) = findings("RST605", context(tmp_path, files, running))
    assert where in finding.message
    assert finding.fix == f"sysctl -w {FIN}=60"


@pytest.mark.parametrize(
    ("line", "severity"),
    [
        (f"{FIN}=10", Severity.WARNING), (f"{FIN}=30", Severity.INFO),
        (f"{BUCKETS}=5000", Severity.WARNING),
        ("net.ipv4.tcp_timestamps=0", Severity.WARNING),
        ("net.ipv4.vs.timeout_timewait=30", None),
    ],
)  # fmt: skip
def test_606_says_what_the_line_really_does(
    line: str, severity: Severity | None, tmp_path: Path
) -> None:
    """The usual advice of tuning guides."""
    (finding,) = findings("RST606", context(tmp_path, {"/etc/sysctl.d/a.conf": f"{line}\n"}))
    assert finding.severity is severity


def test_606_sound_lines_and_lines_that_lose_are_left_alone(tmp_path: Path) -> None:
    """Defaults, larger values, and what a later file takes back."""
    text = f"{FIN}=60\n{BUCKETS}=500000\nnet.ipv4.tcp_timestamps=1\n"
    files = {"/etc/sysctl.d/20.conf": text, "/etc/sysctl.d/10.conf": f"{FIN}=5\n"}
    assert findings("RST606", context(tmp_path, files)) == []


@pytest.mark.parametrize(
    ("ufw", "severity"), [("30", Severity.WARNING), ("60", Severity.INFO)]
)  # fmt: skip
def test_607_ufw_and_a_file_set_one_key(ufw: str, severity: Severity, tmp_path: Path) -> None:
    """A warning where they differ, else information."""
    files = {
        "/etc/ufw/ufw.conf": "ENABLED=yes\n",
        "/etc/default/ufw": "IPT_SYSCTL=/etc/ufw/sysctl.conf\n",
        "/etc/ufw/sysctl.conf": f"net/ipv4/tcp_fin_timeout={ufw}\n",
        "/etc/sysctl.d/a.conf": f"{FIN}=60\n",
    }
    (finding,) = findings("RST607", context(tmp_path, files))
    assert (finding.severity, finding.evidence["manager"]) == (severity, "ufw")


def test_607_cloud_init_and_bpftune(tmp_path: Path) -> None:
    """Both own keys that a file by hand sets."""
    files = {
        "/sys/fs/cgroup/system.slice/bpftune.service/x": "",
        "/etc/sysctl.d/50-cloud-init.conf": f"{FIN}=30\n",
        "/etc/sysctl.d/a.conf": f"{FIN}=60\nnet.ipv4.tcp_syncookies=1\n",
    }
    found = findings("RST607", context(tmp_path, files))
    assert {f.evidence["manager"] for f in found} == {"cloud-init", "bpftune"}


def test_607_ufw_alone_is_no_conflict(tmp_path: Path) -> None:
    """Nobody else sets its keys."""
    files = {**UBUNTU, "/etc/ufw/ufw.conf": "ENABLED=yes\n"}
    assert findings("RST607", context(tmp_path, files)) == []


def test_608_a_conntrack_line_that_comes_too_early(tmp_path: Path) -> None:
    """With the module in modules-load.d the finding goes."""
    files: dict[str, str | bytes] = {
        "/etc/sysctl.d/a.conf": f"{MAX}=1000000\n",
        "/proc/modules": "nf_conntrack 1 0 - Live 0x0\n",
    }
    running = {**STOCK, MAX: "262144"}
    (finding,) = findings("RST608", context(tmp_path / "a", files, running))
    assert finding.fix == "echo nf_conntrack > /etc/modules-load.d/nf_conntrack.conf"
    files["/etc/modules-load.d/nf_conntrack.conf"] = "nf_conntrack\n"
    assert findings("RST608", context(tmp_path / "b", files, running)) == []


def test_608_a_value_in_quotes(tmp_path: Path) -> None:
    """The kernel refuses it."""
    files = {"/etc/sysctl.d/a.conf": 'net.ipv4.ip_local_port_range = "1024 65535"\n'}
    (finding,) = findings("RST608", context(tmp_path, files))
    assert "refuses" in finding.message


def test_608_is_unknown_where_modules_were_not_recorded(tmp_path: Path) -> None:
    """Other rules do not depend on it."""
    ctx = context(tmp_path, {"/etc/sysctl.d/a.conf": f"{MAX}=1\n"}, {**STOCK, MAX: "1"})
    assert judge(persistence.RULES, "RST608", ctx).outcome is Outcome.UNKNOWN
    assert findings("RST601", ctx) == []


@pytest.mark.parametrize(("boot", "fires"), [("", 1), ("30", 1), ("20", 0)])
def test_609_lines_that_boot_does_not_read(boot: str, fires: int, tmp_path: Path) -> None:
    """Unless another file says the same."""
    files = {"/etc/sysctl.conf": f"{FIN}=20\n"}
    if boot:
        files["/etc/sysctl.d/a.conf"] = f"{FIN}={boot}\n"
    found = findings("RST609", context(tmp_path, files))
    assert len(found) == fires
    assert all(f.fix.startswith("ln -s ../sysctl.conf") for f in found)


def test_a_gap_of_the_fact_itself_is_unknown() -> None:
    """Nothing was collected at all."""
    host = make_host(gaps=[Gap("persisted", "permission", "no")], kernel=Kernel("6.1", (6, 1, 0)))
    ctx = make_context(host, settings=CATALOGUE)
    assert judge(persistence.RULES, "RST602", ctx).outcome is Outcome.UNKNOWN
