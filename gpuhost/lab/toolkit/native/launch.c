/*
 * nvidia-container-runtime and nvidia-ctk: hands each call to the program that serves it.
 *
 * containerd calls the runtime four to six times for each container, and only "create" needs the
 * OCI spec edited; a CDI hook is called six times. Those calls go straight to runc or to
 * nvidia-cdi-hook, because starting an interpreter for each would cost more than the container.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef PROGRAMS
#define PROGRAMS "/usr/lib/gpuhost-lab/toolkit/bin/"
#endif
#ifndef CDI_HOOK
#define CDI_HOOK "/usr/bin/nvidia-cdi-hook"
#endif
#ifndef CONFIG
#define CONFIG "/etc/nvidia-container-runtime/config.toml"
#endif

static int is_any_of(const char *word, const char *const *words)
{
    for (; *words != NULL; words++)
        if (strcmp(word, *words) == 0)
            return 1;
    return 0;
}

/* Whether the OCI command line needs the interpreter; a value of --bundle is no command. */
static int needs_interpreter(char **argv)
{
    static const char *const bundle_flags[] = {"-b", "--bundle", "-bundle", NULL};
    static const char *const served_words[] = {"create", "--version", "-version", "-v", NULL};

    for (argv++; *argv != NULL; argv++) {
        if (is_any_of(*argv, bundle_flags)) {
            if (*++argv == NULL)
                return 0;
            continue;
        }
        if (is_any_of(*argv, served_words))
            return 1;
    }
    return 0;
}

/* Runs the first of the configured low-level runtimes that PATH has; returns if there is none. */
static void exec_low_level_runtime(char **argv)
{
    char line[1024] = "runtimes = [\"runc\", \"crun\"]";
    char candidate[1024];
    FILE *config = fopen(CONFIG, "re");

    while (config != NULL && fgets(candidate, sizeof candidate, config) != NULL)
        if (strncmp(candidate, "runtimes", strlen("runtimes")) == 0)
            memcpy(line, candidate, sizeof line);
    if (config != NULL)
        fclose(config);

    strtok(line, "\"");
    for (char *name = strtok(NULL, "\""); name != NULL; name = strtok(NULL, "\"")) {
        if (strpbrk(name, ",]") != NULL)
            continue;
        execvp(name, argv);
    }
}

int main(int argc, char **argv)
{
    const char *name = strrchr(argv[0], '/');
    char program[256];

    name = name == NULL ? argv[0] : name + 1;
    snprintf(program, sizeof program, PROGRAMS "%s", name);
    if (strcmp(name, "nvidia-ctk") == 0) {
        if (argc > 1 && strcmp(argv[1], "hook") == 0) {
            execv(CDI_HOOK, argv + 1);
            fprintf(stderr, "%s: %s: %s\n", name, CDI_HOOK, strerror(errno));
            return 1;
        }
        execv(program, argv);
    } else if (needs_interpreter(argv)) {
        execv(program, argv);
    } else {
        exec_low_level_runtime(argv);
        fprintf(stderr, "%s: no low-level runtime found in PATH\n", name);
        return 1;
    }
    fprintf(stderr, "%s: %s: %s\n", name, program, strerror(errno));
    return 1;
}
