"""A machine on which nobody has installed anything: an own root, made and gone with a process.

Its mounts live in a mount namespace of their own and its processes in a pid namespace, so that
the end of one process removes all of it, however the test ends. The network is the host's,
because package indexes are reached exactly as this host is configured to reach them.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.checkout import copy_project, environment

PATH = "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"

#: Ends every process of the machine, and with them its mounts, when its starter ends.
PRIVATE = ("unshare", "--mount", "--pid", "--fork", "--kill-child")

#: A copy of the host's root that keeps its changes in memory.
OVERLAY = """
mount -t tmpfs -o mode=755 machine "$1"
mkdir "$1/changes" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/changes,workdir=$1/work" machine "$1/root"
"""

#: A new Debian, with what the README asks for and nothing else.
DEBIAN = """
mount -t tmpfs -o mode=755 machine "$1"
debootstrap --variant=minbase --include=git,make,python3,ca-certificates bookworm "$1/root" >&2
mount --bind "$1/root" "$1/root" # `unshare --mount` inside wants a root that is a mount
cp --parents -t "$1/root" /etc/ssl/certs/ca-certificates.crt
for file in /etc/pip.conf /etc/apt/apt.conf.d/*; do
    [ ! -f "$file" ] || cp --parents -t "$1/root" "$file"
done
"""

#: Files of the host that a container may have mounted singly, and the usual file systems.
COMMON = """
cat /etc/resolv.conf >"$1/resolv.conf"
rm -f "$1/root/etc/resolv.conf"
cp "$1/resolv.conf" "$1/root/etc/resolv.conf"
printf '#!/bin/sh\\nexit 101\\n' >"$1/root/usr/sbin/policy-rc.d"
chmod 755 "$1/root/usr/sbin/policy-rc.d"
mount -t proc proc "$1/root/proc"
mount --rbind /sys "$1/root/sys"
mount --rbind /dev "$1/root/dev"
mount -t tmpfs -o mode=1777 tmp "$1/root/tmp"
touch "$1/root/made-for-a-test"
exec chroot "$1/root" sh -c 'test -e /made-for-a-test && echo ready && exec sleep infinity'
"""

#: As on a Debian that never had python3-venv or pip; apt is asked, so that its records agree.
WITHOUT_PIP = """
installed=$(dpkg-query -W -f '${db:Status-Abbrev}${Package}\\n' 'python3*-venv' 'python3-pip*' \
    python3-setuptools-whl python3-virtualenv | sed -n 's/^ii *//p')
[ -z "$installed" ] || apt-get -qq purge -y $installed
rm -rf /usr/lib/python3*/ensurepip /usr/share/python-wheels /usr/local/lib/python3* \
    /usr/local/bin/python* /usr/local/bin/pip* /usr/lib/python3/dist-packages/pip
useradd --create-home newcomer
"""


def in_machine(script: str) -> tuple[str, ...]:
    """The command that runs a script where the machine's mark is, and else ends with status 99."""
    return ("sh", "-c", f"test -e /made-for-a-test || exit 99\n{script}")


class Machine:
    """A running machine; `pid` is its first process, as the host numbers it."""

    def __init__(self, pid: int, where: Path) -> None:
        self.pid = pid
        self.place = where / "root"  # seen in the machine's mount namespace alone
        self.root = Path(f"/proc/{pid}/root")
        assert not self.root.samefile("/"), "this would be the host itself"

    def run(
        self, script: str, user: str = "root", cwd: str = "/", timeout: float = 160
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell script in the machine as `user`; what it printed, and its exit status.

        The root is entered by the path that only the machine has mounted, and a mark in it is
        asked for before the script: what may be done to a machine must never reach the host.
        """
        home = "/root" if user == "root" else f"/home/{user}"
        become = ("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups")
        return subprocess.run(
            [
                *("nsenter", "-t", str(self.pid), "-m", "-p", "--", "chroot", str(self.place)),
                *(() if user == "root" else become),
                *in_machine(f"cd {cwd} && {script}"),
            ],
            env=environment(PATH=PATH, HOME=home, USER=user),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def clone(self, user: str) -> str:
        """Put a clean copy of the project into the home of `user`; where it is."""
        home = "root" if user == "root" else f"home/{user}"
        copy_project(self.root / home / "rstaudit")
        owned = self.run(f"chown -R {user}: /{home}/rstaudit")
        assert owned.returncode == 0, owned.stderr
        return f"/{home}/rstaudit"


@contextmanager
def machine(build: str, where: Path, prepare: str = WITHOUT_PIP) -> Iterator[Machine]:
    """A machine built by the script `build` below the empty folder `where`, gone afterwards."""
    holder = subprocess.Popen(
        [*PRIVATE, "sh", "-euc", build + COMMON, "sh", str(where)],
        env=environment(PATH=PATH),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n", "the machine could not be built"
        children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text()
        made = Machine(int(children), where)
        prepared = made.run(f"set -e\n{prepare}")
        assert prepared.returncode == 0, prepared.stderr
        yield made
    finally:
        holder.kill()
        holder.communicate()
