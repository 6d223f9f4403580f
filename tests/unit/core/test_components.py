import re

import yaml
from support import roles
from support.declared import conforming_evidence, declarations, planned
from support.evidence import healthy_desired

from gpuhost.components import COMPONENTS, ROLES
from gpuhost.plan import AFTER, BEFORE, in_full, plan


def play() -> dict[str, object]:
    (found,) = yaml.safe_load((roles.PLAYBOOKS / "provision.yml").read_text())
    return dict(found)


def test_every_component_has_its_line_in_the_playbook_in_the_same_order() -> None:
    named = [entry["role"] for entry in play()["roles"]]  # type: ignore[attr-defined, unused-ignore]
    assert [role for role in named if role not in ("preflight", "software")] == list(ROLES)
    assert play()["vars"]["every_role"] == list(ROLES)  # type: ignore[index, unused-ignore]
    text = (roles.PLAYBOOKS / "provision.yml").read_text()
    assert re.findall(r"when: \"'(\w+)' in chosen_roles\"", text) == list(ROLES)


def test_the_planners_go_by_the_components_labels() -> None:
    assert {*BEFORE, *AFTER} <= {component.label for component in COMPONENTS}


def test_a_conforming_host_runs_no_role_and_in_full_all() -> None:
    found = planned(conforming_evidence())
    assert found.roles == ()
    assert in_full(found).roles == ROLES


def test_a_role_whose_stamp_does_not_vouch_for_it_runs_with_those_that_build_on_it() -> None:
    stale = {"docker_ce": "variables changed since the last run"}
    evidence, desired = conforming_evidence(), healthy_desired()
    found = plan("gpu-01", evidence, desired, declarations(evidence, desired), stale)
    assert found.is_empty
    assert found.roles == (
        "docker_ce",
        "nvidia_container_toolkit",
        "docker_users",
        "registry_login",
    )
