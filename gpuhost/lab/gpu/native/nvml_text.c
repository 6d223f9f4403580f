/*
 * The text at the end of this library's own file:
 *
 *     #gpuhost-lab-library 550.163.01 12040   versions of this library and of its CUDA: its package's
 *     loaded=550.163.01                       from here on written by the lab's kernel player,
 *     [gpu]                                   while the "kernel module" is loaded
 *     minor=0
 *     uuid=GPU-...
 *     power=55000
 *     fan=!999                                a query that fails, with its NVML return code
 *     [profile]                               a kind of GPU instance that the GPUs can be divided into
 *     [instance]                              a GPU instance
 *     [device]                                a compute instance, which is a MIG device
 *     #end
 *
 * A key that a GPU lacks is NVML_ERROR_NOT_SUPPORTED.
 */
#include "nvml.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

struct nvml nvml;

unsigned long hexadecimal(const char **cursor)
{
    unsigned long value = 0;

    for (; isxdigit((unsigned char)**cursor); ++*cursor)
        value = value * 16 + (unsigned long)(**cursor <= '9' ? **cursor - '0'
                                                             : (**cursor | 32) - 'a' + 10);
    if (**cursor)
        ++*cursor;
    return value;
}

/* The path that this very code was mapped from: dladdr() without its symbol version. */
static int find_own_path(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[4300];
    unsigned long low, high, here = (unsigned long)&find_own_path;
    int found = 0;

    if (!maps)
        return 0;
    while (!found && fgets(line, sizeof line, maps)) {
        const char *cursor = line;
        char *path = strchr(line, '/');
        low = hexadecimal(&cursor);
        high = hexadecimal(&cursor);
        if (path && low <= here && here < high) {
            path[strcspn(path, "\n")] = '\0';
            snprintf(nvml.path, sizeof nvml.path, "%s", path);
            found = 1;
        }
    }
    fclose(maps);
    return found;
}

/* Reads the end of an open file: its offset there, and where the library's line begins or NULL. */
static char *read_end(int file, char *text, long *offset)
{
    char *cursor, *last = NULL;
    long length = 0, got;

    *offset = lseek(file, 0, SEEK_END) - TEXT_SIZE;
    if (*offset < 0)
        *offset = 0;
    lseek(file, *offset, SEEK_SET);
    while (length < TEXT_SIZE && (got = read(file, text + length, TEXT_SIZE - length)) > 0)
        length += got;
    text[length] = '\0';
    /* In two pieces, or the code below would find its own constant. */
    for (cursor = text; cursor < text + length; cursor++)
        if (!strncmp(cursor, "\n#gpuhost-", 10) && !strncmp(cursor + 10, "lab-library ", 12))
            last = cursor + 22;
    return last;
}

/* Cuts the first line off a text and steps to the next one. */
static char *next_line(char **rest)
{
    char *line = *rest;

    *rest += strcspn(*rest, "\n");
    if (**rest)
        *(*rest)++ = '\0';
    return line;
}

static void parse_library(char *line)
{
    nvml.library = line;
    line += strcspn(line, " ");
    if (*line)
        *line++ = '\0';
    nvml.cuda = line;
}

static void add(struct gpu *gpu, const char *key, char *value)
{
    if (!gpu) {
        if (!strcmp(key, "loaded"))
            nvml.loaded = value;
    } else if (gpu->count < MAX_KEYS) {
        gpu->key[gpu->count] = key;
        gpu->value[gpu->count++] = value;
    }
}

static const struct { const char *header; struct gpu *first; unsigned room; } kinds[] = {
    {"[gpu]", nvml.gpus, MAX_GPUS},
    {"[profile]", nvml.profiles, MAX_PROFILES},
    {"[instance]", nvml.instances, MAX_INSTANCES},
    {"[device]", nvml.devices, MAX_INSTANCES},
};
#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

/* Splits the text in place. Returns 0 while the kernel player is in the middle of writing it. */
static int parse(char *rest)
{
    struct gpu *gpu = NULL, *next[COUNT_OF(kinds)];
    unsigned i;
    char *line, *value;

    for (i = 0; i < COUNT_OF(kinds); i++) {
        next[i] = kinds[i].first;
        memset(kinds[i].first, 0, kinds[i].room * sizeof(struct gpu));
    }
    nvml.loaded = NULL;
    parse_library(next_line(&rest));
    if (!*rest)
        return 1; /* as its package has it: no kernel module was loaded since */
    while (*rest) {
        line = next_line(&rest);
        if (!strcmp(line, "#end"))
            return 1;
        for (i = 0; i < COUNT_OF(kinds); i++)
            if (!strcmp(line, kinds[i].header) && next[i] < kinds[i].first + kinds[i].room)
                gpu = next[i]++;
        if ((value = strchr(line, '='))) {
            *value++ = '\0';
            add(gpu, line, value);
        }
    }
    return 0;
}

/* One attempt at reading and parsing; 0 where the text is not there or not complete. */
static int try_to_read(void)
{
    int file = open(nvml.path, O_RDONLY | O_CLOEXEC);
    char *text;
    long offset;

    if (file < 0)
        return 0;
    text = read_end(file, nvml.text, &offset);
    close(file);
    return text && parse(text);
}

nvmlReturn_t read_text(void)
{
    int attempt;

    if (!find_own_path())
        return UNKNOWN;
    for (attempt = 0; attempt < 200; attempt++) {
        if (try_to_read())
            return OK;
        usleep(5000);
    }
    return UNKNOWN;
}

/* The text may have changed since it was parsed: the place to write at is looked for afresh. */
nvmlReturn_t write_digit(const char *uuid, const char *key, unsigned digit)
{
    static char text[TEXT_SIZE + 1];
    char line[128], *place;
    long offset;
    int file = open(nvml.path, O_RDWR | O_CLOEXEC), written = 0;

    if (file < 0)
        return NO_PERMISSION;
    flock(file, LOCK_EX); /* as the kernel player does */
    place = read_end(file, text, &offset);
    snprintf(line, sizeof line, "\nuuid=%s\n", uuid);
    place = place ? strstr(place, line) : NULL;
    snprintf(line, sizeof line, "\n%s=", key);
    place = place ? strstr(place, line) : NULL;
    if (place) {
        place += strlen(line);
        *place = (char)('0' + digit);
        written = pwrite(file, place, 1, offset + (place - text)) == 1;
    }
    close(file);
    return written ? OK : UNKNOWN;
}

unsigned long long number(const char *text)
{
    unsigned long long value = 0;

    if (text[0] == '0' && text[1] == 'x') {
        text += 2;
        return hexadecimal(&text);
    }
    for (; *text >= '0' && *text <= '9'; text++)
        value = value * 10 + (unsigned)(*text - '0');
    return value;
}

nvmlReturn_t find(nvmlDevice_t gpu, const char *key, char **value)
{
    int i;

    if (!nvml.users)
        return UNINITIALIZED;
    if ((gpu < nvml.gpus || gpu >= nvml.gpus + MAX_GPUS) &&
        (gpu < nvml.profiles || gpu >= nvml.profiles + MAX_PROFILES) &&
        (gpu < nvml.instances || gpu >= nvml.instances + MAX_INSTANCES) &&
        (gpu < nvml.devices || gpu >= nvml.devices + MAX_INSTANCES))
        return INVALID_ARGUMENT;
    for (i = 0; i < gpu->count; i++)
        if (!strcmp(gpu->key[i], key)) {
            *value = gpu->value[i];
            return **value == '!' ? (nvmlReturn_t)number(*value + 1) : OK;
        }
    return NOT_SUPPORTED;
}
