/* SPDX-License-Identifier: Apache-2.0
 *
 * The calls of an analyzer that runs in a process of its own (`run: process`), for one worker. Its states live there; what is
 * here is the same as analyze.h calls, with the slots of groups in place of states. Calls that give nothing back are only
 * written down: what fails in them shows in a later one.
 *
 * All return 0; -EINVAL: a plugin failed, or its process ended (remote_crash tells), with a text in the host, for good;
 * -ECANCELED: the pipeline is left.
 */
#ifndef WEIR_PIPELINE_REMOTE_H
#define WEIR_PIPELINE_REMOTE_H

#include "base/buffer.h"
#include "log/log.h"
#include "plugin/host.h"

struct worker;
struct step;
struct remote;
struct analyze_groups;

/* How a process ended by itself. */
struct remote_crash {
    uint32_t call;        /* enum remote_call that it was in; 0: none */
    bool rows;            /* it was folding rows in: */
    uint64_t first, last; /* their sequence numbers */
};

/* Starts the process and has the plugin opened there, which describes the binding's outputs if its table does
 * not. `w` NULL: only to try it. -EINVAL: the plugin's text; -EAGAIN, -ENOTSUP: there is no process; -ECHILD: it ended. */
int remote_open(const struct worker *w, struct step *step, const char *pipeline,
                struct host *h, struct remote **ret, struct error *error);
void remote_close(struct remote *r); /* takes NULL */

/* Rows of the entry come: those of its columns that are inputs in in[]. */
int remote_begin(struct remote *r, struct log_entry *e,
                 const struct weir_column *const *in);
int remote_update(struct remote *r, const struct weir_rows *rows);
/* No more of it. So many rows were not kept since the last time. */
int remote_end(struct remote *r, uint64_t *ret_over);

int remote_init(struct remote *r, uint32_t slot, const struct weir_window *window);
int remote_drop(struct remote *r, uint32_t slot);
int remote_merge(struct remote *r, const struct analyze_groups *g,
                 const uint32_t *from);
int remote_emit(struct remote *r, const struct analyze_groups *g, struct weir_out *out);
/* From now on, until it is said again with false, a call in which the plugin fails has failed alone: remote_emit says why, and the
 * process goes on with the states that it has. */
void remote_try(struct remote *r, bool on);
/* Has it begin with what remote_emit will be called for, in the order of these calls. False: it would have to be waited for, and so
 * is done then. */
bool remote_ask(struct remote *r, const struct analyze_groups *g);
/* What was written down is done from now on, however little it is. */
void remote_wake(struct remote *r);
/* What it was asked for and not called for is not read any more: it is of no use from then on. */
void remote_abandon(struct remote *r);

/* The states of n groups are saved; then remote_saved puts one after the other to `b`. */
int remote_save(struct remote *r, const uint32_t *slot, size_t n);
int remote_saved(struct remote *r, struct buffer *b);
int remote_load(struct remote *r, uint32_t slot, uint32_t version, const char *bytes,
                size_t size);

/* More commands would have to wait. */
bool remote_is_behind(struct remote *r);
/* True: its process has ended, and it was not that the plugin failed. */
bool remote_has_crashed(const struct remote *r, struct remote_crash *ret);
/* The row of this number, of an entry that is still held, as JSON into ret->record. */
struct pipeline_crash;
void remote_show_row(const struct remote *r, uint64_t sequence,
                     struct pipeline_crash *ret);
/* Any thread, while it is not closed. */
void remote_show(const struct remote *r, int64_t *ret_pid, uint64_t *ret_cpu_ns);

#endif
