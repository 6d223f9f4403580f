import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuhost.parse.errors import ParseError
from gpuhost.parse.pci import bus_id, is_gpu


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("00000000:17:00.0", "0000:17:00.0"),
        ("0000:17:00.0", "0000:17:00.0"),
        ("17:00.0", "0000:17:00.0"),
        ("00000009:06:00.0", "0009:06:00.0"),
        ("00010000:C5:1E.7", "10000:c5:1e.7"),
        (" 00000000:CA:00.0\n", "0000:ca:00.0"),
    ],
)
def test_every_spelling_of_an_address_becomes_one(written: str, address: str) -> None:
    assert bus_id(written) == address


@pytest.mark.parametrize(
    "text", ["", "N/A", "[N/A]", "ERR!", "0000:17:00", "0000:17:00.8", "x" * 99]
)
def test_what_is_no_address_is_an_error_that_shows_it(text: str) -> None:
    with pytest.raises(ParseError, match="not a PCI address"):
        bus_id(text)


@given(st.integers(0, 0xFFFF_FFFF), st.integers(0, 0xFF), st.integers(0, 0x1F), st.integers(0, 7))
def test_nvmls_and_sysfs_spelling_of_an_address_are_the_same(
    domain: int, bus: int, device: int, function: int
) -> None:
    tail = f"{bus:02x}:{device:02x}.{function}"
    assert bus_id(f"{domain:08X}:{tail.upper()}") == bus_id(f"{domain:04x}:{tail}")


def test_gpus_are_display_controllers_and_nvswitches_are_not() -> None:
    assert is_gpu("0x030200")
    assert is_gpu("0x030000")
    assert not is_gpu("0x068000")
    assert not is_gpu("0x0c0330")
