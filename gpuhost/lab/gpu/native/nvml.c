#include "nvml.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* ------------------------------------------------------------ values of a GPU */

static nvmlReturn_t get_number(nvmlDevice_t gpu, const char *key, unsigned long long *out)
{
    char *value;
    nvmlReturn_t result = find(gpu, key, &value);

    if (result == OK)
        *out = number(value);
    return result;
}

nvmlReturn_t get_unsigned(nvmlDevice_t gpu, const char *key, unsigned *out)
{
    unsigned long long value;
    nvmlReturn_t result = get_number(gpu, key, &value);

    if (result == OK)
        *out = (unsigned)value;
    return result;
}

nvmlReturn_t copy(const char *from, char *to, unsigned length)
{
    if (strlen(from) >= length)
        return INSUFFICIENT_SIZE;
    strcpy(to, from);
    return OK;
}

static nvmlReturn_t get_text(nvmlDevice_t gpu, const char *key, char *out, unsigned length)
{
    char *value;
    nvmlReturn_t result = find(gpu, key, &value);

    return result == OK ? copy(value, out, length) : result;
}

/* ------------------------------------------------------------ the kernel's answers */

/* 0 or the errno of opening a device node. The lab's nodes have no driver behind them:
   ENXIO and ENODEV mean that everything up to the driver let the process through. */
int reach(const char *node, int flags)
{
    int file = open(node, flags | O_CLOEXEC);

    if (file < 0)
        return errno == ENXIO || errno == ENODEV ? 0 : errno;
    close(file);
    return 0;
}

static nvmlReturn_t ask_driver(void)
{
    switch (reach("/dev/nvidiactl", O_RDWR)) {
    case 0:
        break;
    case EACCES:
        return NO_PERMISSION;
    case ENOENT:
        return DRIVER_NOT_LOADED;
    default:
        return UNKNOWN;
    }
    /* Without configuration this library came after the module that is loaded. */
    return nvml.loaded && !strcmp(nvml.loaded, nvml.library) ? OK : LIB_RM_VERSION_MISMATCH;
}

static void list_gpus(void)
{
    char node[64], *minor;
    int i;

    nvml.count = 0;
    for (i = 0; i < MAX_GPUS && nvml.gpus[i].count; i++) {
        if (find(&nvml.gpus[i], "minor", &minor) != OK)
            continue;
        snprintf(node, sizeof node, "/dev/nvidia%s", minor);
        if (!reach(node, O_RDWR))
            nvml.visible[nvml.count++] = &nvml.gpus[i];
    }
}

nvmlReturn_t refresh(void)
{
    nvmlReturn_t result = read_text();

    if (result == OK)
        list_gpus();
    return result;
}

API nvmlReturn_t nvmlInitWithFlags(unsigned flags)
{
    nvmlReturn_t result;

    (void)flags;
    if (nvml.users) {
        nvml.users++;
        return OK;
    }
    result = read_text();
    if (result == OK)
        result = ask_driver();
    if (result == OK) {
        nvml.users = 1;
        list_gpus();
    }
    return result;
}

API nvmlReturn_t nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
API nvmlReturn_t nvmlInit(void) { return nvmlInitWithFlags(0); }

API nvmlReturn_t nvmlShutdown(void)
{
    if (!nvml.users)
        return UNINITIALIZED;
    nvml.users--;
    return OK;
}

API const char *nvmlErrorString(nvmlReturn_t code)
{
    static const char *const text[] = {
        "Success", "Uninitialized", "Invalid Argument", "Not Supported",
        "Insufficient Permissions", "Already Initialized", "Not Found", "Insufficient Size",
        "Insufficient External Power", "Driver Not Loaded", "Timeout", "Interrupt Request Issue",
        "NVML Shared Library Not Found", "Function Not Found", "Corrupted infoROM",
        "GPU is lost", "GPU requires reset", "GPU access blocked by the operating system",
        "Driver/library version mismatch", "In use by another client", "Insufficient Memory",
        "No data",
    };

    return code >= 0 && code < (int)(sizeof text / sizeof *text) ? text[code] : "Unknown Error";
}

/* nvidia-smi asks for a private table of functions and takes none of it for granted except that
   it is there: give it one whose every entry is "not supported". The first word is its size. */
static nvmlReturn_t unsupported(void) { return NOT_SUPPORTED; }

API nvmlReturn_t nvmlInternalGetExportTable(const void **table, const void *id)
{
    static union { unsigned long size; nvmlReturn_t (*function)(void); } entries[512];
    unsigned i;

    (void)id;
    entries[0].size = sizeof entries;
    for (i = 1; i < sizeof entries / sizeof *entries; i++)
        entries[i].function = unsupported;
    *table = entries;
    return OK;
}

/* ------------------------------------------------------------ the system */

API nvmlReturn_t nvmlSystemGetDriverVersion(char *out, unsigned length)
{
    return nvml.users ? copy(nvml.loaded, out, length) : UNINITIALIZED;
}

/* Answers before nvmlInit, and after one that failed: nvidia-smi names it in a mismatch. */
API nvmlReturn_t nvmlSystemGetNVMLVersion(char *out, unsigned length)
{
    char version[80];

    if (!nvml.library && read_text() != OK)
        return UNKNOWN;
    snprintf(version, sizeof version, "12.%s", nvml.library);
    return copy(version, out, length);
}

API nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *out)
{
    if (!nvml.users)
        return UNINITIALIZED;
    *out = (int)number(nvml.cuda);
    return OK;
}

API nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *out)
{
    return nvmlSystemGetCudaDriverVersion_v2(out);
}

/* ------------------------------------------------------------ handles */

API nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *out)
{
    if (!nvml.users)
        return UNINITIALIZED;
    *out = nvml.count;
    return OK;
}

API nvmlReturn_t nvmlDeviceGetCount(unsigned *out) { return nvmlDeviceGetCount_v2(out); }

/* A GPU that fell off the bus is still counted, but there is no handle to be had. */
static nvmlReturn_t open_handle(struct gpu *gpu, nvmlDevice_t *out)
{
    char *value;
    nvmlReturn_t result = find(gpu, "handle", &value);

    if (result != OK && result != NOT_SUPPORTED)
        return result;
    *out = gpu;
    return OK;
}

API nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *out)
{
    if (!nvml.users)
        return UNINITIALIZED;
    return index < nvml.count ? open_handle(nvml.visible[index], out) : INVALID_ARGUMENT;
}

API nvmlReturn_t nvmlDeviceGetHandleByIndex(unsigned index, nvmlDevice_t *out)
{
    return nvmlDeviceGetHandleByIndex_v2(index, out);
}

static nvmlReturn_t handle_by(const char *key, const char *wanted, nvmlDevice_t *out)
{
    char *value;
    unsigned i;

    if (!nvml.users)
        return UNINITIALIZED;
    for (i = 0; i < nvml.count; i++)
        if (find(nvml.visible[i], key, &value) == OK && !strcasecmp(value, wanted))
            return open_handle(nvml.visible[i], out);
    return NOT_FOUND;
}

API nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *out)
{
    return strncasecmp(uuid, "MIG-", 4) ? handle_by("uuid", uuid, out)
                                        : mig_device_by_uuid(uuid, out);
}

API nvmlReturn_t nvmlDeviceGetHandleBySerial(const char *serial, nvmlDevice_t *out)
{
    return handle_by("serial", serial, out);
}

/* Clients write the domain with four digits or eight. */
API nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *id, nvmlDevice_t *out)
{
    char address[40];
    size_t domain = strcspn(id, ":");

    snprintf(address, sizeof address, "%s%s", domain == 4 ? "0000" : "", id);
    return handle_by("pci", address, out);
}

API nvmlReturn_t nvmlDeviceGetHandleByPciBusId(const char *id, nvmlDevice_t *out)
{
    return nvmlDeviceGetHandleByPciBusId_v2(id, out);
}

API nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t gpu, unsigned *out)
{
    if (!nvml.users)
        return UNINITIALIZED;
    for (*out = 0; *out < nvml.count; ++*out)
        if (nvml.visible[*out] == gpu)
            return OK;
    return INVALID_ARGUMENT;
}

/* ------------------------------------------------------------ one value a function */

#define TEXT(function, key)                                                          \
    API nvmlReturn_t function(nvmlDevice_t gpu, char *out, unsigned length)          \
    {                                                                                \
        return get_text(gpu, key, out, length);                                      \
    }
#define NUMBER(function, key)                                                        \
    API nvmlReturn_t function(nvmlDevice_t gpu, unsigned *out)                       \
    {                                                                                \
        return get_unsigned(gpu, key, out);                                          \
    }

TEXT(nvmlDeviceGetName, "name")
TEXT(nvmlDeviceGetUUID, "uuid")
TEXT(nvmlDeviceGetSerial, "serial")
TEXT(nvmlDeviceGetVbiosVersion, "vbios")
TEXT(nvmlDeviceGetBoardPartNumber, "board_part")
TEXT(nvmlDeviceGetInforomImageVersion, "inforom")
NUMBER(nvmlDeviceGetMinorNumber, "minor")
NUMBER(nvmlDeviceGetBoardId, "board_id")
NUMBER(nvmlDeviceGetMultiGpuBoard, "multi_gpu_board")
NUMBER(nvmlDeviceGetBrand, "brand")
NUMBER(nvmlDeviceGetArchitecture, "architecture")
NUMBER(nvmlDeviceGetPersistenceMode, "persistence")
NUMBER(nvmlDeviceGetComputeMode, "compute_mode")
NUMBER(nvmlDeviceGetDisplayActive, "display_active")
NUMBER(nvmlDeviceGetDisplayMode, "display_mode")
NUMBER(nvmlDeviceGetMaxMigDeviceCount, "mig_max")
NUMBER(nvmlDeviceGetFanSpeed, "fan")
NUMBER(nvmlDeviceGetPerformanceState, "pstate")
NUMBER(nvmlDeviceGetPowerState, "pstate")
NUMBER(nvmlDeviceGetPowerUsage, "power")
NUMBER(nvmlDeviceGetPowerManagementMode, "power_management")
NUMBER(nvmlDeviceGetPowerManagementLimit, "power_limit")
NUMBER(nvmlDeviceGetPowerManagementDefaultLimit, "power_default")
NUMBER(nvmlDeviceGetEnforcedPowerLimit, "power_limit")
NUMBER(nvmlDeviceGetMaxPcieLinkGeneration, "pcie_gen_max")
NUMBER(nvmlDeviceGetGpuMaxPcieLinkGeneration, "pcie_gen_device_max")
NUMBER(nvmlDeviceGetCurrPcieLinkGeneration, "pcie_gen")
NUMBER(nvmlDeviceGetMaxPcieLinkWidth, "pcie_width_max")
NUMBER(nvmlDeviceGetCurrPcieLinkWidth, "pcie_width")
NUMBER(nvmlDeviceGetPcieReplayCounter, "pcie_replays")
NUMBER(nvmlDeviceGetModuleId, "module_id")
NUMBER(nvmlDeviceGetRetiredPagesPendingStatus, "retired_pages_pending")

/* Nothing is told but whether the checksum is right. */
API nvmlReturn_t nvmlDeviceValidateInforom(nvmlDevice_t gpu)
{
    unsigned is_valid;

    return get_unsigned(gpu, "inforom_checksum", &is_valid);
}

API nvmlReturn_t nvmlDeviceGetGspFirmwareVersion(nvmlDevice_t gpu, char *out)
{
    return get_text(gpu, "gsp", out, 80);
}

#define MASK(function, key)                                                          \
    API nvmlReturn_t function(nvmlDevice_t gpu, unsigned long long *out)             \
    {                                                                                \
        return get_number(gpu, key, out);                                            \
    }

MASK(nvmlDeviceGetCurrentClocksThrottleReasons, "clocks_event_reasons")
MASK(nvmlDeviceGetCurrentClocksEventReasons, "clocks_event_reasons")
MASK(nvmlDeviceGetSupportedClocksThrottleReasons, "clocks_event_reasons_supported")
MASK(nvmlDeviceGetSupportedClocksEventReasons, "clocks_event_reasons_supported")
MASK(nvmlDeviceGetTotalEnergyConsumption, "energy")

/* Where a small integer selects the value. */
static nvmlReturn_t get_selected(nvmlDevice_t gpu, const char *const *keys, unsigned count,
                                 unsigned which, unsigned *out)
{
    return which < count ? get_unsigned(gpu, keys[which], out) : INVALID_ARGUMENT;
}

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

API nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t gpu, unsigned sensor, unsigned *out)
{
    static const char *const keys[] = {"temperature"};

    return get_selected(gpu, keys, COUNT_OF(keys), sensor, out);
}

API nvmlReturn_t nvmlDeviceGetTemperatureThreshold(nvmlDevice_t gpu, unsigned which, unsigned *out)
{
    static const char *const keys[] = {"temperature_shutdown", "temperature_slowdown",
                                       "temperature_memory_max", "temperature_gpu_max"};

    return which < COUNT_OF(keys) ? get_unsigned(gpu, keys[which], out) : NOT_SUPPORTED;
}

/* Degrees left to the slowdown, where the GPU does not tell thresholds. */
API nvmlReturn_t nvmlDeviceGetMarginTemperature(nvmlDevice_t gpu, void *info)
{
    struct { unsigned version; int margin; } *out = info;

    return get_unsigned(gpu, "temperature_margin", (unsigned *)&out->margin);
}

API nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t gpu, unsigned which, unsigned *out)
{
    static const char *const keys[] = {"clock_sm", "clock_sm", "clock_memory", "clock_video"};

    return get_selected(gpu, keys, COUNT_OF(keys), which, out);
}

API nvmlReturn_t nvmlDeviceGetMaxClockInfo(nvmlDevice_t gpu, unsigned which, unsigned *out)
{
    static const char *const keys[] = {"clock_sm_max", "clock_sm_max", "clock_memory_max",
                                       "clock_video_max"};

    return get_selected(gpu, keys, COUNT_OF(keys), which, out);
}

/* ------------------------------------------------------------ several values a function */

API nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t gpu, int *major, int *minor)
{
    char *value, *dot;
    nvmlReturn_t result = find(gpu, "compute_capability", &value);

    if (result != OK)
        return result;
    dot = strchr(value, '.');
    *major = (int)number(value);
    *minor = dot ? (int)number(dot + 1) : 0;
    return OK;
}

struct pci_ids { unsigned domain, bus, device, pci_device_id, pci_subsystem_id; };

static nvmlReturn_t get_pci(nvmlDevice_t gpu, struct pci_ids *out, char **address)
{
    const char *cursor;
    nvmlReturn_t result = find(gpu, "pci", address);

    if (result != OK)
        return result;
    cursor = *address;
    out->domain = (unsigned)hexadecimal(&cursor);
    out->bus = (unsigned)hexadecimal(&cursor);
    out->device = (unsigned)hexadecimal(&cursor);
    if ((result = get_unsigned(gpu, "pci_device", &out->pci_device_id)) != OK)
        return result;
    return get_unsigned(gpu, "pci_subsystem", &out->pci_subsystem_id);
}

API nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t gpu, void *info)
{
    struct { char legacy[16]; struct pci_ids ids; char address[32]; } *out = info;
    char *address;
    nvmlReturn_t result = get_pci(gpu, &out->ids, &address);

    if (result != OK)
        return result;
    snprintf(out->legacy, sizeof out->legacy, "%s", address + 4);
    return copy(address, out->address, sizeof out->address);
}

API nvmlReturn_t nvmlDeviceGetPciInfoExt(nvmlDevice_t gpu, void *info)
{
    struct { unsigned version; struct pci_ids ids; unsigned base, sub; char address[32]; } *out = info;
    char *address;
    nvmlReturn_t result = get_pci(gpu, &out->ids, &address);

    if (result != OK)
        return result;
    out->base = 0x03; /* display controller … */
    out->sub = 0x02;  /* … without a display */
    return copy(address, out->address, sizeof out->address);
}

struct memory { unsigned long long total, reserved, free, used; };

static nvmlReturn_t get_memory(nvmlDevice_t gpu, struct memory *out)
{
    nvmlReturn_t result = get_number(gpu, "memory_total", &out->total);

    if (result == OK)
        result = get_number(gpu, "memory_reserved", &out->reserved);
    if (result == OK)
        result = get_number(gpu, "memory_used", &out->used);
    out->free = out->total - out->reserved - out->used;
    return result;
}

/* The older structure has no "reserved": it counts as used. */
API nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t gpu, void *info)
{
    struct { unsigned long long total, free, used; } *out = info;
    struct memory memory = {0, 0, 0, 0};
    nvmlReturn_t result = get_memory(gpu, &memory);

    if (result == OK) {
        out->total = memory.total;
        out->free = memory.free;
        out->used = memory.used + memory.reserved;
    }
    return result;
}

API nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t gpu, void *info)
{
    struct { unsigned version; struct memory memory; } *out = info;

    return get_memory(gpu, &out->memory);
}

API nvmlReturn_t nvmlDeviceGetBAR1MemoryInfo(nvmlDevice_t gpu, void *info)
{
    struct { unsigned long long total, free, used; } *out = info;
    nvmlReturn_t result = get_number(gpu, "bar1_total", &out->total);

    if (result == OK) {
        out->used = 1024 * 1024;
        out->free = out->total - out->used;
    }
    return result;
}

API nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t gpu, void *info)
{
    struct { unsigned gpu, memory; } *out = info;
    nvmlReturn_t result = get_unsigned(gpu, "utilization_gpu", &out->gpu);

    return result == OK ? get_unsigned(gpu, "utilization_memory", &out->memory) : result;
}

/* Pairs of the current value and the one from the next reset on; nothing is ever pending here. */
#define PAIR(function, key)                                                          \
    API nvmlReturn_t function(nvmlDevice_t gpu, unsigned *current, unsigned *pending)\
    {                                                                                \
        nvmlReturn_t result = get_unsigned(gpu, key, current);                       \
        if (result == OK)                                                            \
            *pending = *current;                                                     \
        return result;                                                               \
    }


API nvmlReturn_t nvmlDeviceGetEccMode(nvmlDevice_t gpu, unsigned *current, unsigned *pending)
{
    nvmlReturn_t result = get_unsigned(gpu, "ecc", current);

    return result == OK ? get_unsigned(gpu, "ecc_pending", pending) : result;
}

/* kind 0: corrected, 1: uncorrected; counter 0: since the driver was loaded, 1: ever. */
API nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t gpu, unsigned kind, unsigned counter,
                                             unsigned long long *out)
{
    static const char *const keys[] = {"ecc_corrected", "ecc_uncorrected",
                                       "ecc_corrected_ever", "ecc_uncorrected_ever"};

    return kind < 2 && counter < 2 ? get_number(gpu, keys[kind + 2 * counter], out)
                                   : INVALID_ARGUMENT;
}

API nvmlReturn_t nvmlDeviceGetMemoryErrorCounter(nvmlDevice_t gpu, unsigned kind, unsigned counter,
                                                 unsigned location, unsigned long long *out)
{
    enum { DRAM = 2, SRAM = 7 };

    if (location == SRAM && kind < 2)
        return get_number(gpu, "ecc_sram", out);
    return location == DRAM ? nvmlDeviceGetTotalEccErrors(gpu, kind, counter, out) : NOT_SUPPORTED;
}

API nvmlReturn_t nvmlDeviceGetRemappedRows(nvmlDevice_t gpu, unsigned *corrected,
                                           unsigned *uncorrected, unsigned *pending,
                                           unsigned *failed)
{
    nvmlReturn_t result = get_unsigned(gpu, "remapped_corrected", corrected);

    if (result == OK)
        result = get_unsigned(gpu, "remapped_uncorrected", uncorrected);
    if (result == OK)
        result = get_unsigned(gpu, "remapped_pending", pending);
    return result == OK ? get_unsigned(gpu, "remapped_failed", failed) : result;
}

API nvmlReturn_t nvmlDeviceGetRowRemapperHistogram(nvmlDevice_t gpu, void *info)
{
    struct { unsigned max, high, partial, low, none; } *out = info;

    memset(out, 0, sizeof *out);
    return get_unsigned(gpu, "remapper_banks", &out->max);
}

API nvmlReturn_t nvmlDeviceGetPowerManagementLimitConstraints(nvmlDevice_t gpu, unsigned *min,
                                                              unsigned *max)
{
    nvmlReturn_t result = get_unsigned(gpu, "power_min", min);

    return result == OK ? get_unsigned(gpu, "power_max", max) : result;
}

/* "nvlinks" are numbered from 0; "nvlinks_down" has a bit for each that is not up. */
API nvmlReturn_t nvmlDeviceGetNvLinkState(nvmlDevice_t gpu, unsigned link, unsigned *is_active)
{
    unsigned links;
    unsigned long long down;
    nvmlReturn_t result = get_unsigned(gpu, "nvlinks", &links);

    if (result == OK)
        result = get_number(gpu, "nvlinks_down", &down);
    if (result == OK && link >= links)
        return INVALID_ARGUMENT;
    if (result == OK)
        *is_active = !(down >> link & 1);
    return result;
}

API nvmlReturn_t nvmlDeviceGetVirtualizationMode(nvmlDevice_t gpu, unsigned *out)
{
    (void)gpu;
    *out = 0; /* bare metal */
    return OK;
}

/* No process computes on a simulated GPU. */
#define NO_PROCESSES(function)                                                       \
    API nvmlReturn_t function(nvmlDevice_t gpu, unsigned *count, void *out)          \
    {                                                                                \
        (void)gpu, (void)out;                                                        \
        *count = 0;                                                                  \
        return nvml.users ? OK : UNINITIALIZED;                                      \
    }

NO_PROCESSES(nvmlDeviceGetComputeRunningProcesses_v2)
NO_PROCESSES(nvmlDeviceGetComputeRunningProcesses_v3)
NO_PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v2)
NO_PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v3)
NO_PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v3)

/* ------------------------------------------------------------ fields by number */

static const struct { unsigned id; const char *key; } fields[] = {
    {1, "ecc"}, {2, "ecc"}, {82, "temperature_memory"}, {83, "energy"}, {94, "pcie_replays"},
    {95, "pcie_replays"}, {142, "remapped_corrected"}, {143, "remapped_uncorrected"},
    {144, "remapped_pending"}, {145, "remapped_failed"}, {185, "power"}, {186, "power"},
    {187, "power_min"}, {188, "power_max"}, {189, "power_default"}, {190, "power_limit"},
    {191, "energy"}, {192, "power_limit"}, {226, "reset_required"}, {227, "drain_recommended"},
    {230, "recovery_action"},
};

/* Every entry must be answered: nvidia-smi reads them all, whatever this returns. Scope 0 is the
   GPU; the others are its module and its memory, which have no sensors of their own here. */
API nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t gpu, int count, void *values)
{
    struct {
        unsigned id, scope;
        long long timestamp, latency;
        unsigned type;
        nvmlReturn_t result;
        unsigned long long value;
    } *field = values;
    unsigned i;

    for (; count > 0; count--, field++) {
        field->timestamp = field->latency = 0;
        field->type = 1; /* unsigned int */
        field->value = 0;
        field->result = NOT_SUPPORTED;
        for (i = 0; i < COUNT_OF(fields); i++)
            if (fields[i].id == field->id && field->scope == 0)
                field->result = get_number(gpu, fields[i].key, &field->value);
    }
    return nvml.users ? OK : UNINITIALIZED;
}

/* ------------------------------------------------------------ what may be changed */

/* As root may where the library's file is: on the host, not through a container's mount of it. */
API nvmlReturn_t nvmlDeviceSetPersistenceMode(nvmlDevice_t gpu, unsigned mode)
{
    char *uuid, *value;
    nvmlReturn_t result = find(gpu, "uuid", &uuid);

    if (result == OK)
        result = find(gpu, "persistence", &value);
    if (result != OK)
        return result;
    if (mode > 1)
        return INVALID_ARGUMENT;
    if (geteuid() != 0)
        return NO_PERMISSION;
    result = write_digit(uuid, "persistence", mode);
    if (result == OK)
        *value = (char)('0' + mode);
    return result;
}

/* ------------------------------------------------------------ events: there are never any */

API nvmlReturn_t nvmlEventSetCreate(void **out)
{
    static char set;

    *out = &set;
    return nvml.users ? OK : UNINITIALIZED;
}

API nvmlReturn_t nvmlEventSetFree(void *set)
{
    (void)set;
    return OK;
}

API nvmlReturn_t nvmlDeviceGetSupportedEventTypes(nvmlDevice_t gpu, unsigned long long *out)
{
    (void)gpu;
    *out = 0;
    return nvml.users ? OK : UNINITIALIZED;
}

/* ------------------------------------------------------------ what this library does not do */

/* nvidia-smi takes a missing function for a broken driver, one that says "not supported" for N/A. */
#define UNSUPPORTED(function) \
    API nvmlReturn_t function(void) { return nvml.users ? NOT_SUPPORTED : UNINITIALIZED; }
#include "nvml_unsupported.h"
