/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing the file of tokens: a new one beside it, synced, takes its name. One at a time: the folder is locked meanwhile.
 */
#include "access/tokens.h"
#include "base/buffer.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- The text ---- */

static void put_time(struct buffer *b, const char *key, int64_t us)
{
    char text[CLOCK_TEXT_MAX];
    if (us == INT64_MIN || us == INT64_MAX)
        return;
    clock_format(us, text);
    buffer_printf(b, "  %s: %s\n", key, text);
}

static void put_names(struct buffer *b, const char *key,
                      const struct token_names *names)
{
    const char *between = names->all ? ", " : "";
    buffer_printf(b, "  %s: [%s", key, names->all ? "\"*\"" : "");
    for (size_t i = 0; i < names->n; i++, between = ", ")
        buffer_printf(b, "%s%s", between, names->name[i]);
    buffer_puts(b, "]\n");
}

/* JSON's strings are YAML's; what stands behind a dollar would be replaced. */
static void put_note(struct buffer *b, const char *note)
{
    struct buffer plain = {0};
    for (; *note; note++)
        buffer_printf(&plain, *note == '$' ? "$$" : "%c", *note);
    buffer_puts(b, "  note: ");
    buffer_put_json_string(b, buffer_text(&plain), plain.size);
    buffer_putc(b, '\n');
    if (plain.error)
        b->error = plain.error;
    buffer_free(&plain);
}

static void put_token(struct buffer *b, const struct token *t)
{
    char digest[2 * SHA256_SIZE + 1];
    secret_put_hex(t->digest, SHA256_SIZE, digest);
    buffer_printf(b, "- id: \"%s\"\n", t->id);
    if (t->note)
        put_note(b, t->note);
    buffer_printf(b, "  sha256: \"%s\"\n", digest);
    put_time(b, "created", t->created_us);
    put_time(b, "expires", t->expires_us);
    const char *between = "";
    buffer_puts(b, "  may: [");
    for (unsigned v = ACCESS_POST; v < ACCESS_VERBS; v++)
        if (t->may & 1u << v) {
            buffer_printf(b, "%s%s", between, access_verb_word[v]);
            between = ", ";
        }
    buffer_puts(b, "]\n");
    if (!t->streams.all || !t->pipelines.all) {
        put_names(b, "streams", &t->streams);
        put_names(b, "pipelines", &t->pipelines);
    }
    if (t->requests)
        buffer_printf(b, "  requests: %llu\n", (unsigned long long)t->requests);
    if (t->events)
        buffer_printf(b, "  events: %llu\n", (unsigned long long)t->events);
    if (t->concurrent)
        buffer_printf(b, "  concurrent: %llu\n", (unsigned long long)t->concurrent);
}

/* ---- The file ---- */

/* For the owner and the group of the one before it. Of a new one, made by root, those of its folder. */
static int take_over(int fd, int folder, const char *path)
{
    struct stat before;
    bool is_new = stat(path, &before) < 0;
    if (is_new && fstat(folder, &before) < 0)
        return -errno;
    if (fchmod(fd, is_new ? 0600 : before.st_mode & 0770) < 0)
        return -errno;
    if ((before.st_uid != geteuid() || before.st_gid != getegid()) &&
        fchown(fd, before.st_uid, before.st_gid) < 0 && !is_new)
        return -errno;
    return 0;
}

static int write_all(int fd, const struct buffer *b)
{
    for (size_t at = 0; at < b->size;) {
        ssize_t n = write(fd, b->data + at, b->size - at);
        if (n < 0 && errno != EINTR)
            return -errno;
        at += n > 0 ? (size_t)n : 0;
    }
    return fsync(fd) < 0 ? -errno : 0;
}

static int write_file(const char *path, int folder, const struct buffer *b,
                      struct error *error)
{
    char *fresh;
    if (b->error || asprintf(&fresh, "%s.new", path) < 0)
        return error_set(error, -ENOMEM, "out of memory");
    (void)!unlink(fresh); /* of one that was ended in the middle */
    int fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int r = fd < 0 ? -errno : take_over(fd, folder, path);
    if (r == 0)
        r = write_all(fd, b);
    if (fd >= 0)
        close(fd);
    if (r == 0 && rename(fresh, path) < 0)
        r = -errno;
    if (r < 0) {
        error_set(error, r, "%s: %s", fresh, strerror(-r));
        (void)!unlink(fresh);
    } else {
        fsync(folder);
    }
    free(fresh);
    return r;
}

int tokens_change(const char *path, bool create,
                  int (*change)(struct tokens *t, void *ctx, struct error *error),
                  void *ctx, struct error *error)
{
    struct tokens t = {0};
    struct buffer b = {0};
    char *copy = strdup(path);
    if (!copy)
        return error_set(error, -ENOMEM, "out of memory");
    int folder = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(copy);
    if (folder < 0 || flock(folder, LOCK_EX) < 0) {
        int r = error_set(error, -errno, "the folder of %s: %s", path, strerror(errno));
        if (folder >= 0)
            close(folder);
        return r;
    }
    int r = tokens_load(path, &t, error);
    if (r == -ENOENT && create)
        r = 0;
    if (r == 0)
        r = change(&t, ctx, error);
    buffer_puts(
        &b,
        "# Who may do what: weir-token in weir(1). `weir token` writes this file, and "
        "keeps no comments.\n");
    for (size_t i = 0; i < t.n; i++)
        put_token(&b, &t.token[i]);
    if (t.n == 0)
        buffer_puts(&b, "[]\n");
    if (r == 0)
        r = write_file(path, folder, &b, error);
    close(folder); /* and the lock is gone */
    buffer_free(&b);
    tokens_free(&t);
    return r;
}
