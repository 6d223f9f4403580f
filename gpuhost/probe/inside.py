"""What runs inside a trial's container, and how its output is read. Pure.

A single shell script prints everything at once, in marked parts: one start
of a container, one stream, no further round trip to the daemon.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Optional

MARK = "@@gpuhost"
KILLED = 137

# Through NVML itself, by what every Python has: independent of nvidia-smi.
READ_NVML = """
import ctypes, json
class Pci(ctypes.Structure):
    _fields_ = [("legacy", ctypes.c_char * 16)] + [
        (n, ctypes.c_uint) for n in ("domain", "bus", "device", "id", "subsystem")
    ] + [("bus_id", ctypes.c_char * 32)]
try:
    nvml = ctypes.CDLL("libnvidia-ml.so.1")
except OSError as error:
    raise SystemExit(str(error))
def call(name, *arguments):
    code = getattr(nvml, name)(*arguments)
    if code:
        raise SystemExit("%s: NVML error %d" % (name, code))
call("nvmlInit_v2")
count = ctypes.c_uint()
call("nvmlDeviceGetCount_v2", ctypes.byref(count))
def parts(gpu):
    mode, pending, slots = ctypes.c_uint(), ctypes.c_uint(), ctypes.c_uint()
    references = ctypes.byref(mode), ctypes.byref(pending)
    if not hasattr(nvml, "nvmlDeviceGetMigMode") or nvml.nvmlDeviceGetMigMode(gpu, *references):
        return [gpu]
    if not mode.value:
        return [gpu]
    call("nvmlDeviceGetMaxMigDeviceCount", gpu, ctypes.byref(slots))
    handles = [ctypes.c_void_p() for slot in range(slots.value)]
    get = nvml.nvmlDeviceGetMigDeviceHandleByIndex
    return [h for slot, h in enumerate(handles) if get(gpu, slot, ctypes.byref(h)) == 0]
found = []
for index in range(count.value):
    handle, pci = ctypes.c_void_p(), Pci()
    call("nvmlDeviceGetHandleByIndex_v2", index, ctypes.byref(handle))
    call("nvmlDeviceGetPciInfo_v3", handle, ctypes.byref(pci))
    for part in parts(handle):
        uuid = ctypes.create_string_buffer(96)
        call("nvmlDeviceGetUUID", part, uuid, 96)
        found.append([uuid.value.decode(), pci.bus_id.decode()])
print(json.dumps(found))
"""

# $1: seconds until everything in here is killed. As PID 1 the shell is spared by kill -1, and goes
# on. It waits for a line before it says anything: the Engine answers a request to attach before it
# listens, and what is said until then is lost.
_BEGIN = """
(sleep "$1"; kill -s KILL -- -1) </dev/null >/dev/null 2>&1 &
read -r go || exit 1
mark() { printf '\\n@@gpuhost %s\\n' "$1"; }
"""
# It stays until its standard input ends, so that what it said is heard.
_END = """
mark "exit $status" >&2
mark "exit $status"
read -r stay
exit "$status"
"""


def heard(body: str) -> str:
    """A script around ``body``, which leaves its exit code in ``$status``, that is heard whole."""
    return _BEGIN + body.strip("\n") + _END


# $2: READ_NVML.
SCRIPT = heard("""
try() { "$@"; rc=$?; [ "$rc" -ne 137 ] || exit 137; }
mark environment
[ -z "${NVIDIA_VISIBLE_DEVICES+set}" ] || printf '%s\\n' "$NVIDIA_VISIBLE_DEVICES"
mark nodes
for node in /dev/nvidia* /dev/nvidia-caps/nvidia-cap*; do
  [ ! -e "$node" ] || printf '%s\\n' "$node"
done
mark list
try nvidia-smi -L
status=$rc
mark query
try nvidia-smi --query-gpu=index,uuid,pci.bus_id,name --format=csv,noheader
if command -v python3 >/dev/null 2>&1; then
  mark nvml
  try python3 -c "$2" </dev/null
fi
""")


@dataclass(frozen=True)
class Report:
    """What a container said about itself.

    ``exit_code`` is that of ``nvidia-smi -L``; None until everything has been
    printed. ``visible_devices`` None: NVIDIA_VISIBLE_DEVICES is not set.
    """

    exit_code: Optional[int]
    visible_devices: Optional[str]
    nodes: List[str]
    list_gpus: str
    query: str
    nvml: Optional[str]
    rest: str


def command(limit_s: float) -> List[str]:
    """The arguments of ``/bin/sh`` inside; everything has ended after ``limit_s`` seconds."""
    return ["-c", SCRIPT, "gpuhost", str(max(1, round(limit_s))), READ_NVML]


def is_complete(stdout: bytes, stderr: bytes) -> bool:
    """Whether the script has printed all that it will, on both streams."""
    end = f"\n{MARK} exit ".encode()
    return all(end in said and said.endswith(b"\n") for said in (stdout, stderr))


def parse(stdout: str, stderr: str) -> Report:
    """Take the output apart; parts that are not there are empty."""
    before, *marked = stdout.split(f"\n{MARK} ")
    parts: Dict[str, str] = {}
    for part in marked:
        name, _, text = part.partition("\n")
        parts[name] = text
    ends = [name.split()[1] for name in parts if name.startswith("exit ")]
    environment = parts.get("environment", "")
    return Report(
        exit_code=int(ends[0]) if ends and ends[0].isdigit() else None,
        visible_devices=environment.rstrip("\n") if environment else None,
        nodes=parts.get("nodes", "").split(),
        list_gpus=parts.get("list", ""),
        query=parts.get("query", ""),
        nvml=parts.get("nvml", "").strip() or None,
        rest=before + stderr.partition(f"\n{MARK} exit ")[0],
    )
