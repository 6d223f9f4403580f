"""A host that reaches the world through a proxy alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from support import proxy
from support.lab import Lab
from support.proxy import Proxy

from gpuhost.lab import settings

pytestmark = pytest.mark.slow
# A name that only the proxy makes something of.
MIRROR = "mirror.invalid"
LOSE_NAMES = "sed -i '/nvcr.io/d' /etc/hosts"


def through(lab: Lab, host: str, way_out: Proxy) -> Mapping[str, Any]:
    """Variables of a host whose repositories are where only the proxy finds them."""
    content = yaml.safe_load((lab.project / "inventories/lab/hosts.yml").read_text())
    (release,) = [r for r in content["lab"]["children"].values() if host in r["hosts"]]
    repositories = {
        name: value.replace(settings.load().address, MIRROR)
        for name, value in release["vars"].items()
        if "_repo_" in name
    }
    proxies = {"gpuhost_http_proxy": way_out.url, "gpuhost_https_proxy": way_out.url}
    return {**repositories, **proxies, "gpuhost_no_proxy": "localhost,127.0.0.1"}


@pytest.mark.parametrize(("host", "system"), [("lab-71", "debian12"), ("lab-72", "rocky9")])
def test_a_host_behind_a_proxy_is_provisioned_and_proven_and_then_conforms(
    lab: Lab, host: str, system: str
) -> None:
    lab.up(host, "--gpus", "1", "--os", system)
    lab.exec(host, ["sh", "-ec", LOSE_NAMES])
    with (
        proxy.running(settings.load().address) as way_out,
        lab.variables(host, through(lab, host, way_out)),
    ):
        lab.ok("provision", host, "--yes")
        assert lab.verify(host).bad == {}
        assert lab.ok("plan", host).stdout == f"{host}: nothing to change\n"
    for part in ("/docker/linux/", "/cuda/", "/libnvidia-container/"):
        assert [asked for asked in way_out.asked if f"//{MIRROR}:8080{part}" in asked]
    assert "CONNECT nvcr.io:443" in way_out.asked
    proxies = json.loads(lab.exec(host, ["cat", "/etc/docker/daemon.json"]))["proxies"]
    assert proxies == {
        "http-proxy": way_out.url,
        "https-proxy": way_out.url,
        "no-proxy": "localhost,127.0.0.1",
    }
