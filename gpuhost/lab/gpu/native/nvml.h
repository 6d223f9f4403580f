/*
 * A simulated libnvidia-ml: the management library of GPUs that are not there.
 *
 * It serves nvidia-smi and any other NVML client inside lab hosts and their
 * containers. Everything that it reports is text at the end of its own file
 * (an ELF loader ignores what follows the sections), because that file is the
 * one thing that a container toolkit carries into every container: host and
 * containers then see the same GPUs. nvml_text.c has the format.
 *
 * Which GPUs are listed is not text: a GPU is there for a process that can
 * reach its device node, so mount namespaces and the device cgroup decide, as
 * they do on metal.
 *
 * Only symbols of glibc 2.17 and older may be used (build.py checks it), or
 * the library would not load in the older images that operators run. Hence
 * no stat(), no strtoul(), no sscanf(), no dladdr().
 */
#ifndef NVML_H
#define NVML_H

typedef int nvmlReturn_t;
enum {
    OK = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4,
    NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, LIB_RM_VERSION_MISMATCH = 18,
    UNKNOWN = 999
};

enum { MAX_GPUS = 32, MAX_PROFILES = 16, MAX_INSTANCES = 112, MAX_KEYS = 96, TEXT_SIZE = 128 * 1024 };

struct gpu {
    const char *key[MAX_KEYS];
    char *value[MAX_KEYS];
    int count;
};
typedef struct gpu *nvmlDevice_t;

struct nvml {
    char path[4096];              /* of this library, as this process sees it */
    char text[TEXT_SIZE + 1];     /* the end of that file */
    const char *library, *cuda;   /* versions of this library and of the CUDA that it comes with */
    const char *loaded;           /* version of the kernel module, NULL where the text has none */
    struct gpu gpus[MAX_GPUS];
    struct gpu profiles[MAX_PROFILES];   /* kinds of GPU instances */
    struct gpu instances[MAX_INSTANCES]; /* GPU instances */
    struct gpu devices[MAX_INSTANCES];   /* compute instances, which are MIG devices */
    struct gpu *visible[MAX_GPUS];
    unsigned count;               /* of visible */
    int users;                    /* nvmlInit less nvmlShutdown */
};
extern struct nvml nvml;

/* Reads the text afresh. UNKNOWN where it cannot be found or never becomes complete. */
nvmlReturn_t read_text(void);

/* Changes a one-digit value in the file itself. NO_PERMISSION where that cannot be written. */
nvmlReturn_t write_digit(const char *uuid, const char *key, unsigned digit);

/* 0 or the errno of opening a node; see nvml.c. */
int reach(const char *node, int flags);

/* Reads the text again, after the driver was asked to change something. */
nvmlReturn_t refresh(void);

/* A MIG device that this process may use. */
nvmlReturn_t mig_device_by_uuid(const char *uuid, nvmlDevice_t *out);

nvmlReturn_t copy(const char *from, char *to, unsigned length);
nvmlReturn_t get_unsigned(nvmlDevice_t gpu, const char *key, unsigned *out);

#define API __attribute__((visibility("default")))

/* The value of a GPU's key, or the error that stands for it. */
nvmlReturn_t find(nvmlDevice_t gpu, const char *key, char **value);

unsigned long long number(const char *text);

/* Reads a hexadecimal number and steps behind it and the character that ended it. */
unsigned long hexadecimal(const char **cursor);

#endif
