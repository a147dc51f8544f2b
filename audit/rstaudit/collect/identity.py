"""What kind of machine this is, and which ports its services have of their own."""

from __future__ import annotations

import re

from rstaudit.collect.tree import Tree
from rstaudit.model.facts import Gap, MissingFact

#: A word of the firmware's vendor strings -> the cloud. As the vendors' guides to telling their
#: machines give them; Azure shares its vendor with Hyper-V and is told by its chassis tag.
_CLOUDS = {
    "Amazon EC2": "aws",
    "Google": "gcp",
    "7783-7084-3265-9085-8269-3286-77": "azure",
}
_FILES = ("sys_vendor", "board_vendor", "bios_vendor", "chassis_asset_tag")


def collect_cloud(tree: Tree) -> str:
    """``aws``, ``gcp``, ``azure``, or empty; raises `MissingFact` if the firmware is silent.

    A machine without these files (an ARM board, a container without /sys) has no known cloud.
    """
    words = []
    for name in _FILES:
        try:
            words.append(tree.text(f"/sys/class/dmi/id/{name}").strip())
        except MissingFact as missing:
            if missing.gap.reason not in ("absent", "not-recorded"):
                raise
    return next((cloud for mark, cloud in _CLOUDS.items() if mark in words), "")


def collect_services(tree: Tree) -> frozenset[int]:
    """TCP ports that /etc/services names; none where the file is missing."""
    try:
        text = tree.text("/etc/services")
    except MissingFact as missing:
        if missing.gap.reason in ("absent", "not-recorded"):
            return frozenset()
        raise MissingFact(Gap("services", missing.gap.reason, missing.gap.detail)) from None
    found = re.findall(r"^[^#\s]\S*[ \t]+(\d{1,5})/tcp", text, re.ASCII | re.MULTILINE)
    return frozenset(port for port in map(int, found) if port < 65536)
