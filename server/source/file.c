/* SPDX-License-Identifier: Apache-2.0
 *
 * Files and standard input, plain or gzip, at full speed: the sink's back-pressure is the only brake.
 */
#include "base/clock.h"
#include "source/feed.h"
#include "source/letters.h"
#include "source/source.h"
#include "source/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_PIECE (1u << 20)

/* One file on its way through. */
struct file {
    const struct source_files *files;
    struct source_result *result;
    const char *path;
    size_t index; /* of files->path */
    int fd;
    struct unpack *unpack;
    struct feed feed;
    struct letters letters;
    uint64_t before; /* bytes of the files before this one */
    uint64_t total;  /* of all, 0: not known */
    bool ended;      /* files->last was asked */
    char *piece;
};

static bool file_ends(const char *path, size_t size, const char *end)
{
    size_t n = strlen(end);
    return size >= n && strncasecmp(path + size - n, end, n) == 0;
}

int source_file_format(const char *path, enum decode_format *ret, struct error *error)
{
    size_t size = strlen(path);
    if (file_ends(path, size, ".gz"))
        size -= 3;
    if (strcmp(path, "-") == 0 || file_ends(path, size, ".ndjson") ||
        file_ends(path, size, ".jsonl"))
        *ret = DECODE_NDJSON;
    else if (file_ends(path, size, ".json"))
        *ret = DECODE_JSON;
    else if (file_ends(path, size, ".csv"))
        *ret = DECODE_CSV;
    else if (file_ends(path, size, ".lp"))
        *ret = DECODE_LINES;
    else
        return error_set(
            error, -EINVAL,
            "\"%s\": the name does not say the format (.ndjson, .jsonl, .json, "
            ".csv, .lp, each also with .gz)",
            path);
    return 0;
}

static int file_open(struct file *f, struct error *error)
{
    bool standard = strcmp(f->path, "-") == 0;
    int fd = f->files->fd ? fcntl(f->files->fd[f->index], F_DUPFD_CLOEXEC, 3)
             : standard   ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
                          : open(f->path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    int rc = fd < 0 || fstat(fd, &st) ? -errno : 0;
    if (!rc && S_ISDIR(st.st_mode))
        rc = -EISDIR;
    if (rc) {
        if (fd >= 0)
            close(fd);
        return error_set(error, rc, "\"%s\": %s", f->path, strerror(-rc));
    }
    f->fd = fd;
    f->ended = false;
    unpack_init(f->unpack, fd, f->files->stop);
    return 0;
}

static int file_hand_on(struct file *f, struct error *error)
{
    struct source_stream *s = f->files->stream;
    struct request q = {.source = 0, .stop = f->files->stop};
    uint64_t rows;
    letters_hand_on(&f->letters, s, f->path);
    q.n = feed_batches(&f->feed, &q.batch, &rows);
    if (rows == 0)
        return 0;
    int rc = s->sink.append_wait(s->sink.ctx, &q);
    if (rc == -EINTR)
        return error_set(error, rc, "\"%s\": stopped", f->path);
    if (rc)
        return error_set(error, rc, "stream \"%s\" takes nothing more: %s", s->name,
                         strerror(-rc));
    feed_taken(&f->feed, q.n);
    f->result->accepted += rows;
    metric_add(&s->accepted, rows);
    return 0;
}

/* After feed_piece or feed_finish. */
static int file_decoded(struct file *f, int rc, struct error *error)
{
    const struct decode_stats *d = decoder_stats(f->feed.decoder);
    if (rc == -EBADMSG && d->n_errors) {
        const struct decode_error *e = &d->errors[d->n_errors - 1];
        return error_set(error, rc, "%s:%llu:%u: %s", f->path,
                         (unsigned long long)e->line, e->column, e->message);
    }
    if (rc)
        return error_set(error, rc, "\"%s\": %s", f->path, strerror(-rc));
    return file_hand_on(f, error);
}

static int file_last(struct file *f, struct error *error)
{
    const struct source_files *files = f->files;
    if (f->ended || !files->last)
        return 0;
    f->ended = true;
    return files->last(files->ctx, f->fd, error);
}

/* The size of the piece, 0 at the end. Where pieces are told of, a short one is handed on only once the end behind it is known: it
 * may be damage, or an interruption, and whoever comes again takes the piece as a whole. */
static int file_read(struct file *f, struct error *error)
{
    const char *why = NULL;
    size_t done = 0;
    ssize_t n;
    if (f->ended)
        return 0;
    do {
        n = unpack_read(f->unpack, f->piece + done, FILE_PIECE - done, &why);
        done += n > 0 ? (size_t)n : 0;
    } while (n > 0 && f->files->piece && done < FILE_PIECE);
    if (n == 0) {
        int rc = file_last(f, error);
        if (rc)
            return rc;
    }
    if (n >= 0)
        return (int)done;
    if (n == -EINTR)
        return error_set(error, -EINTR, "\"%s\": stopped", f->path);
    if (n == -EBADMSG)
        return error_set(error, -EIO, "\"%s\": %s", f->path, why);
    return error_set(error, (int)n, "\"%s\": %s", f->path, strerror((int)-n));
}

static void file_progress(const struct file *f)
{
    const struct source_files *files = f->files;
    if (files->progress)
        files->progress(files->ctx, f->before + f->unpack->taken, f->total,
                        f->result->accepted);
}

static int file_say_piece(const struct file *f, size_t size, struct error *error)
{
    const struct source_files *files = f->files;
    return files->piece ? files->piece(files->ctx, f->index, f->piece, size, error) : 0;
}

static int file_piece(struct file *f, size_t size, struct error *error)
{
    metric_add(&f->files->stream->bytes, size);
    int rc = file_say_piece(f, size, error);
    if (rc == 0)
        rc = file_decoded(f, feed_piece(&f->feed, f->piece, size), error);
    if (rc == 0)
        file_progress(f);
    return rc;
}

static int file_pump(struct file *f, struct error *error)
{
    const _Atomic bool *stop = f->files->stop;
    bool any = false;
    for (;;) {
        if (stop && atomic_load_explicit(stop, memory_order_relaxed))
            return error_set(error, -EINTR, "\"%s\": stopped", f->path);
        int n = file_read(f, error);
        if (n < 0)
            return n;
        if (n == 0)
            break;
        any = true;
        int rc = file_piece(f, (size_t)n, error);
        if (rc)
            return rc;
    }
    int rc = any ? file_say_piece(f, 0, error) : 0;
    return any && rc == 0 ? file_decoded(f, feed_finish(&f->feed), error) : rc;
}

/* Rejections of the file, whether or not it was read to its end. */
static void file_count_rejected(struct file *f)
{
    const struct decode_stats *d = decoder_stats(f->feed.decoder);
    struct source_result *result = f->result;
    result->rejected += d->rejected;
    for (size_t i = 0; i < DECODE_REASONS; i++) {
        result->by_reason[i] += d->by_reason[i];
        metric_add(&f->files->stream->rejected[i], d->by_reason[i]);
    }
    for (size_t i = 0; i < d->n_errors && result->n_faults < DECODE_ERRORS_MAX; i++)
        result->fault[result->n_faults++] =
            (struct source_fault){f->path, d->errors[i]};
}

static int file_run(struct file *f, struct error *error)
{
    enum decode_format format = DECODE_NDJSON;
    int rc = 0;
    if (f->files->format == SOURCE_BY_NAME)
        rc = source_file_format(f->path, &format, error);
    else
        format = (enum decode_format)f->files->format;
    if (!rc)
        rc = file_open(f, error);
    if (rc)
        return rc;
    if (feed_setup(&f->feed, f->files->stream, format)) {
        rc = error_set(error, -ENOMEM, "no memory for the decoder");
        goto out;
    }
    letters_listen(&f->letters, f->feed.decoder, f->files->stream);
    /* Whoever reads it again finds them again. */
    f->letters.once = strcmp(f->path, "-") != 0;
    decoder_reset(f->feed.decoder, feed_now(&f->feed));
    feed_begin(&f->feed, FILE_PIECE / 64);
    rc = file_pump(f, error);
    file_count_rejected(f);
    letters_hand_on(&f->letters, f->files->stream, f->path);
    letters_free(&f->letters);
    feed_free(&f->feed);
out:
    unpack_free(f->unpack);
    close(f->fd);
    return rc;
}

static uint64_t file_size(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
}

static uint64_t file_total(const struct source_files *files)
{
    uint64_t total = 0;
    for (size_t i = 0; i < files->n; i++) {
        uint64_t size = file_size(files->path[i]);
        if (size == 0)
            return 0;
        total += size;
    }
    return total;
}

int source_file(const struct source_files *files, struct source_result *ret,
                struct error *error)
{
    *ret = (struct source_result){0};
    struct file f = {.files = files, .result = ret, .total = file_total(files)};
    f.piece = malloc(FILE_PIECE);
    f.unpack = malloc(sizeof(*f.unpack));
    int rc =
        f.piece && f.unpack ? 0 : error_set(error, -ENOMEM, "no memory to read files");
    for (size_t i = 0; i < files->n && rc == 0; i++) {
        f.path = files->path[i];
        f.index = i;
        rc = file_run(&f, error);
        f.before += file_size(f.path);
    }
    free(f.piece);
    free(f.unpack);
    return rc;
}
