/*
 * nvidia-persistenced of a lab host: turns persistence mode on for every GPU,
 * holds the GPUs open until it is told to end, then turns it off again. Started
 * without a loaded driver it fails, as the real one does.
 */
#define _GNU_SOURCE /* O_PATH */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#define FOLDER "/var/run/nvidia-persistenced"
#define PID_FILE FOLDER "/nvidia-persistenced.pid"

typedef void *nvmlDevice_t;
int nvmlInit_v2(void);
int nvmlShutdown(void);
const char *nvmlErrorString(int);
int nvmlDeviceGetCount_v2(unsigned *);
int nvmlDeviceGetHandleByIndex_v2(unsigned, nvmlDevice_t *);
int nvmlDeviceGetMinorNumber(nvmlDevice_t, unsigned *);
int nvmlDeviceSetPersistenceMode(nvmlDevice_t, unsigned);

static int persistence = 1;

static void parse(int argc, char **argv)
{
    int i;

    for (i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--no-persistence-mode"))
            persistence = 0;
}

/* Opening needs no driver behind the node with O_PATH, and the descriptor shows in /proc. */
static void hold(nvmlDevice_t gpu)
{
    char node[32];
    unsigned minor;

    if (nvmlDeviceGetMinorNumber(gpu, &minor) == 0) {
        snprintf(node, sizeof node, "/dev/nvidia%u", minor);
        if (open(node, O_PATH) < 0)
            syslog(LOG_ERR, "%s: %m", node);
    }
}

static void set_all(unsigned mode, int holding)
{
    unsigned count = 0, i;
    nvmlDevice_t gpu;

    nvmlDeviceGetCount_v2(&count);
    for (i = 0; i < count; i++) {
        if (nvmlDeviceGetHandleByIndex_v2(i, &gpu) != 0)
            continue;
        if (holding)
            hold(gpu);
        if (nvmlDeviceSetPersistenceMode(gpu, mode) == 0)
            syslog(LOG_NOTICE, "device %u - persistence mode %s.", i, mode ? "enabled" : "disabled");
    }
}

static int write_pid(void)
{
    FILE *file;

    if (mkdir(FOLDER, 0755) != 0 && errno != EEXIST)
        return 0;
    file = fopen(PID_FILE, "we");
    if (!file)
        return 0;
    fprintf(file, "%d\n", (int)getpid());
    return fclose(file) == 0;
}

static void wait_for_end(void)
{
    sigset_t signals;
    int received;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    sigwait(&signals, &received);
}

static int start(void)
{
    int result = nvmlInit_v2();

    if (result != 0) {
        syslog(LOG_ERR, "Failed to query NVIDIA devices. %s.", nvmlErrorString(result));
        return 0;
    }
    if (!write_pid()) {
        syslog(LOG_ERR, "Failed to write %s: %m", PID_FILE);
        return 0;
    }
    set_all((unsigned)persistence, 1);
    syslog(LOG_NOTICE, "Started (%d)", (int)getpid());
    return 1;
}

static void end(void)
{
    set_all(0, 0);
    nvmlShutdown();
    unlink(PID_FILE);
    rmdir(FOLDER);
    syslog(LOG_NOTICE, "Shutdown (%d)", (int)getpid());
}

static int await(int ready)
{
    char word;

    if (read(ready, &word, 1) == 1)
        return 0;
    fputs("nvidia-persistenced failed to initialize. Check syslog for more details.\n", stderr);
    return 1;
}

/* The starter ends when the daemon says through the pipe that it is ready, or is gone. */
int main(int argc, char **argv)
{
    int ready[2];

    parse(argc, argv);
    if (pipe(ready) != 0)
        return 1;
    switch (fork()) {
    case -1:
        return 1;
    case 0:
        break;
    default:
        close(ready[1]);
        return await(ready[0]);
    }
    close(ready[0]);
    setsid();
    openlog("nvidia-persistenced", LOG_PID, LOG_DAEMON);
    if (!start() || write(ready[1], "1", 1) != 1)
        return 1;
    close(ready[1]);
    wait_for_end();
    end();
    return 0;
}
