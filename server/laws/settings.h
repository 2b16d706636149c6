/* What belongs to the whole process, as text, a line each: no analyzer may change it. Used by `weir plugin check` and
 * by the tests that it writes. */
#ifndef WEIR_LAWS_SETTINGS_H
#define WEIR_LAWS_SETTINGS_H

#include <dirent.h>
#include <fenv.h>
#include <locale.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

static size_t settings_count(const char *folder)
{
    size_t n = 0;
    DIR *dir = opendir(folder);
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

static void settings_text(char *text, size_t room)
{
    FILE *to = fmemopen(text, room, "w");
    char cwd[4096];
    if (!to)
        return;
    mode_t mask = umask(0);
    umask(mask);
    fprintf(to, "umask %03o\n", (unsigned)mask);
    fprintf(to, "locale %s\n", setlocale(LC_ALL, NULL));
    fprintf(to, "working folder %s\n", getcwd(cwd, sizeof(cwd)) ? cwd : "?");
    fprintf(to, "rounding mode %d\n", fegetround());
    fprintf(to, "open files %zu\n", settings_count("/proc/self/fd"));
    fprintf(to, "threads %zu\n", settings_count("/proc/self/task"));
    fprintf(to, "buffers of standard input, output and error %d %d %d\n", fileno(stdin),
            fileno(stdout), fileno(stderr));
    for (int i = 1; i < 32; i++) {
        struct sigaction action;
        if (sigaction(i, NULL, &action) == 0)
            fprintf(to, "handler of signal %d (%s) %p\n", i, strsignal(i),
                    *(void **)&action.sa_handler);
    }
    sigset_t set;
    sigprocmask(SIG_BLOCK, NULL, &set);
    for (int i = 1; i < 32; i++)
        if (sigismember(&set, i))
            fprintf(to, "signal %d is blocked\n", i);
    for (int i = 0; i < RLIMIT_NLIMITS; i++) {
        struct rlimit limit;
        if (getrlimit(i, &limit) == 0)
            fprintf(to, "limit %d %llu\n", i, (unsigned long long)limit.rlim_cur);
    }
    for (char **e = environ; e && *e; e++)
        fprintf(to, "environment %.60s\n", *e);
    fclose(to);
}

/* The first line that differs, as "before -> after"; false: none does. */
static int settings_differ(const char *before, const char *after, char *text,
                           size_t room)
{
    while (*before || *after) {
        size_t a = strcspn(before, "\n"), b = strcspn(after, "\n");
        if (a != b || strncmp(before, after, a) != 0) {
            snprintf(text, room, "%.*s -> %.*s", (int)(a < 100 ? a : 100), before,
                     (int)(b < 100 ? b : 100), after);
            return 1;
        }
        before += a + (before[a] != 0);
        after += b + (after[b] != 0);
    }
    return 0;
}

#endif
