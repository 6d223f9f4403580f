from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gpuhost.lab.mounts import Mount, parse

HYBRID = """\
24 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
31 24 0:28 / /sys/fs/cgroup rw,relatime shared:9 - tmpfs tmpfs rw,mode=755
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime shared:10 - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""


def test_the_mount_table_gives_place_type_and_options_of_each_mount() -> None:
    assert parse(HYBRID)[2:] == (
        Mount(Path("/sys/fs/cgroup/systemd"), "cgroup", ("rw", "name=systemd")),
        Mount(Path("/sys/fs/cgroup/unified"), "cgroup2", ("rw",)),
    )


@given(st.text(alphabet=" \t\n\\abc-é", min_size=1))
def test_a_folder_with_blanks_in_its_name_is_found_under_its_own_name(name: str) -> None:
    # As the kernel writes it: blanks and backslashes as three octal digits.
    written = "".join(f"\\{ord(c):03o}" if c in " \t\n\\" else c for c in name)
    line = f"50 24 254:0 / /srv/{written} rw - ext4 /dev/vda rw\n"
    assert parse(line) == (Mount(Path(f"/srv/{name}"), "ext4", ("rw",)),)
