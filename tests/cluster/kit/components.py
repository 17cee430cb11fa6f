"""The components' command lines and configuration files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.cluster.kit.certificates import Authority, Identity, write_signing_key
from tests.cluster.kit.host import NODE_ADDRESS, PODS_LINK, QUEUE
from tests.cluster.kit.images import PAUSE
from tests.cluster.kit.programs import PLUGINS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.kit.programs import Programs

NODE = "test-node"
#: A loopback address of our own, so that usual ports collide with nobody's.
LOOPBACK = "127.31.250.1"
API = f"https://{NODE_ADDRESS}:6443"
_PODS = "10.244.0.0/24"
_SERVICES = "10.96.0.0/16"
_API_SERVICE = "10.96.0.1"
_ETCD = f"http://{LOOPBACK}:2379"

_SERVER_HOSTS = (
    *("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"),
    *(NODE_ADDRESS, _API_SERVICE),
)
_IDENTITIES = {
    "server": Identity(user="kube-apiserver", hosts=_SERVER_HOSTS),
    "admin": Identity(user="admin", groups=("system:masters",)),
    "to-kubelet": Identity(user="kube-apiserver", groups=("system:masters",)),
    "manager": Identity(user="system:kube-controller-manager"),
    "scheduler": Identity(user="system:kube-scheduler"),
    "proxy": Identity(user="system:kube-proxy"),
    "node": Identity(user=f"system:node:{NODE}", groups=("system:nodes",)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Folders:
    """Where a cluster keeps its state (on a disk) and its sockets (in memory)."""

    state: Path
    run: Path

    @property
    def socket(self) -> Path:
        """The container runtime's."""
        return self.run / "containerd.sock"

    @property
    def pki(self) -> Path:
        """Certificates."""
        return self.state / "pki"

    def kubeconfig(self, name: str = "admin") -> Path:
        """How the component of that name reaches the API server."""
        return self.state / f"{name}.conf"


def write_files(folders: Folders) -> None:
    """Write certificates and configuration."""
    authority = Authority(folders.pki)
    for name, identity in _IDENTITIES.items():
        authority.issue(name, identity)
        if not identity.hosts and name != "to-kubelet":
            authority.kubeconfig(folders.kubeconfig(name), server=API, certificate=name)
    write_signing_key(folders.pki)
    network = folders.state / "network"
    network.mkdir()
    _write(network / "10-pods.conflist", _network(folders))
    _write(folders.state / "kubelet.json", _kubelet(folders))
    _write(folders.state / "proxy.json", _proxy(folders))
    (folders.state / "resolv.conf").touch()
    (folders.state / "containerd.toml").write_text(_containerd(folders), encoding="utf-8")
    (folders.state / "Corefile").write_text(_corefile(folders), encoding="utf-8")


def first_commands(programs: Programs, folders: Folders) -> dict[str, list[str]]:
    """What needs nobody: the store, the API server (which waits for it), the runtime."""
    kube, pki = str(programs.kube), folders.pki
    peers = f"http://{LOOPBACK}:2380"
    return {
        "etcd": [
            *(kube, "etcd", "--name", "test", "--data-dir", str(folders.state / "etcd")),
            *("--listen-client-urls", _ETCD, "--advertise-client-urls", _ETCD),
            *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers),
            *("--initial-cluster", f"test={peers}", "--unsafe-no-fsync", "--log-level", "warn"),
        ],
        "containerd": [
            *("containerd", "--config", str(folders.state / "containerd.toml")),
            *("--log-level", "warn"),
        ],
        "apiserver": [
            *(kube, "kube-apiserver", "--etcd-servers", _ETCD),
            *("--advertise-address", NODE_ADDRESS, "--bind-address", NODE_ADDRESS),
            *("--secure-port", "6443", "--service-cluster-ip-range", _SERVICES),
            f"--client-ca-file={pki}/ca.crt",
            f"--tls-cert-file={pki}/server.crt",
            f"--tls-private-key-file={pki}/server.key",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki}/tokens.pub",
            f"--service-account-signing-key-file={pki}/tokens.key",
            f"--kubelet-client-certificate={pki}/to-kubelet.crt",
            f"--kubelet-client-key={pki}/to-kubelet.key",
            "--kubelet-preferred-address-types=InternalIP",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged",
        ],
    }


def other_commands(programs: Programs, folders: Folders) -> dict[str, list[str]]:
    """What needs the API server."""
    kube, pki, state = str(programs.kube), folders.pki, folders.state

    def known_as(name: str) -> list[str]:
        path = folders.kubeconfig(name)
        return [
            f"--kubeconfig={path}",
            f"--authentication-kubeconfig={path}",
            f"--authorization-kubeconfig={path}",
            f"--bind-address={LOOPBACK}",
            "--leader-elect=false",
        ]

    return {
        "manager": [
            *(kube, "kube-controller-manager", *known_as("manager")),
            f"--root-ca-file={pki}/ca.crt",
            f"--service-account-private-key-file={pki}/tokens.key",
            f"--cluster-signing-cert-file={pki}/ca.crt",
            f"--cluster-signing-key-file={pki}/ca.key",
            *("--use-service-account-credentials", f"--cluster-cidr={_PODS}"),
            "--horizontal-pod-autoscaler-sync-period=1s",
        ],
        "scheduler": [kube, "kube-scheduler", *known_as("scheduler")],
        "kubelet": [
            *(kube, "kubelet", "--config", str(state / "kubelet.json")),
            *("--kubeconfig", str(folders.kubeconfig("node")), "--hostname-override", NODE),
            *("--node-ip", NODE_ADDRESS, "--root-dir", str(state / "kubelet")),
            *("--cert-dir", str(state / "kubelet-pki")),
        ],
        "proxy": [kube, "kube-proxy", "--config", str(state / "proxy.json")],
        "coredns": [str(programs.coredns), "-conf", str(state / "Corefile")],
        "netpol": [str(programs.netpol), str(folders.kubeconfig()), NODE, str(QUEUE)],
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _network(folders: Folders) -> dict[str, Any]:
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": _PODS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": str(folders.state / "addresses"),
    }
    bridge = {"type": "bridge", "bridge": PODS_LINK, "isGateway": True, "ipMasq": True}
    return {
        "cniVersion": "0.4.0",
        "name": "kaizen-otel-cluster",
        "plugins": [{**bridge, "hairpinMode": True, "ipam": addresses}],
    }


def _kubelet(folders: Folders) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "healthzBindAddress": LOOPBACK,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(folders.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        # A machine without CAP_SYS_RESOURCE cannot lower it.
        "oomScoreAdj": 0,
        "containerRuntimeEndpoint": f"unix://{folders.socket}",
        "clusterDomain": "cluster.local",
        "clusterDNS": [NODE_ADDRESS],
        "resolvConf": str(folders.state / "resolv.conf"),
        "podLogsDir": str(folders.state / "pod-logs"),
        "volumePluginDir": str(folders.state / "volume-plugins"),
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
        },
        "nodeStatusUpdateFrequency": "5s",
        "syncFrequency": "10s",
        "fileCheckFrequency": "5s",
    }


def _proxy(folders: Folders) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(folders.kubeconfig("proxy"))},
        "hostnameOverride": NODE,
        "mode": "iptables",
        "iptables": {"minSyncPeriod": "0.2s"},
        "clusterCIDR": _PODS,
        "conntrack": {"maxPerCore": 0},
        "healthzBindAddress": f"{LOOPBACK}:10256",
        "metricsBindAddress": f"{LOOPBACK}:10249",
    }


def _containerd(folders: Folders) -> str:
    # restrict_oom_score_adj: a machine without CAP_SYS_RESOURCE cannot lower it.
    return f"""\
version = 2
root = "{folders.state}/containerd"
state = "{folders.run}/containerd"
[grpc]
  address = "{folders.socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  disable_tcp_service = true
  stream_server_address = "{LOOPBACK}"
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{PLUGINS}"
    conf_dir = "{folders.state}/network"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""


def _corefile(folders: Folders) -> str:
    return f"""\
.:53 {{
    bind {NODE_ADDRESS}
    errors
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {folders.kubeconfig()}
        endpoint_pod_names
    }}
    cache 5
}}
"""
