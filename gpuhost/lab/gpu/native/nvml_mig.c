/*
 * GPUs that are divided into instances, and the fabric that GPUs are joined by.
 *
 * As with GPUs, what is there is text and what is listed is the kernel's
 * doing: a MIG device is there for a process that can open the two capability
 * nodes that stand for its GPU instance and its compute instance. To divide a
 * GPU the driver is asked, that is: the kernel player in this host.
 *
 * An instance's handle is made of its numbers, so that it stays good while
 * others come and go.
 */
#include "nvml.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>
#include <unistd.h>

#define PLAYER "/usr/lib/gpuhost-lab/kernel"
#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

enum { COMPUTE_PROFILES = 5 };
static const unsigned compute_slices[COMPUTE_PROFILES] = {1, 2, 3, 4, 7};

/* ------------------------------------------------------------ sections */

static unsigned value_of(struct gpu *section, const char *key)
{
    unsigned value = 0;

    return get_unsigned(section, key, &value) == OK ? value : 0;
}

static int belongs_to(struct gpu *section, nvmlDevice_t gpu)
{
    char *parent, *uuid;

    return section->count && find(section, "parent", &parent) == OK &&
           find(gpu, "uuid", &uuid) == OK && !strcmp(parent, uuid);
}

static nvmlDevice_t parent_of(struct gpu *section)
{
    unsigned i;

    for (i = 0; i < MAX_GPUS && nvml.gpus[i].count; i++)
        if (belongs_to(section, &nvml.gpus[i]))
            return &nvml.gpus[i];
    return NULL;
}

static int is_mig_device(nvmlDevice_t device)
{
    return device >= nvml.devices && device < nvml.devices + MAX_INSTANCES;
}

/* ------------------------------------------------------------ handles of instances */

typedef unsigned long handle_t;

static handle_t instance_handle(nvmlDevice_t gpu, unsigned gi)
{
    return 0x10000000UL + (handle_t)(gpu - nvml.gpus) * 0x10000 + gi * 0x100;
}

static nvmlDevice_t gpu_of(handle_t handle)
{
    unsigned long index = (handle - 0x10000000UL) / 0x10000;

    return index < MAX_GPUS && nvml.gpus[index].count ? &nvml.gpus[index] : NULL;
}

static unsigned gi_of(handle_t handle) { return handle / 0x100 & 0xff; }
static unsigned ci_of(handle_t handle) { return (handle & 0xff) - 1; }

static struct gpu *find_section(struct gpu *first, nvmlDevice_t gpu, unsigned gi, int ci)
{
    struct gpu *section;

    for (section = first; gpu && section < first + MAX_INSTANCES && section->count; section++)
        if (belongs_to(section, gpu) && value_of(section, "gi") == gi &&
            (ci < 0 || value_of(section, "ci") == (unsigned)ci))
            return section;
    return NULL;
}

/* ------------------------------------------------------------ asking the driver */

static void run_player(int out, const char *request, const char *uuid, const unsigned *numbers,
                       unsigned count)
{
    char text[3][16];
    const char *argv[9] = {PLAYER, "mig", request, uuid};
    unsigned i;

    for (i = 0; i < count; i++) {
        snprintf(text[i], sizeof text[i], "%u", numbers[i]);
        argv[4 + i] = text[i];
    }
    dup2(out, 1);
    execv(PLAYER, (char *const *)argv);
    _exit(127);
}

static nvmlReturn_t ask(const char *request, nvmlDevice_t gpu, const unsigned *numbers,
                        unsigned count, unsigned *answer)
{
    char said[64] = "", *uuid;
    int ends[2], status;
    pid_t child;
    nvmlReturn_t result = find(gpu, "uuid", &uuid);

    if (result != OK)
        return result;
    if (geteuid() != 0 || access(PLAYER, X_OK))
        return NO_PERMISSION;
    if (pipe(ends) || (child = fork()) < 0)
        return UNKNOWN;
    if (!child)
        run_player(ends[1], request, uuid, numbers, count);
    close(ends[1]);
    if (read(ends[0], said, sizeof said - 1) < 0)
        said[0] = '\0';
    close(ends[0]);
    waitpid(child, &status, 0);
    if (!strncmp(said, "error ", 6))
        return (nvmlReturn_t)number(said + 6);
    if (strncmp(said, "ok ", 3))
        return UNKNOWN;
    *answer = (unsigned)number(said + 3);
    return refresh();
}

/* ------------------------------------------------------------ the mode */

API nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t gpu, unsigned *current, unsigned *pending)
{
    nvmlReturn_t result = get_unsigned(gpu, "mig", current);

    return result == OK ? get_unsigned(gpu, "mig_pending", pending) : result;
}

/* What became of it is told apart from whether it could be asked for. */
API nvmlReturn_t nvmlDeviceSetMigMode(nvmlDevice_t gpu, unsigned mode, nvmlReturn_t *activation)
{
    unsigned current, answer = 0;
    nvmlReturn_t result = get_unsigned(gpu, "mig", &current);

    if (result == OK)
        result = ask("mode", gpu, &mode, 1, &answer);
    *activation = result == OK ? (nvmlReturn_t)answer : result;
    return result;
}

/* ------------------------------------------------------------ MIG devices */

static int is_reachable(struct gpu *device, const char *key)
{
    char node[64];

    snprintf(node, sizeof node, "/dev/nvidia-caps/nvidia-cap%u", value_of(device, key));
    return !reach(node, O_RDONLY);
}

static struct gpu *visible_device(nvmlDevice_t gpu, unsigned slot)
{
    struct gpu *device;

    for (device = nvml.devices; device < nvml.devices + MAX_INSTANCES && device->count; device++)
        if (belongs_to(device, gpu) && is_reachable(device, "gi_node") &&
            is_reachable(device, "ci_node") && !slot--)
            return device;
    return NULL;
}

API nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t gpu, unsigned slot,
                                                     nvmlDevice_t *out)
{
    unsigned most;
    nvmlReturn_t result = get_unsigned(gpu, "mig_max", &most);

    if (result != OK)
        return result == NOT_SUPPORTED ? NOT_FOUND : result;
    if (slot >= most)
        return INVALID_ARGUMENT;
    *out = visible_device(gpu, slot);
    return *out ? OK : NOT_FOUND;
}

API nvmlReturn_t nvmlDeviceIsMigDeviceHandle(nvmlDevice_t device, unsigned *out)
{
    *out = (unsigned)is_mig_device(device);
    return nvml.users ? OK : UNINITIALIZED;
}

API nvmlReturn_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDevice_t device,
                                                              nvmlDevice_t *out)
{
    if (!nvml.users)
        return UNINITIALIZED;
    *out = is_mig_device(device) ? parent_of(device) : NULL;
    return *out ? OK : INVALID_ARGUMENT;
}

nvmlReturn_t mig_device_by_uuid(const char *uuid, nvmlDevice_t *out)
{
    unsigned i, slot;
    char *value;
    struct gpu *device;

    for (i = 0; i < nvml.count; i++)
        for (slot = 0; (device = visible_device(nvml.visible[i], slot)); slot++)
            if (find(device, "uuid", &value) == OK && !strcasecmp(value, uuid)) {
                *out = device;
                return OK;
            }
    return NOT_FOUND;
}

API nvmlReturn_t nvmlDeviceGetGpuInstanceId(nvmlDevice_t device, unsigned *out)
{
    return is_mig_device(device) ? get_unsigned(device, "gi", out) : NOT_SUPPORTED;
}

API nvmlReturn_t nvmlDeviceGetComputeInstanceId(nvmlDevice_t device, unsigned *out)
{
    return is_mig_device(device) ? get_unsigned(device, "ci", out) : NOT_SUPPORTED;
}

API nvmlReturn_t nvmlDeviceGetAttributes_v2(nvmlDevice_t device, void *info)
{
    struct {
        unsigned multiprocessors, copy_engines, decoders, encoders, jpeg, ofa, gi_slices, ci_slices;
        unsigned long long memory_mib;
    } *out = info;

    if (!is_mig_device(device))
        return nvml.users ? NOT_SUPPORTED : UNINITIALIZED;
    memset(out, 0, sizeof *out);
    out->multiprocessors = value_of(device, "multiprocessors");
    out->copy_engines = value_of(device, "copy_engines");
    out->decoders = value_of(device, "decoders");
    out->gi_slices = value_of(device, "gi_slices");
    out->ci_slices = value_of(device, "ci_slices");
    out->memory_mib = value_of(device, "memory_mib");
    return OK;
}

/* ------------------------------------------------------------ kinds of GPU instances */

static struct gpu *profile_by(const char *key, unsigned wanted)
{
    unsigned i;

    for (i = 0; i < MAX_PROFILES && nvml.profiles[i].count; i++)
        if (value_of(&nvml.profiles[i], key) == wanted)
            return &nvml.profiles[i];
    return NULL;
}

static nvmlReturn_t can_be_divided(nvmlDevice_t gpu)
{
    unsigned most;

    return get_unsigned(gpu, "mig_max", &most);
}

/* All versions of the structure begin alike; from the second on it has a version and a name. */
API nvmlReturn_t nvmlDeviceGetGpuInstanceProfileInfoV(nvmlDevice_t gpu, unsigned which, void *info)
{
    struct {
        unsigned version, id, p2p, slices, instances, multiprocessors, copy_engines, decoders;
        unsigned encoders, jpeg, ofa;
        unsigned long long memory_mib;
        char name[96];
    } *out = info;
    char *name;
    struct gpu *profile;
    nvmlReturn_t result = can_be_divided(gpu);

    if (result != OK)
        return result;
    if (!(profile = profile_by("number", which)))
        return NOT_SUPPORTED;
    out->id = value_of(profile, "id");
    out->p2p = 0;
    out->slices = value_of(profile, "slices");
    out->instances = value_of(profile, "most");
    out->multiprocessors = value_of(profile, "multiprocessors");
    out->copy_engines = value_of(profile, "copy_engines");
    out->decoders = value_of(profile, "decoders");
    out->encoders = out->jpeg = out->ofa = 0;
    out->memory_mib = value_of(profile, "memory_mib");
    if (find(profile, "name", &name) == OK)
        snprintf(out->name, sizeof out->name, "MIG %s", name);
    return OK;
}

API nvmlReturn_t nvmlDeviceGetGpuInstanceProfileInfo(nvmlDevice_t gpu, unsigned which, void *info)
{
    unsigned whole[128], i;
    nvmlReturn_t result = nvmlDeviceGetGpuInstanceProfileInfoV(gpu, which, whole);

    for (i = 0; result == OK && i < 12; i++) /* without the version; the memory ends it */
        ((unsigned *)info)[i] = whole[i + (i < 10 ? 1 : 2)];
    return result;
}

struct placement { unsigned start, size; };

API nvmlReturn_t nvmlDeviceGetGpuInstancePossiblePlacements_v2(nvmlDevice_t gpu, unsigned id,
                                                               struct placement *out,
                                                               unsigned *count)
{
    struct gpu *profile = profile_by("id", id);
    char *cursor;
    nvmlReturn_t result = can_be_divided(gpu);

    if (result != OK)
        return result;
    if (!profile || find(profile, "starts", &cursor) != OK)
        return NOT_SUPPORTED;
    for (*count = 0; *cursor; cursor += strcspn(cursor, ","), cursor += *cursor == ',', ++*count)
        if (out) {
            out[*count].start = (unsigned)number(cursor);
            out[*count].size = value_of(profile, "size");
        }
    return OK;
}

static int fits(nvmlDevice_t gpu, unsigned start, unsigned size)
{
    struct gpu *other;

    for (other = nvml.instances; other < nvml.instances + MAX_INSTANCES && other->count; other++)
        if (belongs_to(other, gpu) && start < value_of(other, "start") + value_of(other, "size") &&
            value_of(other, "start") < start + size)
            return 0;
    return 1;
}

API nvmlReturn_t nvmlDeviceGetGpuInstanceRemainingCapacity(nvmlDevice_t gpu, unsigned id,
                                                           unsigned *out)
{
    struct placement places[8];
    unsigned count, i, on, most, left = 0;
    struct gpu *other, *profile = profile_by("id", id);
    nvmlReturn_t result = get_unsigned(gpu, "mig", &on);

    if (result == OK)
        result = nvmlDeviceGetGpuInstancePossiblePlacements_v2(gpu, id, places, &count);
    if (result != OK)
        return result;
    most = value_of(profile, "most");
    for (other = nvml.instances; other < nvml.instances + MAX_INSTANCES && other->count; other++)
        most -= most && belongs_to(other, gpu) && value_of(other, "profile") == id;
    for (i = 0; on && i < count; i++)
        left += (unsigned)fits(gpu, places[i].start, places[i].size);
    *out = left < most ? left : most;
    return OK;
}

/* ------------------------------------------------------------ GPU instances */

static nvmlReturn_t create_instance(nvmlDevice_t gpu, const unsigned *numbers, unsigned count,
                                    handle_t *out)
{
    unsigned gi = 0;
    nvmlReturn_t result = can_be_divided(gpu);

    if (result == OK)
        result = ask("create-instance", gpu, numbers, count, &gi);
    if (result == OK)
        *out = instance_handle(gpu, gi);
    return result;
}

API nvmlReturn_t nvmlDeviceCreateGpuInstance(nvmlDevice_t gpu, unsigned id, handle_t *out)
{
    return create_instance(gpu, &id, 1, out);
}

API nvmlReturn_t nvmlDeviceCreateGpuInstanceWithPlacement(nvmlDevice_t gpu, unsigned id,
                                                          const struct placement *place,
                                                          handle_t *out)
{
    unsigned numbers[] = {id, place->start};

    return create_instance(gpu, numbers, 2, out);
}

API nvmlReturn_t nvmlGpuInstanceDestroy(handle_t handle)
{
    unsigned answer, gi = gi_of(handle);
    nvmlDevice_t gpu = gpu_of(handle);

    return gpu ? ask("destroy-instance", gpu, &gi, 1, &answer) : INVALID_ARGUMENT;
}

API nvmlReturn_t nvmlDeviceGetGpuInstances(nvmlDevice_t gpu, unsigned id, handle_t *out,
                                           unsigned *count)
{
    struct gpu *each;
    nvmlReturn_t result = can_be_divided(gpu);

    *count = 0;
    if (result != OK)
        return result;
    for (each = nvml.instances; each < nvml.instances + MAX_INSTANCES && each->count; each++)
        if (belongs_to(each, gpu) && value_of(each, "profile") == id)
            out[(*count)++] = instance_handle(gpu, value_of(each, "gi"));
    return OK;
}

API nvmlReturn_t nvmlDeviceGetGpuInstanceById(nvmlDevice_t gpu, unsigned gi, handle_t *out)
{
    if (!find_section(nvml.instances, gpu, gi, -1))
        return NOT_FOUND;
    *out = instance_handle(gpu, gi);
    return OK;
}

API nvmlReturn_t nvmlGpuInstanceGetInfo(handle_t handle, void *info)
{
    struct { nvmlDevice_t device; unsigned id, profile; struct placement place; } *out = info;
    struct gpu *instance = find_section(nvml.instances, gpu_of(handle), gi_of(handle), -1);

    if (!instance)
        return nvml.users ? INVALID_ARGUMENT : UNINITIALIZED;
    out->device = gpu_of(handle);
    out->id = gi_of(handle);
    out->profile = value_of(instance, "profile");
    out->place.start = value_of(instance, "start");
    out->place.size = value_of(instance, "size");
    return OK;
}

/* ------------------------------------------------------------ compute instances */

static struct gpu *profile_of(handle_t handle)
{
    struct gpu *instance = find_section(nvml.instances, gpu_of(handle), gi_of(handle), -1);

    return instance ? profile_by("id", value_of(instance, "profile")) : NULL;
}

API nvmlReturn_t nvmlGpuInstanceGetComputeInstanceProfileInfoV(handle_t handle, unsigned which,
                                                               unsigned engine, void *info)
{
    struct {
        unsigned version, id, slices, instances, multiprocessors, copy_engines, decoders;
        unsigned encoders, jpeg, ofa;
        char name[96];
    } *out = info;
    struct gpu *profile = profile_of(handle);
    unsigned all;
    char *name;

    if (!profile)
        return nvml.users ? INVALID_ARGUMENT : UNINITIALIZED;
    all = value_of(profile, "slices");
    if (engine || which >= COMPUTE_PROFILES || compute_slices[which] > all)
        return NOT_SUPPORTED;
    out->id = which;
    out->slices = compute_slices[which];
    out->instances = all / out->slices;
    out->multiprocessors = value_of(profile, "multiprocessors") * out->slices / all;
    out->copy_engines = value_of(profile, "copy_engines");
    out->decoders = value_of(profile, "decoders");
    out->encoders = out->jpeg = out->ofa = 0;
    if (find(profile, "name", &name) != OK)
        return UNKNOWN;
    if (out->slices == all)
        snprintf(out->name, sizeof out->name, "MIG %s", name);
    else
        snprintf(out->name, sizeof out->name, "MIG %uc.%s", out->slices, name);
    return OK;
}

API nvmlReturn_t nvmlGpuInstanceGetComputeInstanceProfileInfo(handle_t handle, unsigned which,
                                                              unsigned engine, void *info)
{
    unsigned whole[128];
    nvmlReturn_t result =
        nvmlGpuInstanceGetComputeInstanceProfileInfoV(handle, which, engine, whole);

    if (result == OK)
        memcpy(info, whole + 1, 9 * sizeof *whole);
    return result;
}

static unsigned slices_left(handle_t handle)
{
    struct gpu *each, *profile = profile_of(handle);
    unsigned left = profile ? value_of(profile, "slices") : 0;

    for (each = nvml.devices; each < nvml.devices + MAX_INSTANCES && each->count; each++)
        if (belongs_to(each, gpu_of(handle)) && value_of(each, "gi") == gi_of(handle))
            left -= value_of(each, "ci_slices");
    return left;
}

API nvmlReturn_t nvmlGpuInstanceGetComputeInstanceRemainingCapacity(handle_t handle, unsigned id,
                                                                    unsigned *out)
{
    if (!profile_of(handle) || id >= COMPUTE_PROFILES)
        return INVALID_ARGUMENT;
    *out = slices_left(handle) / compute_slices[id];
    return OK;
}

API nvmlReturn_t nvmlGpuInstanceGetComputeInstancePossiblePlacements(handle_t handle, unsigned id,
                                                                     struct placement *out,
                                                                     unsigned *count)
{
    struct gpu *profile = profile_of(handle);
    unsigned slices = profile ? value_of(profile, "slices") : 0;

    if (!profile || id >= COMPUTE_PROFILES)
        return INVALID_ARGUMENT;
    for (*count = 0; (*count + 1) * compute_slices[id] <= slices; ++*count)
        if (out) {
            out[*count].start = *count * compute_slices[id];
            out[*count].size = compute_slices[id];
        }
    return OK;
}

API nvmlReturn_t nvmlGpuInstanceCreateComputeInstance(handle_t handle, unsigned id, handle_t *out)
{
    unsigned ci = 0, numbers[] = {gi_of(handle), id};
    nvmlDevice_t gpu = gpu_of(handle);
    nvmlReturn_t result = gpu ? ask("create-compute", gpu, numbers, 2, &ci) : INVALID_ARGUMENT;

    if (result == OK)
        *out = handle + ci + 1;
    return result;
}

API nvmlReturn_t nvmlGpuInstanceCreateComputeInstanceWithPlacement(handle_t handle, unsigned id,
                                                                   const struct placement *place,
                                                                   handle_t *out)
{
    (void)place; /* compute instances are laid out from the first slice on */
    return nvmlGpuInstanceCreateComputeInstance(handle, id, out);
}

API nvmlReturn_t nvmlComputeInstanceDestroy(handle_t handle)
{
    unsigned answer, numbers[] = {gi_of(handle), ci_of(handle)};
    nvmlDevice_t gpu = gpu_of(handle);

    return gpu ? ask("destroy-compute", gpu, numbers, 2, &answer) : INVALID_ARGUMENT;
}

API nvmlReturn_t nvmlGpuInstanceGetComputeInstances(handle_t handle, unsigned id, handle_t *out,
                                                    unsigned *count)
{
    struct gpu *each;

    *count = 0;
    if (!profile_of(handle))
        return nvml.users ? INVALID_ARGUMENT : UNINITIALIZED;
    for (each = nvml.devices; each < nvml.devices + MAX_INSTANCES && each->count; each++)
        if (belongs_to(each, gpu_of(handle)) && value_of(each, "gi") == gi_of(handle) &&
            value_of(each, "ci_profile") == id)
            out[(*count)++] = handle + value_of(each, "ci") + 1;
    return OK;
}

API nvmlReturn_t nvmlGpuInstanceGetComputeInstanceById(handle_t handle, unsigned ci, handle_t *out)
{
    if (!find_section(nvml.devices, gpu_of(handle), gi_of(handle), (int)ci))
        return NOT_FOUND;
    *out = handle + ci + 1;
    return OK;
}

API nvmlReturn_t nvmlComputeInstanceGetInfo_v2(handle_t handle, void *info)
{
    struct {
        nvmlDevice_t device;
        handle_t instance;
        unsigned id, profile;
        struct placement place;
    } *out = info;
    struct gpu *device =
        find_section(nvml.devices, gpu_of(handle), gi_of(handle), (int)ci_of(handle));

    if (!device)
        return nvml.users ? INVALID_ARGUMENT : UNINITIALIZED;
    out->device = gpu_of(handle);
    out->instance = handle & ~0xffUL;
    out->id = ci_of(handle);
    out->profile = value_of(device, "ci_profile");
    out->place.start = value_of(device, "start");
    out->place.size = value_of(device, "ci_slices");
    return OK;
}

/* ------------------------------------------------------------ the fabric */



API nvmlReturn_t nvmlDeviceGetGpuFabricInfo(nvmlDevice_t gpu, void *info)
{
    struct { unsigned char cluster[16]; nvmlReturn_t status; unsigned clique; unsigned char state; }
        *out = info;
    unsigned state;
    nvmlReturn_t result = get_unsigned(gpu, "fabric_state", &state);

    if (result != OK)
        return result;
    memset(out, 0, sizeof *out);
    out->state = (unsigned char)state;
    if (get_unsigned(gpu, "fabric_status", &state) == OK)
        out->status = (nvmlReturn_t)state;
    return OK;
}

API nvmlReturn_t nvmlDeviceGetGpuFabricInfoV(nvmlDevice_t gpu, void *info)
{
    struct { unsigned version; unsigned char rest[28]; unsigned health; unsigned char summary; } *out = info;
    nvmlReturn_t result = nvmlDeviceGetGpuFabricInfo(gpu, out->rest);

    if (result != OK)
        return result;
    out->health = 0x2; /* bandwidth is not degraded; the rest is not supported */
    if (out->version >> 24 > 2)
        out->summary = 1;
    return OK;
}
