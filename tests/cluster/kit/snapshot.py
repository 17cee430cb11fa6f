"""What a machine's kernel says of itself, so that a test finds what a cluster left behind."""

from __future__ import annotations

import os
from pathlib import Path

from tests.cluster.kit import host

# These change by themselves, or count, or belong to links that come and go with the pods.
_RESTLESS = (
    *("kernel/random", "kernel/ns_last_pid", "kernel/pty", "kernel/perf_event", "kernel/cad_pid"),
    *("kernel/sched_domain", "kernel/tainted", "kernel/hotplug", "kernel/printk", "fs/"),
    *("net/ipv4/conf/", "net/ipv4/neigh/", "net/ipv6/conf/", "net/ipv6/neigh/"),
    *("net/netfilter/nf_conntrack_count", "net/ipv4/route", "net/ipv6/route", "net/unix"),
)
_LASTING = ("net/ipv4/conf/all/", "net/ipv4/conf/default/", "net/ipv6/conf/all/")


def kernel_settings() -> dict[str, str]:
    """All of /proc/sys that stays as it is until somebody writes it."""
    root = Path("/proc/sys")
    found: dict[str, str] = {}
    # A link's folder may go while it is read, which os.walk passes over.
    paths = [Path(folder) / file for folder, _, files in os.walk(root) for file in files]
    for path in sorted(paths):
        name = path.relative_to(root).as_posix()
        if name.startswith(_RESTLESS) and not name.startswith(_LASTING):
            continue
        try:
            found[name] = path.read_text(encoding="utf-8", errors="replace").strip()
        except OSError:  # for writing only, or gone
            continue
    return found


def machine() -> dict[str, object]:
    """What a cluster might leave behind."""
    mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    links = (host.NODE_LINK, host.PODS_LINK)
    return {
        "settings": kernel_settings(),
        "firewall": {name: host.rules(host.firewall(name)) for name in ("iptables", "ip6tables")},
        "links": [name for name in links if Path(f"/sys/class/net/{name}").exists()],
        "mounts": [line.split()[1] for line in mounts if "kaizen-otel-cluster" in line],
        "groups": host.cgroups(),
    }


def differences(before: dict[str, object], after: dict[str, object]) -> dict[str, object]:
    """What is different; settings of kernel modules that were loaded meanwhile are not."""
    was, is_now = before["settings"], after["settings"]
    assert isinstance(was, dict)
    assert isinstance(is_now, dict)
    changed = {name: is_now.get(name) for name in was if is_now.get(name) != was[name]}
    others = {name: after[name] for name in before if name != "settings"}
    found = {name: value for name, value in others.items() if value != before[name]}
    return found | ({"settings": changed} if changed else {})
