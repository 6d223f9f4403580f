/*
 * nvidia-cdi-hook: the OCI createContainer hooks that a CDI specification of NVIDIA's names.
 *
 * runc runs them in the container's mount namespace before it changes the root: the host's files
 * are still visible, the container's root is where the bundle says. Every path below the root is
 * resolved by the kernel within it (openat2, RESOLVE_IN_ROOT), so that no symbolic link of an
 * image leads out.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_VALUES 256
#define COMPAT_DIR "/usr/local/cuda/compat"
#define PROFILE_DIR "/etc/nvidia/nvidia-application-profiles-rc.d"
#define MAX_TEXT (4 << 20)

struct call {
    int root;                       /* the container's root directory */
    char root_path[PATH_MAX];
    const char *links[MAX_VALUES];
    const char *folders[MAX_VALUES];
    const char *ldconfig;
    const char *host_driver_version;
};

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list arguments;

    fprintf(stderr, "nvidia-cdi-hook: ");
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\n");
    exit(1);
}

/* ------------------------------------------------------------------ the container's state */

static char *read_all(int fd, const char *what)
{
    size_t used = 0;
    char *text = malloc(MAX_TEXT + 1);

    if (text == NULL)
        die("out of memory");
    for (;;) {
        ssize_t got = read(fd, text + used, MAX_TEXT - used);
        if (got < 0)
            die("could not read %s: %s", what, strerror(errno));
        if (got == 0)
            break;
        used += (size_t)got;
    }
    text[used] = '\0';
    return text;
}

static const char *skip_blank(const char *at)
{
    return at + strspn(at, " \t\r\n");
}

static const char *skip_string(const char *at)
{
    for (at++; *at != '\0' && *at != '"'; at++)
        if (*at == '\\' && at[1] != '\0')
            at++;
    return *at == '"' ? at + 1 : at;
}

/* The position after one JSON value; strings may hold any bracket. */
static const char *skip_value(const char *at)
{
    int depth = 0;

    at = skip_blank(at);
    do {
        if (*at == '"') {
            at = skip_string(at);
        } else if (*at == '{' || *at == '[') {
            depth++;
            at++;
        } else if (*at == '}' || *at == ']') {
            depth--;
            at++;
        } else if (depth > 0 && *at != '\0') {
            at++;
        } else {
            at += strcspn(at, ",}] \t\r\n");
        }
    } while (depth > 0 && *at != '\0');
    return at;
}

/* The value of a key of the JSON object that starts at `at`, or NULL. */
static const char *member(const char *at, const char *key)
{
    size_t length = strlen(key);

    at = skip_blank(at);
    if (*at != '{')
        return NULL;
    at = skip_blank(at + 1);
    while (*at == '"') {
        const char *name = at + 1;
        const char *value = skip_blank(skip_string(at));
        if (*value != ':')
            return NULL;
        value = skip_blank(value + 1);
        if (strncmp(name, key, length) == 0 && name[length] == '"')
            return value;
        at = skip_blank(skip_value(value));
        if (*at == ',')
            at = skip_blank(at + 1);
    }
    return NULL;
}

static void copy_string(char *out, size_t size, const char *value, const char *what)
{
    size_t length;

    if (value == NULL || *value != '"')
        die("%s is missing", what);
    length = (size_t)(skip_string(value) - value) - 2;
    if (length >= size || memchr(value + 1, '\\', length) != NULL)
        die("%s is not a plain path", what);
    memcpy(out, value + 1, length);
    out[length] = '\0';
}

static void find_container_root(struct call *call)
{
    char bundle[PATH_MAX], path[PATH_MAX], root[PATH_MAX];
    const char *state = read_all(STDIN_FILENO, "the container's state");
    const char *spec, *value;
    int fd, length;

    copy_string(bundle, sizeof bundle, member(state, "bundle"), "the bundle in the state");
    length = snprintf(path, sizeof path, "%s/config.json", bundle);
    if (length >= (int)sizeof path)
        die("the bundle's path is too long");
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        die("could not open OCI spec: %s: %s", path, strerror(errno));
    spec = read_all(fd, path);
    close(fd);
    value = member(spec, "root");
    value = value == NULL ? NULL : member(value, "path");
    copy_string(root, sizeof root, value, "root.path in the OCI spec");
    length = *root == '/' ? snprintf(call->root_path, PATH_MAX, "%s", root)
                          : snprintf(call->root_path, PATH_MAX, "%s/%s", bundle, root);
    if (length >= PATH_MAX)
        die("the container root's path is too long");
    if (strcmp(call->root_path, "/") == 0)
        die("the container's root is the host's");
    call->root = open(call->root_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (call->root < 0)
        die("could not open the container's root %s: %s", call->root_path, strerror(errno));
}

/* -------------------------------------------------------------------- files in the container */

static int open_inside(const struct call *call, const char *path, int flags, mode_t mode)
{
    struct open_how how = {
        .flags = (uint64_t)flags | O_CLOEXEC,
        .mode = mode,
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
    };

    return (int)syscall(SYS_openat2, call->root, path, &how, sizeof how);
}

/* Opens a folder of the container, making what is missing. */
static int open_folder(const struct call *call, const char *path)
{
    char partial[PATH_MAX];

    if (strlen(path) >= sizeof partial)
        die("%s is too long", path);
    for (const char *end = path; *end != '\0';) {
        int parent, made;
        char *slash;

        end += strspn(end, "/");
        end += strcspn(end, "/");
        memcpy(partial, path, (size_t)(end - path));
        partial[end - path] = '\0';
        made = open_inside(call, partial, O_PATH | O_DIRECTORY, 0);
        if (made >= 0) {
            close(made);
            continue;
        }
        slash = strrchr(partial, '/');
        *slash = '\0';
        parent = open_inside(call, *partial == '\0' ? "/" : partial, O_PATH | O_DIRECTORY, 0);
        if (parent < 0 || mkdirat(parent, slash + 1, 0755) < 0)
            die("could not create %s in the container: %s", path, strerror(errno));
        close(parent);
    }
    return open_inside(call, path, O_PATH | O_DIRECTORY, 0);
}

static void write_file(const struct call *call, const char *folder, const char *name,
                       const char *text)
{
    char path[PATH_MAX];
    size_t length = strlen(text);
    int fd;

    close(open_folder(call, folder));
    snprintf(path, sizeof path, "%s/%s", folder, name);
    fd = open_inside(call, path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0 || write(fd, text, length) != (ssize_t)length)
        die("could not write %s in the container: %s", path, strerror(errno));
    close(fd);
}

/* --------------------------------------------------------------------------------- the hooks */

static void create_symlink(const struct call *call, const char *link)
{
    const char *separator = strstr(link, "::");
    char target[PATH_MAX], folder[PATH_MAX], present[PATH_MAX];
    const char *path, *name;
    ssize_t length;
    int parent;

    if (separator == NULL || separator - link >= PATH_MAX)
        die("invalid link %s", link);
    path = separator + 2;
    name = strrchr(path, '/');
    if (name == NULL || strlen(path) + 1 >= sizeof folder)
        die("invalid link %s", link);
    memcpy(target, link, (size_t)(separator - link));
    target[separator - link] = '\0';
    snprintf(folder, sizeof folder, "/%.*s", (int)(name - path), path);
    name++;

    parent = open_folder(call, folder);
    length = readlinkat(parent, name, present, sizeof present - 1);
    if (length >= 0) {
        present[length] = '\0';
        if (strcmp(present, target) == 0)
            return;
        unlinkat(parent, name, 0);
    }
    if (symlinkat(target, parent, name) < 0 && errno != EEXIST)
        die("failed to create symlink %s: %s", path, strerror(errno));
    close(parent);
}

static void create_symlinks(const struct call *call)
{
    for (const char *const *link = call->links; *link != NULL; link++)
        create_symlink(call, *link);
}

static void update_ldcache(const struct call *call)
{
    char text[PATH_MAX] = "", real[PATH_MAX];
    const char *arguments[MAX_VALUES + 16];
    size_t count = 0;
    int status;
    pid_t child;

    for (const char *const *folder = call->folders; *folder != NULL; folder++) {
        if (strlen(text) + strlen(*folder) + 2 > sizeof text)
            die("too many folders");
        strcat(strcat(text, *folder), "\n");
    }
    write_file(call, "/etc/ld.so.conf.d", "00-nvcr-lab.conf", text);

    snprintf(real, sizeof real, "%s.real", call->ldconfig);
    arguments[count++] = access(real, X_OK) == 0 ? real : call->ldconfig;
    arguments[count++] = "-r";
    arguments[count++] = call->root_path;
    arguments[count++] = "-f";
    arguments[count++] = "/etc/ld.so.conf";
    arguments[count++] = "-C";
    arguments[count++] = "/etc/ld.so.cache";
    if (open_inside(call, "/etc/ld.so.cache", O_PATH, 0) < 0)
        arguments[count++] = "-N"; /* no cache in the image: links only, as upstream does */
    for (const char *const *folder = call->folders; *folder != NULL; folder++)
        arguments[count++] = *folder;
    arguments[count] = NULL;

    child = fork();
    if (child == 0) {
        execv(arguments[0], (char *const *)arguments);
        die("%s: %s", arguments[0], strerror(errno));
    }
    if (child < 0 || waitpid(child, &status, 0) < 0 || status != 0)
        die("failed to update the ldcache in %s", call->root_path);
}

/* A newer libcuda that the image brings is preferred to the host's. */
static void enable_cuda_compat(const struct call *call)
{
    const char *prefix = "libcuda.so.";
    int fd = open_inside(call, COMPAT_DIR, O_RDONLY | O_DIRECTORY, 0);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;

    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        const char *version = entry->d_name + strlen(prefix);
        if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0 || strchr(version, '.') == NULL)
            continue;
        if (atoi(version) > atoi(call->host_driver_version))
            write_file(call, "/etc/ld.so.conf.d", "00-compat-lab.conf", COMPAT_DIR "\n");
    }
    if (folder != NULL)
        closedir(folder);
}

/*
 * The container's procfs is the kernel's own and cannot show the simulated driver, as that of a
 * machine with the real one would: the host's view is bound over it. (The real hook binds an
 * edited copy of /proc/driver/nvidia/params here.)
 */
static void show_driver_in_procfs(const struct call *call)
{
    char target[64];
    int fd = open_inside(call, "/proc/driver", O_PATH | O_DIRECTORY, 0);

    if (fd < 0 || access("/proc/driver/nvidia", F_OK) != 0)
        return;
    snprintf(target, sizeof target, "/proc/self/fd/%d", fd);
    if (mount("/proc/driver", target, NULL, MS_BIND | MS_REC, NULL) < 0)
        die("could not bind /proc/driver: %s", strerror(errno));
    close(fd);
    fd = open_inside(call, "/proc/driver", O_PATH | O_DIRECTORY, 0);
    snprintf(target, sizeof target, "/proc/self/fd/%d", fd);
    if (mount(NULL, target, NULL,
              MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        die("could not make /proc/driver read-only: %s", strerror(errno));
    close(fd);
}

/* Tells EGL which GPUs are the container's, as a bit mask of their minor numbers. */
static void update_application_profile(const struct call *call)
{
    char text[256], target[64];
    unsigned long long mask = 0;
    struct dirent *entry;
    int fd = open_inside(call, "/dev", O_RDONLY | O_DIRECTORY, 0);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);

    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        unsigned int minor;
        char rest;
        if (sscanf(entry->d_name, "nvidia%u%c", &minor, &rest) == 1 && minor < 64)
            mask |= 1ULL << minor;
    }
    if (folder != NULL)
        closedir(folder);
    if (mask == 0)
        return;
    fd = open_folder(call, PROFILE_DIR);
    snprintf(target, sizeof target, "/proc/self/fd/%d", fd);
    if (mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0555") < 0)
        die("could not mount the application profile: %s", strerror(errno));
    snprintf(text, sizeof text,
             "{\"profiles\": [{\"name\": \"_container_\", \"settings\": "
             "[\"EGLVisibleDGPUDevices\", 0x%llx]}], \"rules\": "
             "[{\"pattern\": [], \"profile\": \"_container_\"}]}\n",
             mask);
    write_file(call, PROFILE_DIR, "10-container.conf", text);
}

static const struct {
    const char *name;
    void (*run)(const struct call *);
} hooks[] = {
    {"create-symlinks", create_symlinks},
    {"update-ldcache", update_ldcache},
    {"enable-cuda-compat", enable_cuda_compat},
    {"disable-device-node-modification", show_driver_in_procfs},
    {"update-application-profile", update_application_profile},
};

/* ---------------------------------------------------------------------------- command line */

static void add_value(const char **values, const char *value)
{
    for (int i = 0; i < MAX_VALUES - 1; i++)
        if (values[i] == NULL) {
            values[i] = value;
            return;
        }
    die("too many values");
}

/* The value of a flag written as "--flag value" or "--flag=value"; NULL if *argv is another. */
static const char *flag_value(char ***argv, const char *flag)
{
    size_t length = strlen(flag);

    if (strncmp(**argv, flag, length) != 0)
        return NULL;
    if ((**argv)[length] == '=')
        return **argv + length + 1;
    if ((**argv)[length] != '\0' || (*argv)[1] == NULL)
        return NULL;
    return *++*argv;
}

static void parse_flags(struct call *call, char **argv)
{
    const char *value;

    for (; *argv != NULL; argv++) {
        if ((value = flag_value(&argv, "--link")) != NULL)
            add_value(call->links, value);
        else if ((value = flag_value(&argv, "--folder")) != NULL)
            add_value(call->folders, value);
        else if ((value = flag_value(&argv, "--ldconfig-path")) != NULL)
            call->ldconfig = value;
        else if ((value = flag_value(&argv, "--host-driver-version")) != NULL)
            call->host_driver_version = value;
        else
            die("flag provided but not defined: %s", *argv);
    }
}

int main(int argc, char **argv)
{
    static struct call call = {.ldconfig = "/sbin/ldconfig", .host_driver_version = "0"};

    if (argc < 2)
        die("no command given");
    if (strcmp(argv[1], "--version") == 0) {
        printf("NVIDIA CDI Hook version %s\n", VERSION);
        return 0;
    }
    for (size_t i = 0; i < sizeof hooks / sizeof hooks[0]; i++) {
        if (strcmp(argv[1], hooks[i].name) != 0)
            continue;
        parse_flags(&call, argv + 2);
        find_container_root(&call);
        hooks[i].run(&call);
        return 0;
    }
    die("unsupported hook: %s", argv[1]);
}
