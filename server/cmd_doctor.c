/* SPDX-License-Identifier: Apache-2.0
 *
 * weir doctor: what around the server may trouble it: configuration, plugins, disks, limits, memory, clock, address, sources,
 * PostgreSQL.
 * Changes nothing.
 */
#include "base/logger.h"
#include "carry/carry.h"
#include "cmd.h"
#include "config/faults.h"
#include "descriptors.h"
#include "publish/publish.h"
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <sys/timex.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define GIB        (UINT64_C(1) << 30)
#define YEAR_LEAST 2025
/* linux/magic.h */
#define MAGIC_TMPFS UINT64_C(0x01021994)
#define MAGIC_NFS   UINT64_C(0x6969)
#define MAGIC_CIFS  UINT64_C(0xff534d42)

static const char help[] =
    "Usage: weir doctor [-c FILE]\n\n"
    "Looks at what is around a server: its configuration and plugins, the disks of "
    "database and journals,\n"
    "limits of the process, memory, the clock, the address, sources that streams read. "
    "Changes nothing; a server "
    "may be running.\n\n"
    "  -c, --config FILE  the configuration, weir.yaml(5)\n"
    "  -h, --help         this text\n\n"
    "Exit status: 0 nothing was found (there may be warnings), 1 the server could not "
    "start or work, 78\n"
    "the configuration is wrong.\n";

struct visit {
    const struct config *config;
    const char *journal;
    unsigned faults;
};

enum finding { WELL, WARN, FAULT };

static void say(struct visit *v, enum finding f, const char *what, const char *format,
                ...) __attribute__((format(printf, 4, 5)));
static void say(struct visit *v, enum finding f, const char *what, const char *format,
                ...)
{
    static const char *const word[] = {"ok", "warn", "FAIL"};
    va_list args;
    printf("%-5s %-9s ", word[f], what);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    v->faults += f == FAULT;
}

static double gib(uint64_t bytes)
{
    return (double)bytes / (double)GIB;
}

/* ---- Disks ------------------------------------------------------------------------------------- */

/* The folder that `path` is in, or will be: the nearest one that is there. */
static void folder_of(const char *path, char folder[4096])
{
    struct stat st;
    snprintf(folder, 4096, "%s", path);
    while (stat(folder, &st) < 0 || !S_ISDIR(st.st_mode)) {
        char *slash = strrchr(folder, '/');
        if (!slash || slash == folder) {
            snprintf(folder, 4096, "%s", slash ? "/" : ".");
            return;
        }
        *slash = 0;
    }
}

static void look_at_file(struct visit *v, const char *what, const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0) {
        int err = errno;
        char folder[4096];
        snprintf(folder, sizeof(folder), "%s", path);
        char *slash = strrchr(folder, '/');
        snprintf(slash ? slash + (slash == folder) : folder, 2, "%s", slash ? "" : ".");
        if (err == ENOENT && access(folder, W_OK | X_OK) < 0)
            say(v, FAULT, what, "'%s' cannot be made: folder '%s': %s", path, folder,
                strerror(errno));
        else if (err == ENOENT)
            say(v, WELL, what, "'%s' is not there yet", path);
        else
            say(v, FAULT, what, "'%s': %s", path, strerror(err));
    } else if (access(path, R_OK | W_OK) < 0) {
        say(v, FAULT, what, "'%s': %s for user %u; it belongs to user %u", path,
            strerror(errno), geteuid(), st.st_uid);
    } else if (st.st_uid != geteuid()) {
        say(v, WARN, what, "'%s' belongs to user %u, and this is user %u", path,
            st.st_uid, geteuid());
    } else {
        say(v, WELL, what, "'%s' can be read and written", path);
    }
}

static void look_at_disk(struct visit *v, const char *what, const char *path)
{
    char folder[4096];
    struct statvfs space;
    struct statfs kind;
    folder_of(path, folder);
    if (access(folder, W_OK | X_OK) < 0) {
        say(v, FAULT, what, "'%s': %s", folder, strerror(errno));
        return;
    }
    if (statvfs(folder, &space) < 0 || statfs(folder, &kind) < 0) {
        say(v, FAULT, what, "'%s': %s", folder, strerror(errno));
        return;
    }
    uint64_t magic = (uint64_t)kind.f_type;
    uint64_t left = (uint64_t)space.f_bavail * space.f_frsize;
    bool full = space.f_blocks && left < space.f_blocks * space.f_frsize / 50;
    if (magic == MAGIC_TMPFS)
        say(v, WARN, what,
            "'%s' is in memory: nothing is left when the machine restarts", folder);
    if (magic == MAGIC_NFS || magic == MAGIC_CIFS)
        say(v, FAULT, what,
            "'%s' is on another machine: SQLite's locks and syncs cannot be relied on",
            folder);
    if (space.f_flag & ST_RDONLY)
        say(v, FAULT, what, "'%s' is mounted read-only", folder);
    else if (left < GIB / 16)
        say(v, FAULT, what, "'%s' has %.2f GiB left", folder, gib(left));
    else if (left < GIB || full)
        say(v, WARN, what, "'%s' has %.2f GiB left", folder, gib(left));
    else
        say(v, WELL, what, "'%s' has %.1f GiB left", folder, gib(left));
}

static void look_at_disks(struct visit *v)
{
    const struct config_server *s = &v->config->server;
    char folder[4096];
    struct statvfs space;
    look_at_file(v, "database", s->database);
    look_at_disk(v, "database", s->database);
    look_at_file(v, "journal", v->journal);
    look_at_disk(v, "journal", v->journal);
    folder_of(v->journal, folder);
    if (statvfs(folder, &space) < 0)
        return;
    uint64_t left = (uint64_t)space.f_bavail * space.f_frsize;
    uint64_t most = s->journal_limit * v->config->n_streams;
    if (s->journal_limit > left)
        say(v, WARN, "journal",
            "'journal_limit' is %.1f GiB for each of %zu streams, %.1f GiB in all, and "
            "there are %.1f: the disk is full before the limit is reached",
            gib(s->journal_limit), v->config->n_streams, gib(most), gib(left));
}

/* ---- The process and the machine ---------------------------------------------------------------- */

static void look_at_files(struct visit *v)
{
    struct error error = {""};
    unsigned connections = 0, wanted = v->config->server.max_connections;
    if (descriptors_budget(v->config, &connections, &error) < 0)
        say(v, FAULT, "files", "%s", error.text);
    else if (connections < wanted)
        say(v, WARN, "files",
            "so few files may be open (ulimit -Hn) that there will be %u connections, "
            "not %u",
            connections, wanted);
    else
        say(v, WELL, "files", "enough may be open for %u connections", connections);
}

static void look_at_memory(struct visit *v)
{
    const struct config_server *s = &v->config->server;
    struct sysinfo info;
    if (sysinfo(&info) < 0)
        return;
    uint64_t total = (uint64_t)info.totalram * info.mem_unit;
    uint64_t sql = s->sql_memory * s->sql_processes;
    if (sql > total / 2)
        say(v, WARN, "memory",
            "%u statements may take %.1f GiB in all (sql_processes, sql_memory), the "
            "machine has %.1f",
            s->sql_processes, gib(sql), gib(total));
    else
        say(v, WELL, "memory", "%.1f GiB, of which SQL may take %.1f", gib(total),
            gib(sql));
}

static void look_at_clock(struct visit *v)
{
    struct timex t = {0};
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    if (tm.tm_year + 1900 < YEAR_LEAST)
        say(v, FAULT, "clock", "it is the year %d: events would lie in the future",
            tm.tm_year + 1900);
    else if (adjtimex(&t) == TIME_ERROR || t.status & STA_UNSYNC)
        say(v, WARN, "clock",
            "the kernel does not know it to be synchronized (NTP); streams reject what "
            "lies "
            "ahead of it by more than max_future_skew");
    else
        say(v, WELL, "clock", "synchronized");
}

static int try_to_bind(const struct config_server *s)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(s->port)};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(s->port)};
    bool is_six = inet_pton(AF_INET6, s->address, &six.sin6_addr) == 1;
    if (!is_six)
        inet_pton(AF_INET, s->address, &four.sin_addr);
    int fd = socket(is_six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    int r = is_six ? bind(fd, (struct sockaddr *)(void *)&six, sizeof(six))
                   : bind(fd, (struct sockaddr *)(void *)&four, sizeof(four));
    if (r == 0)
        r = listen(fd, 1);
    r = r < 0 ? -errno : 0;
    close(fd);
    return r;
}

static void look_at_address(struct visit *v)
{
    const struct config_server *s = &v->config->server;
    if (s->socket) {
        say(v, WELL, "address", "the socket %s", s->socket);
        return;
    }
    int r = try_to_bind(s);
    if (r == -EADDRINUSE)
        say(v, WARN, "address", "%s port %u is in use: by this server, if it runs",
            s->address, s->port);
    else if (r < 0)
        say(v, FAULT, "address", "%s port %u: %s", s->address, s->port, strerror(-r));
    else
        say(v, WELL, "address", "%s port %u is free", s->address, s->port);
}

/* What weir reads itself. */
static void look_at_sources(struct visit *v)
{
    for (size_t i = 0; i < v->config->n_streams; i++) {
        const struct config_stream *s = &v->config->stream[i];
        struct error error = {""};
        if (s->source.kind == CONFIG_SOURCE_NONE)
            continue;
        int err = source_pull_try(&s->source, &error);
        if (err < 0)
            say(v, err == -ENOENT ? WARN : FAULT, "source", "of '%s': %s", s->name,
                error.text);
        else
            say(v, WELL, "source", "of '%s' can be read", s->name);
    }
}

/* Where results are carried to. */
static void look_at_postgresql(struct visit *v)
{
    char text[256];
    struct error error = {""};
    if (!v->config->server.postgresql)
        return;
    if (carry_try(v->config->server.postgresql, text, &error) < 0)
        say(v, FAULT, "postgres", "%s", error.text);
    else
        say(v, WELL, "postgres", "%s", text);
}

/* And the database itself. */
static void look_at_copy(struct visit *v)
{
    const struct config_postgresql *p = v->config->server.postgresql;
    char text[256];
    struct error error = {""};
    if (!p || !p->copy_us || !p->shard)
        return;
    int found = carry_try_copy(p, text, &error);
    if (found >= 0)
        say(v, found ? WARN : WELL, "copy", "%s", text);
    else
        say(v, FAULT, "copy", "%s", error.text);
}

/* And published. */
static void look_at_kafka(struct visit *v)
{
    char text[256];
    struct error error = {""};
    if (!v->config->server.kafka)
        return;
    if (publish_try(v->config->server.kafka, text, &error) < 0)
        say(v, FAULT, "kafka", "%s", error.text);
    else
        say(v, WELL, "kafka", "%s", text);
}

/* ---- */

static int visit(const char *path)
{
    struct weir *w = NULL;
    struct error error = {""};
    struct faults all;
    struct visit v = {0};
    int status;
    logger_setup(LOGGER_ERROR, false); /* what is found is said here */
    faults_begin(&all);
    int r = weir_load(path, &w, &status, &error);
    faults_end();
    if (r < 0) {
        cmd_say_faults(&all, &error);
        return status;
    }
    char *journal = weir_journal_folder(&w->config->server, NULL);
    if (!journal) {
        fputs("weir: out of memory\n", stderr);
        weir_free(w);
        return EXIT_FAILURE;
    }
    v.config = w->config;
    v.journal = journal;
    say(&v, WELL, "config", "%zu streams, %zu pipelines, their plugins load",
        w->config->n_streams, w->n_pipelines);
    look_at_disks(&v);
    look_at_files(&v);
    look_at_memory(&v);
    look_at_clock(&v);
    look_at_address(&v);
    look_at_sources(&v);
    look_at_postgresql(&v);
    look_at_copy(&v);
    look_at_kafka(&v);
    free(journal);
    weir_free(w);
    return v.faults ? EXIT_FAILURE : EXIT_SUCCESS;
}

int cmd_doctor(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const char *config = NULL;
    for (int o; (o = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
        if (o == 'c')
            config = optarg;
        else if (o == 'h')
            return fputs(help, stdout) < 0;
        else
            return EXIT_USAGE;
    }
    if (optind < argc)
        return cmd_usage("doctor", "one argument too many");
    if (!config && !(config = cmd_default_config()))
        return cmd_usage("doctor", CMD_NO_CONFIG);
    return visit(config);
}
