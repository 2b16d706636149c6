/* SPDX-License-Identifier: Apache-2.0
 *
 * A process of its own for code that may crash, hang or leak: this program, or a weir of the same version, started with exec (APART_COMMAND),
 * and what goes between the two:
 *
 *      server                                                        process
 *         |--- commands, a ring (apart/ring.h) --------------------->|
 *         |<-- answers, a ring --------------------------------------|
 *         |<-- what it is doing, figures, why it gave up ------------|    struct apart_shared
 *         |=== the arena of batches, read-only (batch/pool.h) ======>|
 *         |<-> a byte for who sleeps; its end is the other's end ----|    a socket
 *
 * Commands are written without waiting for what becomes of them; a call that wants an answer waits for all that was
 * before it. Nothing that the process does or does not do holds the caller up for longer than limit_us, and
 * nothing that it says is believed. The process ends with the thread that started it, which is one for all, and so with
 * the server.
 *
 * One thread at a time has the server's end.
 */
#ifndef WEIR_APART_PROCESS_H
#define WEIR_APART_PROCESS_H

#include "apart/ring.h"
#include "base/error.h"

#include <stdatomic.h>
#include <sys/types.h>

/* The word behind the program's name by which main finds the process's code. */
#define APART_COMMAND "analyzer-process"

#define APART_COMMANDS ((size_t)4 << 20) /* bytes of the rings */
#define APART_ANSWERS  ((size_t)1 << 20)
#define APART_BEHIND                                                                   \
    ((size_t)1 << 20) /* bytes of commands from which on it is behind */
#define APART_REASONS 16

/* Mapped by both. All but `commands` is the process's to write. */
struct apart_shared {
    struct ring_shared commands, answers;
    alignas(64) _Atomic uint32_t
        call;               /* what it is in, of whoever gives commands; 0: nothing */
    _Atomic uint64_t steps; /* so many commands were begun */
    _Atomic uint64_t first,
        last;              /* sequence numbers of the rows, where there are some */
    _Atomic uint64_t done; /* entries that it does not look at any more */
    _Atomic uint64_t memory, skipped[APART_REASONS], left_out, update_ns, cpu_ns, begun,
        waited_us; /* figures; relaxed */
    _Atomic uint32_t
        gave_up; /* it ends by itself, and has said why; release, acquire */
    char why[512];
};

/* ---- The server's end ---- */

struct apart_options {
    const char *program; /* NULL: this executable */
    int64_t limit_us;    /* without any progress: it is killed */
    bool (*leaves)(
        void *ctx); /* nobody waits any more; asked every now and then; may be NULL */
    void *ctx;
};

struct apart {
    struct apart_options options;
    pid_t pid;
    int fd;
    void *map;
    size_t map_size;
    struct apart_shared *shared;
    struct ring commands, answers;
    bool ended;       /* nothing more goes to it or comes from it */
    bool hung;        /* it was killed for it */
    int status;       /* as of waitpid, once it has ended */
    uint64_t seen[3]; /* how far it was when it last went on, */
    int64_t seen_us;  /* and when */
};

/* -ENOTSUP: this system cannot (no memfd); -EAGAIN: no process, memory, descriptors; with a text. */
int apart_start(const struct apart_options *options, struct apart **ret,
                struct error *error);
/* It ends by itself within a moment, or is killed. Takes NULL. */
void apart_close(struct apart *a);

/* Part of a command; waits where there is no room. -ECHILD: the process has ended; -ECANCELED: leaves. */
int apart_put(struct apart *a, const void *bytes, size_t size);
/* So many bytes can be put without waiting. */
bool apart_has_room(struct apart *a, size_t size);
/* It may read what was put. With `wake` at once if it sleeps, otherwise once much has come together. */
int apart_send(struct apart *a, bool wake);
/* Part of an answer; waits for it. -ECHILD, -ECANCELED. */
int apart_get(struct apart *a, void *to, size_t size);
/* Without waiting: has it ended? */
bool apart_has_ended(struct apart *a);
/* It has much to do: more commands would have to wait. What hangs is found, too, while this is asked. */
bool apart_is_behind(struct apart *a);

/* How it ended, "was killed by signal 11 (Segmentation fault)", once that is so. */
void apart_say_end(const struct apart *a, char *text, size_t room);

/* ---- The process's end ---- */

struct apart_here {
    struct apart_shared *shared;
    struct ring commands, answers;
    const void *arena;
    size_t arena_size;
    size_t taken; /* bytes that were read and not given back yet */
};

/* argv as main has it behind the command. -1: this is no such process. */
int apart_attach(int argc, char **argv, struct apart_here *ret);
/* Waits for so many bytes. Does not return once the server has closed its end: then calls over(ctx) and exits. */
void apart_take(struct apart_here *h, void *to, size_t size, void (*over)(void *ctx),
                void *ctx);
void apart_answer(struct apart_here *h, const void *bytes, size_t size);
/* The answer can be read. Who sleeps for it is woken once much has come together, or there is nothing else to do. */
void apart_answer_send(struct apart_here *h);
/* Says why, and ends the process. */
_Noreturn void apart_give_up(struct apart_here *h, const char *why);

#endif
