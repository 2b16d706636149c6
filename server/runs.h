/* SPDX-License-Identifier: Apache-2.0
 *
 * Files that `weir run` hands to the server that has the database. It opens them and sends their descriptors over a socket
 * (control.h), so that it needs neither a token nor an address; the server reads them as weir run would, beside what else comes,
 * each stream's as a source of its own. A connection is for the files of one stream, one after the other; packets of text,
 * numbers in decimal:
 *
 *      weir run                                     server
 *               ---- "stream NAME" --------------->
 *               <--- "ready", or "no TEXT" --------
 *               ---- "file FORMAT PATH", fd ------>
 *               <--- "at BYTES ROWS" --------------  now and then
 *               <--- "last?" ----------------------  it is no regular file, and seems to be at its end
 *               ---- "last" ---------------------->  whoever was told to stop says nothing, and stops
 *               <--- "fault LINE COLUMN TEXT" -----
 *               <--- "done R ACCEPTED REJECTED BEFORE TEXT"   R: 0 or -errno, with the text; BEFORE: of ACCEPTED, taken before
 *               ---- "end" ----------------------->
 *               <--- "pipeline STATE ROWS NOT_JOINED DROP SIDE REVISE WATERMARK NAME"   once it has read them
 *               <--- "over" -----------------------
 *
 * Who closes his side for writing has it stop, and still hears how far it came.
 *
 * Each MiB of a file, unpacked, is a request with a key made of the file's bytes up to its end. So what was taken is not taken again,
 * whoever was killed in between, as long as the server knows its keys (idempotency_retain). A run without a server knows them, too,
 * from the journal and the database (runs_push); it adds none, as what it has not finished is not there.
 */
#ifndef WEIR_RUNS_H
#define WEIR_RUNS_H

#include "source/source.h"

#define RUNS_KIND   "weir-run" /* of the socket's name */
#define RUNS_MAX    8u         /* connections at a time; others wait */
#define RUNS_PACKET 8192u      /* bytes of a packet */

struct weir;
struct runs;

/* Listens for the folder of its journals. The weir is wired and outlives it. -EADDRINUSE; -ENOMEM; another -errno. */
int runs_new(struct weir *w, struct runs **ret, struct error *error);
/* Reads no more; what was read is on disk. Waits. Takes NULL. */
void runs_end(struct runs *r);

/* ---- The other side ---- */

enum runs_state {
    RUNS_WAITS, /* it has not read all of the files, as it waits for something */
    RUNS_READ,
    RUNS_FAILED,
};

struct runs_pipeline { /* once it has read the files */
    enum runs_state state;
    uint64_t rows;                   /* since its start */
    uint64_t late_by[3], not_joined; /* events of these files */
    int64_t watermark_us;
    char name[256];
};

struct runs_handing {
    const char *folder;               /* of the journals */
    const char *stream;               /* its name */
    const struct source_files *files; /* their paths; without `stream` */
    void (*pipeline)(void *ctx, const struct runs_pipeline *p);
    void *ctx;
};

/* Hands the files over, and waits until they are taken. As source_file, and -EACCES: the server is another user's; -EPIPE: it
 * ended in between. *ret_before: of those accepted, how many had been taken before. */
int runs_hand(const struct runs_handing *h, struct source_result *ret,
              uint64_t *ret_before, struct error *error);

/* ---- Keys ---- */

struct runs_key { /* of the bytes of a file up to the end of a piece */
    uint64_t bytes[2];
    char text[48];
};

/* Before the first piece. The format is an enum decode_format, or SOURCE_BY_NAME; the key does not depend on who said it. */
void runs_key_begin(struct runs_key *k, const char *path, int format);
/* With the next piece; without bytes, with what is behind the last one. */
void runs_key_piece(struct runs_key *k, const char *data, size_t size);

/* ---- A run of its own ---- */

/* As source_file, but for what a server has taken before, which is read and left out. *ret_before: as of runs_hand. */
int runs_push(const struct source_files *files, struct source_result *ret,
              uint64_t *ret_before, struct error *error);

#endif
