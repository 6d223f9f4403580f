import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from support.lab_records import make_record

from gpuhost.lab.settings import LabSettings
from gpuhost.lab.state import Holdings, LabRecord, Store

words = st.lists(st.text(min_size=1), max_size=3).map(tuple)
all_holdings = st.builds(
    Holdings,
    boot_id=st.text(),
    cgroups=words,
    mounts=words,
    links=words,
    rules=st.lists(words, max_size=3).map(tuple),
    folders=words,
)
# Every example overwrites the files of the one before, which is part of what is tested.
same_folder = hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@same_folder
@given(held=all_holdings)
def test_a_record_is_read_back_as_it_was_kept(held: Holdings, where: LabSettings) -> None:
    store = Store(where.state)
    record = replace(make_record(where), holdings=held)
    shared = LabRecord(holdings=held, inventories=("/srv/inventories/lab",))
    store.keep_host(record)
    store.keep_lab(shared)
    assert store.host("lab-01") == record
    assert store.lab() == shared


def test_a_lab_without_records_has_no_hosts(where: LabSettings) -> None:
    store = Store(where.state)
    assert store.hosts() == ()
    assert store.host("lab-01") is None
    assert store.lab() == LabRecord()


def test_a_forgotten_host_leaves_the_others(where: LabSettings) -> None:
    store = Store(where.state)
    for name in ("lab-02", "lab-01"):
        store.keep_host(make_record(where, name))
    assert [record.name for record in store.hosts()] == ["lab-01", "lab-02"]
    store.forget_host("lab-02")
    assert [record.name for record in store.hosts()] == ["lab-01"]


def test_a_crash_while_writing_leaves_the_old_record(
    where: LabSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(where.state)
    record = make_record(where)
    store.keep_host(record)

    def crash(_descriptor: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError, match="No space"):
        store.keep_host(replace(record, gpus=8))
    assert store.hosts() == (record,)


def test_an_inventory_folder_is_on_record_once() -> None:
    folder = Path("/srv/inventories/lab")
    twice = LabRecord().with_inventory(folder).with_inventory(folder)
    assert twice.inventories == (str(folder),)


def test_a_record_says_everything_that_a_later_version_needs_to_clean_up(
    where: LabSettings,
) -> None:
    Store(where.state).keep_host(make_record(where))
    fields = json.loads((where.state / "hosts" / "lab-01.json").read_text())
    assert set(fields["holdings"]) == {
        "boot_id",
        "cgroups",
        "mounts",
        "links",
        "rules",
        "folders",
    }
