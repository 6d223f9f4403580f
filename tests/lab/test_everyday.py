"""Everyday docker on a host: its command line from afar, and the images that gpuhost brought."""

from __future__ import annotations

import json

from support.lab import Lab


def references(lab: Lab, host: str) -> dict[str, str]:
    """Why each image that gpuhost brought is kept, by name; empty for one that can go."""
    (told,) = json.loads(lab.ok("images", host, "--json").stdout)["hosts"]
    return {image["reference"]: image["kept"] for image in told["images"]}


def test_dockers_command_line_runs_on_the_host_with_its_output_input_and_exit_code(
    lab: Lab, provisioned: str
) -> None:
    words = ("docker", provisioned, "--")
    assert lab.ok(*words, "ps", "--format", "<{{.Names}} $HOME>").stderr == ""
    missing = lab.run(*words, "inspect", "no such 'thing'")
    assert missing.code == 1
    assert "no such 'thing'" in missing.stderr
    read = lab.run(*words, "import", "-", "team/empty:1", stdin="")
    assert read.code == 0, read.stderr
    assert lab.ok(*words, "rmi", "team/empty:1").stdout.startswith("Untagged: team/empty:1")


def test_prune_removes_what_gpuhost_brought_and_nothing_else(lab: Lab, provisioned: str) -> None:
    lab.ok("verify", provisioned)
    cuda, ngc = sorted(references(lab, provisioned), key=lambda name: "cuda" not in name)
    lab.exec(provisioned, ["docker", "tag", ngc, "team/own:1"])
    lab.exec(provisioned, ["docker", "create", "--name", "web", cuda])
    kept = references(lab, provisioned)
    assert kept == {cuda: "in use by web", ngc: "somebody named it team/own:1"}
    assert "0 removed" in lab.ok("images", provisioned, "--prune", "--yes").stdout
    lab.exec(provisioned, ["docker", "rm", "web"])

    asked = lab.run("images", provisioned, "--prune")
    assert (asked.code, "no terminal to ask" in asked.stderr) == (2, True)
    pruned = lab.ok("images", provisioned, "--prune", "--yes").stdout
    assert f"{provisioned}: 1 removed" in pruned

    there = lab.exec(provisioned, ["docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}"])
    assert {"team/own:1", ngc} <= set(there.split())
    assert cuda not in there
    lab.exec(provisioned, ["docker", "image", "rm", "team/own:1"])
    lab.ok("verify", provisioned)
