/* Makes calls of a program fail, or ends it at one of them: LD_PRELOAD=faults.so ANNSLICER_FAULTS='RULE,RULE' PROGRAM.
 *
 * A rule is CALL:FIRST:WHAT or CALL:FIRST+:WHAT, with an optional :PART of a path. The FIRST-th such call on a path that
 * holds PART (and all after it, where there is a +) fails with the error number WHAT; the program is killed before the
 * call where WHAT is "before", and after it where it is "after", and stopped before it where it is "stop". A call that is
 * "void" is not made, and says that it went well. ANNSLICER_FAULTS_LOG names a file to which each call is
 * added: its name, a blank, its path or paths. Calls count over all threads.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum { RULES = 8, TEXT = 256, LONGEST = 8192 };

static struct rule {
    char call[32], part[TEXT];
    int first, on, error, before, after, stop, is_void;
    atomic_int count;
} rules[RULES];
static int known;

static void read_rule(char *text) {
    struct rule *rule = &rules[known];
    char *rest, *call = strtok_r(text, ":", &rest), *first = strtok_r(NULL, ":", &rest);
    char *what = strtok_r(NULL, ":", &rest), *part = strtok_r(NULL, ":", &rest);
    if (!call || !first || !what || known == RULES) {
        fprintf(stderr, "faults.so: cannot read ANNSLICER_FAULTS\n");
        _exit(99);
    }
    snprintf(rule->call, sizeof rule->call, "%s", call);
    snprintf(rule->part, sizeof rule->part, "%s", part ? part : "");
    rule->first = atoi(first);
    rule->on = strchr(first, '+') != NULL;
    rule->before = !strcmp(what, "before");
    rule->after = !strcmp(what, "after");
    rule->stop = !strcmp(what, "stop");
    rule->is_void = !strcmp(what, "void");
    rule->error = atoi(what);
    known++;
}

__attribute__((constructor)) static void read_rules(void) {
    const char *given = getenv("ANNSLICER_FAULTS");
    if (!given) return;
    char text[RULES * TEXT], *rest;
    snprintf(text, sizeof text, "%s", given);
    for (char *one = strtok_r(text, ",", &rest); one; one = strtok_r(NULL, ",", &rest)) read_rule(one);
}

static void note(const char *call, const char *paths) {
    const char *log = getenv("ANNSLICER_FAULTS_LOG");
    if (!log) return;
    char line[LONGEST + 64];
    int length = snprintf(line, sizeof line, "%s %s\n", call, paths);
    int file = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT, 0644);
    if (file >= 0) {
        syscall(SYS_write, file, line, length);
        close(file);
    }
}

/* The error that a call must fail with, else 0; -1 where the program ends after it, and -2 where it is not made. */
static int fault(const char *call, const char *paths) {
    note(call, paths);
    for (int i = 0; i < known; i++) {
        struct rule *rule = &rules[i];
        if (strcmp(rule->call, call) || !strstr(paths, rule->part)) continue;
        int count = atomic_fetch_add(&rule->count, 1) + 1;
        if (count != rule->first && !(rule->on && count > rule->first)) continue;
        if (rule->before) kill(getpid(), SIGKILL);
        /* To this thread: another would stop the program at a time of its own, when this call has long been made. */
        if (rule->stop) syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGSTOP);
        return rule->after ? -1 : rule->is_void ? -2 : rule->error;
    }
    return 0;
}

static const char *path_of(int file, char *path, size_t most) {
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    ssize_t length = readlink(name, path, most - 1);
    path[length < 0 ? 0 : length] = 0;
    return path;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Does the call unless it is to fail. */
#define DO(type, call, paths, real)        \
    int error = fault(call, paths);        \
    if (error > 0) {                       \
        errno = error;                     \
        return -1;                         \
    }                                      \
    type done = error == -2 ? 0 : real;    \
    if (error == -1) kill(getpid(), SIGKILL); \
    return done

#define OF_PATH(name, parameters, path, arguments)                \
    int name parameters { DO(int, #name, path, REAL(name) arguments); }

#define OF_TWO(name, call, parameters, from, to, arguments)       \
    int name parameters {                                         \
        char paths[LONGEST];                                      \
        snprintf(paths, sizeof paths, "%s %s", from, to);         \
        DO(int, call, paths, REAL(name) arguments);               \
    }

#define OF_FILE(type, name, call, parameters, file, arguments)    \
    type name parameters {                                        \
        char path[LONGEST];                                       \
        DO(type, call, path_of(file, path, sizeof path), REAL(name) arguments); \
    }

OF_TWO(rename, "rename", (const char *from, const char *to), from, to, (from, to))
OF_TWO(renameat, "rename", (int a, const char *from, int b, const char *to), from, to, (a, from, b, to))
OF_TWO(link, "link", (const char *from, const char *to), from, to, (from, to))
OF_TWO(linkat, "link", (int a, const char *from, int b, const char *to, int flags), from, to, (a, from, b, to, flags))

int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
    char paths[LONGEST];
    snprintf(paths, sizeof paths, "%s %s", from, to);
    DO(int, flags & 2 ? "exchange" : "rename", paths, REAL(renameat2)(a, from, b, to, flags));
}

OF_PATH(mkdir, (const char *path, mode_t mode), path, (path, mode))
OF_PATH(rmdir, (const char *path), path, (path))
OF_PATH(unlink, (const char *path), path, (path))

int unlinkat(int folder, const char *path, int flags) {
    DO(int, flags & AT_REMOVEDIR ? "rmdir" : "unlink", path, REAL(unlinkat)(folder, path, flags));
}

OF_FILE(int, fsync, "fsync", (int file), file, (file))
OF_FILE(int, fdatasync, "fsync", (int file), file, (file))
OF_FILE(int, flock, "flock", (int file, int how), file, (file, how))
OF_FILE(ssize_t, write, "write", (int file, const void *bytes, size_t size), file, (file, bytes, size))
OF_FILE(ssize_t, pwrite, "write", (int file, const void *bytes, size_t size, off_t at), file, (file, bytes, size, at))
OF_FILE(ssize_t, pwrite64, "write", (int file, const void *bytes, size_t size, off64_t at), file, (file, bytes, size, at))
OF_FILE(int, ftruncate, "truncate", (int file, off_t size), file, (file, size))
OF_FILE(int, ftruncate64, "truncate", (int file, off64_t size), file, (file, size))

#define OPEN(name, before_path, pass)                             \
    int name(before_path const char *path, int flags, ...) {      \
        va_list more;                                             \
        va_start(more, flags);                                    \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more);                                             \
        DO(int, "open", path, REAL(name) pass);                   \
    }
#define NOTHING
#define FOLDER int folder,

OPEN(open, NOTHING, (path, flags, mode))
OPEN(open64, NOTHING, (path, flags, mode))
OPEN(openat, FOLDER, (folder, path, flags, mode))
OPEN(openat64, FOLDER, (folder, path, flags, mode))
