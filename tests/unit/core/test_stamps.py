import json
from pathlib import Path
from typing import Any

import pytest
from support.evidence import healthy_evidence

from gpuhost import stamps
from gpuhost.components import ROLES
from gpuhost.inventory import Host
from gpuhost.probe.schema import Evidence

PASSWORD = "correct horse"
LOGIN = {"registry": "nvcr.io", "username": "$oauthtoken", "password": PASSWORD}
HOST = Host("gpu-01", "192.0.2.1", {"registry_login_registries": [LOGIN]})


def stamped(host: Host, files: dict[str, str] | None = None) -> Evidence:
    evidence: Any = healthy_evidence()
    left = stamps.make(host, ROLES)
    evidence["sections"]["provisioning"]["data"]["stamps"] = {
        role: json.dumps({**stamp, "files": files or {}}) for role, stamp in left.items()
    }
    return evidence  # type: ignore[no-any-return]


def test_stamps_of_the_same_roles_and_variables_vouch_for_them() -> None:
    assert stamps.stale(HOST, stamped(HOST)) == {}


def test_without_a_stamp_every_role_runs() -> None:
    assert set(stamps.stale(HOST, healthy_evidence())) == set(ROLES)


def test_a_changed_variable_is_noticed_by_the_roles_that_take_it_alone() -> None:
    changed = Host("gpu-01", "192.0.2.1", {**HOST.variables, "docker_users_names": ["bob"]})
    assert set(stamps.stale(changed, stamped(HOST))) == {"docker_users"}


def test_a_changed_password_is_noticed_and_none_is_in_a_stamp() -> None:
    changed = Host(
        "gpu-01", "192.0.2.1", {"registry_login_registries": [{**LOGIN, "password": "other"}]}
    )
    assert set(stamps.stale(changed, stamped(HOST))) == {"registry_login"}
    assert PASSWORD not in json.dumps(stamps.make(HOST, ROLES))


def test_the_same_secret_looks_different_in_every_stamp() -> None:
    first, second = (stamps.make(HOST, ROLES)["registry_login"] for _ in range(2))
    assert first["secrets"] != second["secrets"]


def test_a_changed_role_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = stamped(HOST)
    monkeypatch.setattr(stamps, "role_hash", lambda _: "another")
    assert set(stamps.stale(HOST, evidence)) == set(ROLES)


def test_a_file_of_a_role_that_changed_or_came_back_is_noticed() -> None:
    path = "/etc/apt/sources.list.d/docker.list"
    evidence: Any = stamped(HOST)
    found = {"path": path, "mode": "0644", "changed_at": 0.0, "sha256": "abc"}
    evidence["sections"]["provisioning"]["data"]["files"] = [found]
    assert stamps.stale(HOST, evidence) == {"docker_ce": f"{path} changed since the last run"}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"version": 0}'])
def test_a_damaged_stamp_vouches_for_nothing(text: str) -> None:
    evidence: Any = stamped(HOST)
    evidence["sections"]["provisioning"]["data"]["stamps"]["docker_ce"] = text
    assert set(stamps.stale(HOST, evidence)) == {"docker_ce"}


def test_every_change_of_a_file_in_a_role_changes_its_hash(tmp_path: Path) -> None:
    (tmp_path / "role").mkdir()
    file = tmp_path / "role" / "main.yml"
    file.write_text("a")
    first = stamps.folder_hash(tmp_path, ("role",))
    stamps.folder_hash.cache_clear()
    file.write_text("b")
    assert stamps.folder_hash(tmp_path, ("role",)) != first
