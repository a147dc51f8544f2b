"""Which file sets a key: made trees, one question each."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rstaudit.collect.persisted import collect_persisted
from rstaudit.model.facts import Kernel
from rstaudit.model.persisted import MODULES_GAP, Persisted
from support.trees import KERNEL, make_tree, persisted_in

FIN = "net.ipv4.tcp_fin_timeout"
KEEP = "net.ipv4.tcp_keepalive_time"
MAX = "net.netfilter.nf_conntrack_max"
RUNNING = {FIN: "60", KEEP: "7200", "net.ipv4.ip_local_port_range": "32768\t60999"}
DIRS = ("/etc", "/run", "/usr/local/lib", "/usr/lib")


def boot(persisted: Persisted, key: str = FIN) -> str:
    """Value and place of what holds after boot."""
    line = persisted.boot_values[key]
    return f"{line.value} {line.origin}"


@pytest.mark.parametrize("first", range(len(DIRS)))
def test_the_first_directory_has_the_file_of_a_name(tmp_path: Path, first: int) -> None:
    """Of files with one name only that of the first directory is read, by both readers."""
    files = {f"{d}/sysctl.d/50-x.conf": f"{FIN}={i}\n" for i, d in enumerate(DIRS) if i >= first}
    persisted = persisted_in(tmp_path, files, RUNNING)
    assert boot(persisted) == f"{first} {DIRS[first]}/sysctl.d/50-x.conf:1"
    assert persisted.system.winners[FIN].value == str(first)
    assert len(persisted.boot.masked) == len(DIRS) - first - 1


def test_files_are_sorted_by_name_whatever_their_directory(tmp_path: Path) -> None:
    """A later name in /usr/lib beats an earlier one in /etc; upper case sorts first."""
    files = {
        "/etc/sysctl.d/10-a.conf": f"{FIN}=1\n{KEEP}=1",
        "/usr/lib/sysctl.d/20-b.conf": f"{FIN}=2\n",
        "/etc/sysctl.d/Z.conf": f"{KEEP}=2\n",
        "/etc/sysctl.d/a.conf": f"{KEEP}=3\n",
    }
    persisted = persisted_in(tmp_path, files, RUNNING)
    assert boot(persisted) == "2 /usr/lib/sysctl.d/20-b.conf:1"
    assert boot(persisted, KEEP) == "3 /etc/sysctl.d/a.conf:1"


@pytest.mark.parametrize("mask", ["-> /dev/null", "", "-> /nowhere"])
def test_a_mask_hides_the_packages_file(tmp_path: Path, mask: str) -> None:
    """A link to /dev/null, an empty file or a link to nothing leaves nothing of that name."""
    files = {"/usr/lib/sysctl.d/50-x.conf": f"{FIN}=5\n", "/etc/sysctl.d/50-x.conf": mask}
    persisted = persisted_in(tmp_path, files, RUNNING)
    assert not persisted.boot_values
    assert persisted.boot.masked == ("/usr/lib/sysctl.d/50-x.conf",)


def test_only_names_that_end_in_conf_count(tmp_path: Path) -> None:
    """Backups, README and hidden files set nothing at boot; procps does read hidden ones."""
    names = ("README", "x.conf.bak", "x.conf~", "x", ".y.conf")
    persisted = persisted_in(tmp_path, {f"/etc/sysctl.d/{n}": f"{FIN}=5\n" for n in names}, RUNNING)
    assert not persisted.boot_values
    assert str(persisted.system.winners[FIN].origin) == "/etc/sysctl.d/.y.conf:1"


def test_sysctl_conf_is_read_last_by_one_and_in_its_place_by_the_other(tmp_path: Path) -> None:
    """Through the link 99-sysctl.conf it loses to 99-z.conf at boot, and wins by hand."""
    files = {
        "/etc/sysctl.conf": f"# mine\n{FIN}=1\n",
        "/etc/sysctl.d/99-sysctl.conf": "-> ../sysctl.conf",
        "/etc/sysctl.d/99-z.conf": f"{FIN}=2\n",
    }
    persisted = persisted_in(tmp_path, files, RUNNING)
    assert boot(persisted) == "2 /etc/sysctl.d/99-z.conf:1"
    assert str(persisted.system.winners[FIN].origin) == "/etc/sysctl.conf:2"
    assert not persisted.unread


def test_sysctl_conf_without_its_link_is_not_read_at_boot(tmp_path: Path) -> None:
    """Its lines are handed over as unread."""
    persisted = persisted_in(tmp_path, {"/etc/sysctl.conf": f"{FIN}=1\n"}, RUNNING)
    assert FIN not in persisted.boot_values
    assert [str(line.origin) for line in persisted.unread] == ["/etc/sysctl.conf:1"]


def test_a_host_without_systemd_boots_with_procps(tmp_path: Path) -> None:
    """An init script and no systemd-sysctl: /etc/sysctl.conf counts."""
    tree = make_tree(tmp_path, {"/etc/init.d/procps": "", "/etc/sysctl.conf": f"{FIN}=1\n"})
    persisted = collect_persisted(tree, RUNNING, KERNEL)
    assert persisted.boot.name == "sysctl --system"
    assert boot(persisted) == "1 /etc/sysctl.conf:1"
    assert not persisted.unread


def test_systemd_installed_beside_another_init_is_not_the_boots(tmp_path: Path) -> None:
    """With init as process 1 the init script's reader runs."""
    files = {"/proc/1/comm": "init\n", "/etc/init.d/procps": "", "/etc/sysctl.conf": f"{FIN}=1\n"}
    files["/usr/lib/systemd/systemd-sysctl"] = ""
    persisted = collect_persisted(make_tree(tmp_path, files), RUNNING, KERNEL)
    assert persisted.boot.name == "sysctl --system"


def test_a_tree_that_does_not_tell_its_reader_says_so(tmp_path: Path) -> None:
    """Where the readers differ and none is seen, a gap stands in for the guess."""
    tree = make_tree(tmp_path, {"/etc/sysctl.conf": f"{FIN}=1\n"})
    assert [gap.reason for gap in collect_persisted(tree, RUNNING, KERNEL).gaps] == ["not-recorded"]
    (tmp_path / "etc/sysctl.conf").unlink()
    assert not collect_persisted(tree, RUNNING, KERNEL).gaps


def test_an_explicit_key_beats_a_pattern_wherever_it_stands(tmp_path: Path) -> None:
    """A pattern in a later file leaves keys alone that are named or excluded."""
    keys = {f"net.ipv4.conf.{i}.rp_filter": "0" for i in ("all", "default", "eth0/100", "lo")}
    files = {
        "/etc/sysctl.d/10-a.conf": "net.ipv4.conf.eth0/100.rp_filter = 1\n"
        "-net.ipv4.conf.all.rp_filter\n",
        "/etc/sysctl.d/20-b.conf": "net.ipv4.conf.*.rp_filter = 2\n",
    }
    persisted = persisted_in(tmp_path, files, keys)
    for reader in (persisted.boot, persisted.system):
        assert {key.split(".")[3]: line.value for key, line in reader.winners.items()} == {
            "eth0/100": "1", "default": "2", "lo": "2",
        }  # fmt: skip
    assert persisted.boot.winners["net.ipv4.conf.lo.rp_filter"].globbed


def test_an_exclusion_takes_an_earlier_assignment_back_for_systemd_only(tmp_path: Path) -> None:
    """`-key` after `key = value` leaves the key unset at boot; procps keeps it."""
    persisted = persisted_in(tmp_path, {"/etc/sysctl.d/a.conf": f"{FIN}=5\n-{FIN}\n"}, RUNNING)
    assert FIN not in persisted.boot.winners
    assert persisted.system.winners[FIN].value == "5"


def test_a_repeated_value_keeps_its_first_place_for_systemd(tmp_path: Path) -> None:
    """Of two equal lines the first counts, so a pattern between them comes later."""
    text = "net.ipv4.tcp_fin_* = 1\nnet.ipv4.tcp_*_timeout = 2\nnet.ipv4.tcp_fin_* = 1\n"
    persisted = persisted_in(tmp_path, {"/etc/sysctl.d/a.conf": text}, RUNNING)
    assert persisted.boot.winners[FIN].value == "2"
    assert persisted.system.winners[FIN].value == "1"


def test_patterns_cover_interfaces_that_only_the_tree_lists(tmp_path: Path) -> None:
    """Interface keys need not be among the running values that were read."""
    files = {f"/proc/sys/net/ipv4/conf/{i}/rp_filter": "0\n" for i in ("default", "eth0.100")}
    files["/etc/sysctl.d/a.conf"] = "net.ipv4.conf.eth*.rp_filter = 2\n"
    persisted = persisted_in(tmp_path, files, RUNNING)
    assert list(persisted.boot_values) == ["net.ipv4.conf.eth0/100.rp_filter"]


def test_the_command_line_comes_before_the_files(tmp_path: Path) -> None:
    """From 5.8 the kernel sets its sysctl words itself; a file has the last word."""
    files = {
        "/proc/cmdline": f"quiet sysctl.{FIN}=1 sysctl.{KEEP}=2\n",
        "/etc/sysctl.d/a.conf": f"{FIN}=5\n",
    }
    persisted = persisted_in(tmp_path, files, RUNNING)
    assert boot(persisted).startswith("5 /etc")
    assert boot(persisted, KEEP) == "2 /proc/cmdline:1"
    assert persisted.boot_values[KEEP].manager == "kernel command line"


def test_an_old_kernel_ignores_its_command_line(tmp_path: Path) -> None:
    """Before 5.8 nobody acts on sysctl words."""
    files = {"/proc/cmdline": f"sysctl.{KEEP}=2\n"}
    old = Kernel("5.4.0", (5, 4, 0))
    assert not persisted_in(tmp_path, files, RUNNING, old).boot_values


@pytest.mark.parametrize(("enabled", "value"), [("yes", "9"), ("no", "5")])
def test_ufw_sets_its_own_file_when_it_is_enabled(tmp_path: Path, enabled: str, value: str) -> None:
    """Enabled, ufw starts after the boot's reader, so its file wins."""
    files = {
        "/etc/ufw/ufw.conf": f"ENABLED={enabled}\n",
        "/etc/default/ufw": "#IPT_SYSCTL=/x\nIPT_SYSCTL=/etc/ufw/sysctl.conf\n",
        "/etc/ufw/sysctl.conf": "net/ipv4/tcp_fin_timeout=9\n",
        "/etc/sysctl.d/a.conf": f"{FIN}=5\n",
    }
    persisted = persisted_in(tmp_path, files, RUNNING)
    assert persisted.boot_values[FIN].value == value
    assert [line.manager for line in persisted.others] == (["ufw"] if value == "9" else [])


TUNED = {
    "/etc/systemd/system/multi-user.target.wants/tuned.service": "-> /nowhere/tuned.service",
    "/etc/tuned/active_profile": "mine\n",
    "/usr/lib/tuned/profiles/base/tuned.conf": f"[main]\nsummary=b\n[sysctl]\n{FIN}=11\n{KEEP}=12\n"
    "net.core.somaxconn=>2048\n",
    "/etc/tuned/mine/tuned.conf": f"[main]\ninclude=base\n[sysctl]\n{FIN} = 21 # mine\n"
    "net.ipv4.tcp_rmem=\"4096 1 2\"\nnet.ipv4.tcp_wmem=${x}\n",
}  # fmt: skip


def test_tuned_sets_its_profile_and_what_that_includes(tmp_path: Path) -> None:
    """The including profile wins over the included one; values with variables are left out."""
    persisted = persisted_in(tmp_path, TUNED, {**RUNNING, "net.core.somaxconn": "128"})
    assert boot(persisted) == "21 /etc/tuned/mine/tuned.conf:4"
    assert boot(persisted, KEEP) == "12 /usr/lib/tuned/profiles/base/tuned.conf:5"
    assert persisted.boot_values["net.core.somaxconn"].value == "2048"
    assert persisted.boot_values["net.ipv4.tcp_rmem"].value == "4096 1 2"
    assert "net.ipv4.tcp_wmem" not in persisted.boot_values


def test_tuned_only_raises_where_its_profile_says_so(tmp_path: Path) -> None:
    """`=>` leaves a larger value alone."""
    persisted = persisted_in(tmp_path, TUNED, {**RUNNING, "net.core.somaxconn": "4096"})
    assert "net.core.somaxconn" not in persisted.boot_values


def test_a_value_that_tuned_has_raised_is_tuneds(tmp_path: Path) -> None:
    """The running value is the raised one by the time anybody looks; it is not set by nobody."""
    persisted = persisted_in(tmp_path, TUNED, {**RUNNING, "net.core.somaxconn": "2048"})
    line = persisted.boot_values["net.core.somaxconn"]
    assert (line.value, line.manager) == ("2048", "tuned")


@pytest.mark.parametrize(("reapply", "value"), [("1", "5"), ("0", "21")])
def test_tuned_applies_etc_once_more_unless_told_not_to(
    tmp_path: Path, reapply: str, value: str
) -> None:
    """With reapply_sysctl, /etc/sysctl.d beats the profile."""
    files = {
        **TUNED,
        "/etc/tuned/tuned-main.conf": f"reapply_sysctl = {reapply}\n",
        "/etc/sysctl.d/a.conf": f"{FIN}=5\n",
    }
    assert persisted_in(tmp_path, files, RUNNING).boot_values[FIN].value == value


def test_a_tuned_that_does_not_start_sets_nothing(tmp_path: Path) -> None:
    """Without the unit's link the profile is only a file."""
    files = {k: v for k, v in TUNED.items() if "systemd" not in k}
    assert not persisted_in(tmp_path, files, RUNNING).others


def test_tuned_profiles_that_include_each_other_end(tmp_path: Path) -> None:
    """A loop of includes is read once round."""
    files = {
        **TUNED,
        "/usr/lib/tuned/profiles/base/tuned.conf": "[main]\ninclude=mine\n[sysctl]\na.b=1\n",
    }
    assert boot(persisted_in(tmp_path, files, RUNNING)).startswith("21 ")


def test_bpftune_and_cloud_init_are_seen(tmp_path: Path) -> None:
    """A running bpftune owns its keys; a file that cloud-init wrote is its own."""
    files = {
        "/sys/fs/cgroup/system.slice/bpftune.service/cgroup.procs": "1\n",
        "/etc/sysctl.d/60-x.conf": f"# written by cloud-init\n{FIN}=5\n",
    }
    persisted = persisted_in(tmp_path, files, RUNNING)
    assert persisted.tuners["net.ipv4.tcp_syncookies"] == "bpftune"
    assert persisted.boot_values[FIN].manager == "cloud-init"


CONNTRACK = {"/etc/sysctl.d/a.conf": f"{MAX}=1000000\n"}
LOADED = {"/proc/modules": "nf_conntrack 172032 0 - Live 0x0\n"}
DEP = "/lib/modules/6.1.0-32-amd64/modules.dep"


def test_a_conntrack_key_is_lost_before_its_module(tmp_path: Path) -> None:
    """The line has no effect at boot, and the key keeps what the module gives it."""
    persisted = persisted_in(tmp_path, {**CONNTRACK, **LOADED}, {MAX: "262144"})
    assert MAX not in persisted.boot_values
    ((line, reason),) = persisted.lost
    assert (line.key, "nf_conntrack" in reason) == (MAX, True)


@pytest.mark.parametrize(
    "early",
    [
        {"/etc/modules-load.d/ct.conf": "# early\nnf_conntrack\n"},
        {"/usr/lib/modules-load.d/n.conf": "nf-nat\n", DEP: "k/nf_nat.ko: k/nf_conntrack.ko\n"},
        {"/proc/cmdline": "ro modules_load=loop,nf_conntrack\n"},
        {"/etc/udev/rules.d/9.rules": 'KERNEL=="nf_conntrack", \\\n RUN+="sysctl --system"\n'},
    ],
)  # fmt: skip
def test_a_conntrack_key_is_kept_when_its_module_comes_first(
    tmp_path: Path, early: dict[str, str]
) -> None:
    """modules-load.d, the command line or a udev rule sees to it."""
    persisted = persisted_in(tmp_path, {**CONNTRACK, **LOADED, **early}, {MAX: "262144"})
    assert not persisted.lost
    assert persisted.boot_values[MAX].value == "1000000"


def test_a_masked_modules_file_loads_nothing(tmp_path: Path) -> None:
    """A link to /dev/null in /etc/modules-load.d hides the package's file of that name."""
    files = {
        "/usr/lib/modules-load.d/ct.conf": "nf_conntrack\n",
        "/etc/modules-load.d/ct.conf": "-> /dev/null",
    }
    persisted = persisted_in(tmp_path, {**CONNTRACK, **LOADED, **files}, {MAX: "262144"})
    assert persisted.lost


def test_a_built_in_conntrack_is_always_in_time(tmp_path: Path) -> None:
    """No module of that name is loaded and the keys are there: it is built in."""
    files = {**CONNTRACK, "/proc/modules": "loop 1 0 - Live 0x0\n"}
    assert not persisted_in(tmp_path, files, {MAX: "262144"}).lost


def test_an_unrecorded_list_of_modules_is_a_gap(tmp_path: Path) -> None:
    """Whether the line is lost is then unknown, and said to be."""
    persisted = persisted_in(tmp_path, CONNTRACK, {MAX: "262144"})
    assert not persisted.lost
    assert [gap.fact for gap in persisted.gaps] == [MODULES_GAP]


@pytest.mark.parametrize(
    ("value", "refused"),
    [("1024 65535", False), ('"1024 65535"', True), ("1024,65535", True), ("1024", False),
     ("0x400 65535", False), ("1024 65535 # all", False), ("", True)],
)  # fmt: skip
def test_a_value_that_the_kernel_refuses_is_lost(tmp_path: Path, value: str, refused: bool) -> None:
    """Quotes and commas are not numbers; the line before it then holds, for both readers."""
    files = {"/etc/sysctl.d/b.conf": f"net.ipv4.ip_local_port_range = {value}\n"}
    persisted = persisted_in(tmp_path, files, RUNNING)
    assert bool(persisted.lost) is refused
    assert ("net.ipv4.ip_local_port_range" in persisted.boot_values) is not refused


def test_problems_are_kept_for_every_key(tmp_path: Path) -> None:
    """Lines that no reader takes, with file and line, whether or not they concern net."""
    files = {"/etc/sysctl.d/a.conf": "kernel.panic 5\n\nvm.swappiness = 1\nnet.core\n"}
    persisted = persisted_in(tmp_path, files, RUNNING)
    assert [(str(o), why) for o, why in persisted.problems] == [
        ("/etc/sysctl.d/a.conf:1", "not an assignment"),
        ("/etc/sysctl.d/a.conf:4", "not an assignment"),
    ]


def test_what_is_no_file_is_a_gap_and_never_opened(tmp_path: Path) -> None:
    """A pipe would hang a reader; it is said instead."""
    tree = make_tree(tmp_path, {"/etc/sysctl.d/a.conf": f"{FIN}=5\n"})
    os.mkfifo(tmp_path / "etc/sysctl.d/b.conf")
    persisted = collect_persisted(tree, RUNNING, KERNEL)
    assert [gap.fact for gap in persisted.gaps] == ["file:/etc/sysctl.d/b.conf"]
    assert persisted.boot_values[FIN].value == "5"


def test_a_link_that_leads_out_of_the_tree_stays_in_it(tmp_path: Path) -> None:
    """An absolute link is read below the root of the tree, as the host would have read it."""
    outside = tmp_path / "outside.conf"
    outside.write_text(f"{FIN}=666\n")
    root = tmp_path / "root"
    persisted = persisted_in(root, {"/etc/sysctl.d/a.conf": f"-> {outside}"}, RUNNING)
    assert not persisted.boot_values


def test_secrets_are_not_taken_in(tmp_path: Path) -> None:
    """Keys of fast open and of stable addresses never reach a report."""
    text = "net.ipv4.tcp_fastopen_key = 1-2-3-4\nnet.ipv6.conf.all.stable_secret = ::1\n"
    persisted = persisted_in(tmp_path, {"/etc/sysctl.d/a.conf": text}, RUNNING)
    assert not persisted.boot.order
    assert not persisted.system.order


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None
)
@given(data=st.lists(st.binary(max_size=80), min_size=9, max_size=9))
def test_hostile_files_never_raise(tmp_path: Path, data: list[bytes]) -> None:
    """Whatever bytes the files hold, there is an answer."""
    places = ["/etc/sysctl.conf", "/etc/sysctl.d/a.conf", "/proc/cmdline", "/etc/ufw/ufw.conf",
              "/etc/default/ufw", "/etc/tuned/active_profile", "/etc/tuned/mine/tuned.conf",
              "/proc/modules", "/etc/modules-load.d/a.conf"]  # fmt: skip
    files: dict[str, str | bytes] = dict(zip(places, data, strict=True))
    files["/etc/ufw/ufw.conf"] = b"ENABLED=yes\n" + data[3]
    files["/etc/default/ufw"] = b"IPT_SYSCTL=/" + data[4]
    files["/etc/tuned/active_profile"] = b"mine " + data[5]
    files["/etc/tuned/mine/tuned.conf"] = b"[sysctl]\nnet." + data[6]
    tree = make_tree(tmp_path, files)
    wants = tmp_path / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    (wants / "tuned.service").touch()
    assert collect_persisted(tree, RUNNING, KERNEL).boot.name
