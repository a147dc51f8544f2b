"""Units and containers from /proc/PID/cgroup; the paths are those that the engines document."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rstaudit.collect.owners import collect_owners
from rstaudit.collect.tree import Tree
from rstaudit.model.names import OWNERS
from rstaudit.model.sockets import Owner
from rstaudit.parse.cgroup import Place, parse_cgroup
from rstaudit.parse.errors import ParseError
from rstaudit.rules.processes import named, who
from support.hosts import make_context, make_host

ID = "0123456789abcdef" * 4
SHORT = ID[:12]
POD = "pod0f1e2d3c_4b5a_6978_8796_a5b4c3d2e1f0"

#: A path, the unit, the container.
PATHS = [
    ("/", None, None),
    ("/system.slice/nginx.service", "nginx.service", None),
    ("/system.slice/system-postgresql.slice/postgresql@15-main.service",
     "postgresql@15-main.service", None),
    ("/system.slice/docker.service/anything/below", "docker.service", None),
    ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope", None),
    ("/user.slice/user-1000.slice/user@1000.service/app.slice/proxy.service",
     "proxy.service", None),
    ("/user.slice/user-1000.slice/user@1000.service/init.scope", "init.scope", None),
    ("/init.scope", "init.scope", None),
    ("/system.slice/web\\x2dfront.service", "web-front.service", None),
    ("/system.slice/gone.service (deleted)", "gone.service", None),
    ("/../../system.slice/above.service", "above.service", None),
    (f"/system.slice/docker-{ID}.scope", None, f"docker:{SHORT}"),
    (f"/docker/{ID}", None, f"docker:{SHORT}"),
    (f"/machine.slice/libpod-{ID}.scope", None, f"podman:{SHORT}"),
    (f"/machine.slice/libpod-{ID}.scope/container", None, f"podman:{SHORT}"),
    (f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope",
     None, f"podman:{SHORT}"),
    (f"/libpod_parent/libpod-{ID}", None, f"podman:{SHORT}"),
    (f"/system.slice/shop.service/libpod-payload-{ID}", "shop.service", f"podman:{SHORT}"),
    (f"/machine.slice/libpod-conmon-{ID}.scope", f"libpod-conmon-{ID}.scope", None),
    (f"/kubepods.slice/kubepods-burstable.slice/{POD}.slice/crio-{ID}.scope",
     None, f"cri-o:{SHORT}"),
    (f"/kubepods.slice/kubepods-{POD}.slice/cri-containerd-{ID}.scope",
     None, f"containerd:{SHORT}"),
    (f"/system.slice/containerd.service/kubepods-besteffort-{POD}.slice:cri-containerd:{ID}",
     "containerd.service", f"containerd:{SHORT}"),
    (f"/kubepods/burstable/{POD.replace('_', '-')}/{ID}", None, f"kubernetes:{SHORT}"),
    ("/lxc/web", None, "lxc:web"),
    ("/lxc.payload.web/system.slice/nginx.service", "nginx.service", "lxc:web"),
    ("/lxc.payload/web", None, "lxc:web"),
    ("/lxc.monitor.web", None, None),
    ("/machine.slice/systemd-nspawn@web.service/payload/system.slice/nginx.service",
     "nginx.service", "nspawn:web"),
    ("/machine.slice/machine-old\\x2dweb.scope", None, "machine:old-web"),
    (f"/process_api/{ID[:32]}", None, None),
]  # fmt: skip


@pytest.mark.parametrize(("path", "unit", "container"), PATHS)
@pytest.mark.parametrize("line", ["0::{}\n", "1:name=systemd:{}\n0::/\n", "4:memory:{}\n0::/\n"])
def test_a_path_names_unit_and_container(
    line: str, path: str, unit: str | None, container: str | None
) -> None:
    """In version 2, in systemd's hierarchy of version 1, and in a controller of version 1."""
    assert parse_cgroup(line.format(path)) == Place(unit, container)


def test_the_hierarchies_complete_each_other() -> None:
    """An engine that knows no systemd shows in the controllers, its unit in systemd's hierarchy."""
    text = f"4:memory:/docker/{ID}\n1:name=systemd:/system.slice/docker.service\n0::/\n"
    assert parse_cgroup(text) == Place("docker.service", f"docker:{SHORT}")


@pytest.mark.parametrize("text", ["", "\n", "0:/", "x::/", "0::relative", "0", "0::/\nend"])
def test_what_is_no_cgroup_file_is_refused(text: str) -> None:
    """A file that is cut off or something else altogether is a ParseError."""
    with pytest.raises(ParseError):
        parse_cgroup(text)


@given(st.text(st.characters(exclude_categories=())))
@example("0::/a\\xff.service")
@example("²::/")
def test_any_text_gives_a_place_or_a_parse_error(text: str) -> None:
    """Whatever the bytes were, nothing else is raised."""
    try:
        place = parse_cgroup(text)
    except ParseError:
        return
    assert place.container is None or ":" in place.container


@given(st.lists(st.sampled_from([ID, POD, "kubepods", "docker", "lxc", "a.service", "", ".."])))
def test_any_path_gives_a_place(parts: list[str]) -> None:
    """Known words in any order never break the parser."""
    place = parse_cgroup("0::/" + "/".join(parts))
    assert place.unit in (None, "a.service")


def test_owners_carry_unit_and_container(tmp_path: Path) -> None:
    """Each process that holds a socket says where it belongs; without the file it says nothing."""
    cgroups = {7: b"0::/system.slice/nginx.service\n", 8: b"\xff\n", 9: None}
    for pid, cgroup in cgroups.items():
        folder = tmp_path / "proc" / str(pid)
        (folder / "fd").mkdir(parents=True)
        (folder / "fd" / "3").symlink_to(f"socket:[{pid}]")
        (folder / "comm").write_text("web\n")
        (folder / "status").write_text("Name:\tweb\nUid:\t0\t33\t0\t0\n")
        if cgroup is not None:
            (folder / "cgroup").write_bytes(cgroup)
    owners = collect_owners(Tree(str(tmp_path))).by_inode
    places = {inode: (owner.unit, owner.container) for inode, (owner,) in owners.items()}
    assert places == {7: ("nginx.service", None), 8: (None, None), 9: (None, None)}
    context = make_context(make_host(facts={OWNERS: owners}))
    assert who(context, owners[7][0]) == "web (pid 7, user 33, unit nginx.service)"
    assert named(owners[7][0])["unit"] == "nginx.service"
    assert "unit" not in named(owners[8][0])


def test_a_container_is_named() -> None:
    """The words of a finding name the container beside the unit."""
    context = make_context(make_host())
    place = parse_cgroup(f"0::/system.slice/shop.service/libpod-payload-{ID}\n")
    owner = Owner(5, "shop", "root", unit=place.unit, container=place.container)
    words = f"shop (pid 5, user root, unit shop.service, container podman:{SHORT})"
    assert who(context, owner) == words
    assert named(owner)["container"] == f"podman:{SHORT}"


@pytest.fixture
def service() -> Iterator[Path]:
    """A cgroup of this host named like a unit; gone after the test."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    (root,) = [Path(words[1]) for words in mounts if words[2] == "cgroup2"]
    folder = root / f"rstaudit-{os.getpid()}.service"
    folder.mkdir()
    try:
        yield folder
    finally:
        folder.rmdir()


@pytest.mark.live
def test_the_unit_of_a_running_process(service: Path) -> None:
    """A process in a cgroup of that name is reported with it."""
    code = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(1, flush=1); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "1\n"
        (service / "cgroup.procs").write_text(str(child.pid))
        owners = collect_owners(Tree()).by_inode
        units = {owner.unit for found in owners.values() for owner in found
                 if owner.pid == child.pid}  # fmt: skip
        child.communicate("\n")
    assert units == {service.name}
