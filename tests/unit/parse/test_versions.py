import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuhost.parse.errors import ParseError
from gpuhost.parse.versions import branch, numbers, same, upstream


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("5:26.1.5-1~debian.13~trixie", "26.1.5"),
        ("5:29.8.2-1~debian.12~bookworm", "29.8.2"),
        ("1.20.0-1", "1.20.0"),
        ("580.178.04-1", "580.178.04"),
        ("26.1.5+dfsg1", "26.1.5"),
        ("29.0.0~rc.1", "29.0.0"),
        ("1.20.0", "1.20.0"),
    ],
)
def test_epoch_and_packaging_come_off_a_version(version: str, expected: str) -> None:
    assert upstream(version) == expected


def test_versions_compare_as_numbers() -> None:
    assert numbers("1.9.0-1") < numbers("1.17.8-1") < numbers("1.20.0-1")
    assert numbers("25.0") <= numbers("5:25.0.3-1")
    assert numbers("28.1.1") < (28, 2)


@pytest.mark.parametrize("text", ["", "none", "v1.2", "N/A"])
def test_what_is_no_version_is_an_error(text: str) -> None:
    with pytest.raises(ParseError, match="not a version"):
        numbers(text)


def test_the_branch_of_a_driver_is_its_first_number() -> None:
    assert branch("580.178.04") == "580"
    assert branch("550.163.01-1") == "550"
    assert branch("615.71") == "615"


@pytest.mark.parametrize("text", ["", "580", "13.0", "N/A"])
def test_what_is_no_driver_version_has_no_branch(text: str) -> None:
    with pytest.raises(ParseError, match="not a driver version"):
        branch(text)


def test_a_declaration_without_packaging_is_met_by_every_packaging() -> None:
    assert same("1.20.0", "1.20.0-1")
    assert same("29.7.2", "5:29.7.2-1~debian.12~bookworm")
    assert not same("1.20.0", "1.20.1-1")


def test_a_declaration_with_packaging_is_met_by_exactly_that() -> None:
    assert same("5:29.7.2-1~debian.12~bookworm", "5:29.7.2-1~debian.12~bookworm")
    assert same("5:29.7.2-1~debian.12~bookworm", "29.7.2-1~debian.12~bookworm")
    assert not same("1.20.0-1", "1.20.0-2")
    assert not same("1.20.0-1", "1.20.0.1-1")


@given(st.lists(st.integers(0, 999), min_size=1, max_size=4), st.integers(1, 9))
def test_a_version_is_the_same_as_its_packages(parts: list[int], revision: int) -> None:
    version = ".".join(map(str, parts))
    assert same(version, f"5:{version}-{revision}")
    assert numbers(f"5:{version}-{revision}") == tuple(parts)
