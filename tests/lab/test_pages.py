"""The pages of docs/, typed as they are written: every command, its exit code, what it prints."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support import pages
from support.ground import own_lab
from support.lab import PROJECT, SSH_CONFIG, Lab

pytestmark = pytest.mark.slow

# In this order: an upgrade ends with the way back, and leaves the hosts as they were.
OF_A_SITE = ("nightly", "read-a-failure", "ci", "awx", "air-gap", "upgrade-a-fleet")


def script(folder: Path, name: str, text: str) -> None:
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def environment(folder: Path) -> dict[str, str]:
    """An operator's, with gpuhost in the PATH and a home that is empty at first."""
    script(folder, "gpuhost", f'exec {sys.executable} -m gpuhost "$@"')
    own = {name: value for name, value in os.environ.items() if name != "XDG_STATE_HOME"}
    programs = (str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"])
    path = os.pathsep.join(programs)
    return {**own, "HOME": str(folder / "home"), "PATH": path, "PYTHONPATH": str(PROJECT)}


def try_out(page: str, folder: Path) -> None:
    """Type the commands of a page in a shell, in the project ``folder``."""
    steps = pages.steps(pages.DOCS / f"{page}.md")
    assert steps
    for name, text in pages.files(pages.DOCS / f"{page}.md").items():
        (folder / name).write_text(text)
    notes = folder / f"{page}.notes"
    notes.mkdir()
    lines = [
        f"{{ {step.command}\n}} > {notes}/{number} 2>&1 < /dev/null\necho $? > {notes}/{number}.rc"
        for number, step in enumerate(steps)
    ]
    (folder / "home").mkdir(exist_ok=True)
    (notes / "script").write_text("\n".join(lines))
    subprocess.run(
        ["bash", notes / "script"], cwd=folder, env=environment(folder), check=False, timeout=1500
    )
    for number, step in enumerate(steps):
        printed = (notes / f"{number}").read_text()
        code = int((notes / f"{number}.rc").read_text())
        assert code == step.code, f"{page}.md: {step.command}\n{code}\n{printed}"
        assert step.missing(printed) == [], f"{page}.md: {step.command}\n{printed}"


@pytest.fixture(scope="module")
def ground() -> Iterator[None]:
    """A lab of these tests' own: the pages name their hosts themselves."""
    with own_lab():
        yield


@pytest.fixture(scope="module")
def site(ground: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project as an operator has one: inventories/site, with two hosts that are provisioned."""
    del ground
    folder = tmp_path_factory.mktemp("site")
    (folder / "inventories").mkdir()
    shutil.copytree(PROJECT / "playbooks", folder / "playbooks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(PROJECT))
        patch.setenv("XDG_STATE_HOME", str(folder / "home" / ".local" / "state"))
        lab = Lab(folder)
        lab.ok("lab", "up", "gpu-01", "gpu-02", "--gpus", "4")
        take_over(folder)
        lab.ok("provision", "gpu_hosts", "--yes")
    return folder


def take_over(folder: Path) -> None:
    """Make the lab's inventory one that the lab does not know of, with the site's group."""
    (folder / "inventories" / "lab").rename(folder / "inventories" / "site")
    path = folder / "inventories" / "site" / "hosts.yml"
    known_hosts = path.with_name("known_hosts")
    text = path.read_text().replace("inventories/lab/known_hosts", "inventories/site/known_hosts")
    (release,) = yaml.safe_load(text)["lab"]["children"].values()
    common = yaml.safe_load(text)["lab"]["vars"] | release["vars"]
    hosts = release["hosts"]
    versions = {name: variables.pop("nvidia_driver_branch") for name, variables in hosts.items()}
    path.write_text(yaml.safe_dump({"gpu_hosts": {"vars": common, "hosts": hosts}}))
    (path.parent / "group_vars").mkdir()
    (path.parent / "group_vars" / "gpu_hosts.yml").write_text(
        f'nvidia_driver_branch: "{versions["gpu-01"]}"\n'
    )
    config = folder / "ssh_config"
    config.write_text(
        "".join(
            SSH_CONFIG.format(
                host=name,
                address=variables["ansible_host"],
                user=common["ansible_user"],
                key=common["ansible_ssh_private_key_file"],
                known_hosts=known_hosts,
                sockets=folder,
            )
            for name, variables in hosts.items()
        )
    )
    script(folder, "scp", f'exec /usr/bin/scp -F {config} "$@"')


def test_the_drills_go_as_their_page_says(
    ground: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    del ground
    folder = tmp_path_factory.mktemp("drills")
    (folder / "inventories").mkdir()
    try_out("drills", folder)


@pytest.mark.parametrize("page", OF_A_SITE)
def test_what_a_page_tells_to_type_works_and_prints_what_it_says(page: str, site: Path) -> None:
    try_out(page, site)


def test_a_host_is_handed_to_a_data_scientist_as_its_page_says(
    ground: None, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del ground
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    for image in ("pytorch", "mlflow"):
        Lab(site).ok("lab", "image", image)
    script(site, "ssh", f'exec /usr/bin/ssh -F {site / "ssh_config"} "$@"')
    try_out("data-scientist", site)


def test_every_page_with_commands_is_tried() -> None:
    with_commands = {page.stem for page in pages.DOCS.glob("*.md") if pages.steps(page)}
    untried = with_commands - {"drills", "data-scientist", *OF_A_SITE}
    assert not untried, "add it to OF_A_SITE, or fence what the lab cannot do as shell-session"
