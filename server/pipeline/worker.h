/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker: a share of a pipeline's keys, and the task that reads the entries of the log for it, in order.
 * Of each batch it takes the rows of its keys, finds their groups, has the analyzers fold them in, and
 * gives out the rows of the windows that the watermark has passed.
 *
 *      entry -> rows of my keys -> where -> late? -> group slots -> update of each analyzer
 *            -> watermark -> emit: groups revised, windows passed -> rowset -> pipeline_sink
 *            -> forget windows that the watermark has passed by allowed_lateness
 *
 * Between two entries all that a worker knows is its watermark and its groups (group/groups.h); what has
 * been given out follows from the watermark: the windows that end at or before it.
 */
#ifndef WEIR_PIPELINE_WORKER_H
#define WEIR_PIPELINE_WORKER_H

#include "base/tasks.h"
#include "expr/filter.h"
#include "group/groups.h"
#include "pipeline/analyze.h"
#include "pipeline/bag.h"
#include "pipeline/checkpoint.h"
#include "pipeline/former.h"
#include "pipeline/kept.h"
#include "pipeline/keyed.h"
#include "pipeline/mailbox.h"
#include "pipeline/outflow.h"
#include "pipeline/pipeline.h"
#include "pipeline/remote.h"
#include "plugin/host.h"
#include "window/watermark.h"
#include "window/window.h"

#define WORKER_PREFETCH_MAX 512u /* bytes of a group */

/* Rows of one worker that have killed the process of an analyzer: sequence numbers. */
struct aside {
    uint64_t first, last;
    bool
        suspect; /* it is not known yet which of them: they are handed over one by one */
};

/* An analyzer's place in the pipeline; the same for all workers. */
struct step {
    struct binding *binding;
    const struct config_analyzer *config;
    struct config_lookup *ask; /* with `run: async` (ask.h) */
    size_t offset;             /* of its state in a group's block */
    size_t condition; /* which rows it gets: in pipeline.condition, or CONDITION_NONE */
    _Atomic uint64_t where_errors; /* rows for which that fails; relaxed */
    struct table *table;           /* where its rows go; of the shortest */
    size_t column;                 /* its first output column there */
    const struct pipeline *pipeline;
    /* Figures of all workers; relaxed. */
    _Atomic uint64_t ns;     /* spent in update */
    _Atomic uint64_t cpu_ns; /* in all calls; of its processes, where it has some */
    _Atomic uint64_t events; /* given to it */
    _Atomic uint64_t held;   /* bytes, beside its states of fixed size */
    _Atomic uint64_t skipped[PLUGIN_REASONS_MAX]; /* rows of no use, by reason */
    bool gives_states;          /* instead of what it makes of them (parts.h) */
    size_t part;                /* column of the states that it merges (parts.h) */
    _Atomic uint64_t form_hash; /* of what they are; relaxed; 0: not known yet */
    uint32_t stored_version;    /* of states in the checkpoint that is loaded */
    struct kept_form kept;      /* where rows are kept for it: its states are these */
    bool
        bag; /* it cannot take rows out again, and is to: it is given those that are left */
    _Atomic uint64_t over_rows; /* not kept: their groups had no room; relaxed */
    _Atomic bool over_logged;   /* relaxed: that there are some */
    /* Of one that runs in processes of its own (remote.h). */
    struct aside *aside; /* fixed once it runs */
    size_t n_aside;
    _Atomic uint32_t ended;     /* enum remote_call in which a process ended; relaxed */
    _Atomic uint64_t set_aside; /* rows; relaxed */
    _Atomic uint64_t restarts;  /* relaxed */
    /* Begun with, and how long all of them waited for it; relaxed. */
    _Atomic uint64_t entries, waited_us;
};

#define CONDITION_NONE SIZE_MAX /* all rows */

/* Figures of a worker, which outlive it; relaxed. */
struct shard {
    _Atomic uint64_t cpu_ns, events;
    _Atomic uint64_t entries, waited_us; /* taken; how long all of them waited for it */
};

/* Of an analyzer, in a turn of a worker. */
struct spent {
    int64_t ns;
    uint64_t events;
};

/* Does the analyzer take all rows of a group at once? The server keeps them for it (kept.h). */
static inline bool step_is_whole(const struct step *s)
{
    return s->binding->plugin->analyzer.flags & WEIR_WHOLE;
}

static inline bool step_keeps(const struct step *s)
{
    return s->bag || step_is_whole(s);
}

/* Does it give rows to a table of its own? Its states are a column as those of others. */
static inline bool step_gives_many(const struct step *s)
{
    return s->binding->plugin->analyzer.flags & WEIR_MANY_ROWS && !s->gives_states;
}

#define STATE_ALIGN 16u

/* Bytes of a group's state, padded. */
static inline size_t step_stride(const struct step *s)
{
    size_t size = s->bag             ? sizeof(struct bag)
                  : step_is_whole(s) ? sizeof(struct kept)
                                     : s->binding->plugin->analyzer.state_size;
    return (size + STATE_ALIGN - 1) / STATE_ALIGN * STATE_ALIGN;
}

struct pipeline {
    _Atomic unsigned refs; /* taken relaxed, given back acq_rel */
    struct config *whole;  /* a reference: `config` and `schema` are parts of it */
    struct metrics *metrics;
    const struct config_pipeline *config;
    const struct schema *schema;
    struct schema
        *wide; /* with answers that analyzers ask for behind it; NULL: none do */
    size_t n_asking;
    struct step *asking[CONFIG_ASYNC_MAX];
    struct join *join; /* of other streams, before the workers; NULL: there is none */
    struct lookup *lookup;   /* at other services, likewise; not both */
    struct pipeline *parent; /* a reference; NULL: it reads the stream */
    struct outflow *reads;   /* the parent's */
    bool changes;            /* of it rows are taken out again */
    bool replaced;           /* its results are, and others read them */
    bool afresh; /* it began without what was stored, or without what it had given */
    _Atomic unsigned
        waiting; /* workers that have something for the next border; relaxed: for silence */
    bool
        gives_all; /* one that reads what is replaced has seen no row of it: it is given all at the start */
    struct of_table { /* its tables that others read */
        struct outflow *outflow;
        size_t place; /* in `table` */
        struct of_table *next;
    } * outflow;
    struct pipeline *child,
        *sibling; /* the list is the parent's, protected by its lock */
    struct pipeline
        *joined[CONFIG_JOINS_MAX]; /* references: of each of config->results */
    const struct table *joined_table[CONFIG_JOINS_MAX];
    struct window_kind window;
    int64_t
        until_unit_us; /* of the field of `until`, if it is a number; 0: nanoseconds */
    struct calendar *calendar; /* of its windows; NULL: they have none */
    size_t n_steps;
    struct shard *shard; /* of each worker */
    struct step *step;
    const char *
        *condition; /* `where` of analyzers, each once; the configuration's texts */
    size_t n_conditions;
    size_t stride;     /* bytes of a group's block */
    bool inits, drops; /* some analyzer has to know of each group that opens, closes */
    size_t n_tables;
    const struct table **table; /* the pipeline's own first, if there is one */
    size_t n_of_size;  /* tables of one size of windows; then those of the next */
    struct table *own; /* NULL: no analyzer gives one row a group; of the shortest */
    struct table *late_table; /* NULL, but with CONFIG_LATE_SIDE */
    struct table *rows_table; /* NULL, but with CONFIG_NONE */
    struct log *log;
    _Atomic(struct log *) runs_on; /* the same, for other threads: release, acquire */
    _Atomic int64_t asked_us;      /* pipeline_ask; relaxed */
    _Atomic unsigned ended;        /* workers whose input has ended: release, acquire */
    size_t keys;                   /* index into log_entry.keys */
    struct pipeline_sink sink;
    struct worker *worker;
    struct references *references; /* tables that it joins; NULL: none */
    struct derive *derive; /* columns of its own; NULL: none. The dispatcher's, */
    struct log_entry
        *derived; /* and so is the entry with them that not all workers have */
    unsigned
        given; /* the entry at hand was put to workers below this one; the dispatcher's */
    bool *dictionary; /* of each column: wanted by an analyzer */

    uint64_t
        hold_bytes; /* of open windows until the end; 0: they close as events come */
    _Atomic bool released; /* relaxed: there was no room for more of them */
    int64_t begun_us;      /* the watermark at the start */
    uint64_t started_at;   /* its position then */
    _Atomic bool behind;   /* it begins with what is there; relaxed: for people */

    _Atomic bool failed; /* release after error is written, acquire before it is read */
    bool left_out;       /* set before anybody else sees it */
    _Atomic bool leaving; /* relaxed: nothing more is read, soon enough */
    pthread_mutex_t lock; /* protects error and shown_* */
    struct error error;
    char partial[256];           /* see pipeline_say_partial */
    bool crashed;                /* it waits to be started again */
    struct pipeline_crash crash; /* of the first process that did */
    int64_t shown_watermark_us, shown_newest_us;
    uint64_t shown_position;
    uint32_t shown_n;
    struct pipeline_shown {
        int64_t max_us;
        bool idle;
    } shown[WATERMARK_SOURCES];

    /* Counters of all workers; relaxed, added to once a block or batch. */
    _Atomic uint64_t derive_errors, join_late, join_too_late, join_cut;
    _Atomic uint64_t events, filtered, where_errors, null_keys, long_keys, over_groups,
        no_until;
    _Atomic uint64_t late[CONFIG_LATE_POLICIES]; /* by what became of them */
    _Atomic uint64_t
        late_of[LOG_SOURCES_MAX]
               [CONFIG_LATE_POLICIES]; /* those of sources of its stream with a name */
    _Atomic uint64_t
        late_known; /* of windows that the watermark had passed at the start */
    _Atomic uint64_t windows, rows, revisions, groups, cpu_ns, skipped;
    _Atomic uint64_t is_partial; /* 0 or 1 */
    /* Of late_tell; the first worker's. */
    int64_t seen_us, quiet_until_us;
    uint64_t seen_late, seen_events;
    _Atomic bool over_logged; /* relaxed: that rows are dropped over max_groups */
};

/* n rows of an entry were late. */
static inline void pipeline_count_late(struct pipeline *p, const struct log_entry *e,
                                       enum config_late what, uint64_t n)
{
    if (n == 0)
        return;
    metric_add(&p->late[what], n);
    if (e->source)
        metric_add(&p->late_of[e->source][what], n);
}

/* Does it make entries of its own, with more columns? */
static inline bool pipeline_widens(const struct pipeline *p)
{
    return p->derive || p->references;
}

struct open_part;

/* The rows of a block for which a condition of analyzers is true. */
struct chosen {
    struct filter *filter;
    uint32_t n, row[BATCH_BLOCK], slot[BATCH_BLOCK];
};

struct worker {
    struct pipeline *pipeline;
    unsigned index;
    struct task task;
    struct mailbox mailbox;
    struct waiter room; /* for the sink */
    bool gives;         /* rows, behind the last entry */
    uint64_t gave;      /* the last entry behind which it did; 0: not yet */
    struct open_part *_Atomic asked; /* open.h; changed with the pipeline's lock */
    /* Behind the last row, where rows have numbers of their own: of those that a pipeline gives, and of those of files, behind
     * which rows of the stream come. */
    uint64_t sequence;
    struct host *host;      /* of each step */
    struct spent *spent;    /* likewise; in this turn */
    struct remote **remote; /* likewise; NULL: it runs in the worker's thread */
    struct groups groups;
    uint64_t groups_room;      /* of them, with those that are merged from panes */
    struct keyed keyed;        /* where windows are by key */
    struct former_rows former; /* as they were given out; with pipeline.replaced */
    struct watermark watermark;
    struct filter *filter; /* NULL: every row */
    struct chosen *chosen; /* of each condition */
    uint32_t
        *key_map; /* of the batch's keys: number in groups, or KEY_NULL if another's */
    size_t key_map_room;
    uint32_t broken_slot; /* of the group whose init failed: no states; SLOT_NONE */
    uint64_t position;    /* of the last entry that is wholly read */
    _Atomic uint64_t
        shown_position; /* the same, for others: release behind what it counted */
    uint64_t
        reads; /* of the one at hand: what it gives has this for those that read it */
    bool checkpointed;  /* once: from then on only what changes is written */
    int64_t emitted_us; /* windows that end at or before it have been given out: the
                         * watermark behind the last entry */
    int64_t sealed_us;  /* windows of panes that end at or before it have groups of
                         * their own; at least emitted_us */
    int64_t unknown_us; /* those at or before it by an earlier run, and their groups are
                         * not here; INT64_MIN: there are none. Beyond emitted_us where
                         * the log is read again for another definition */
    int64_t early_us;   /* while the watermark is held: windows that end at or before
                         * it have been given out early; INT64_MIN: none */
    struct chain_ahead {
        struct outflow_piece *first, **last;
        size_t bytes;
        bool dropped; /* for want of room: they are made again */
    } ahead;          /* those rows, for who reads them */
    struct slots {
        uint32_t *at;
        size_t n, room;
    } revised; /* groups given out, with late rows of this entry; some more than once */
    struct slots
        waiting; /* those of all entries, for who reads them: as of chain_waits */
    struct rowset *
        side; /* late rows of this entry, for late_table, or those that are selected; NULL: none */
    uint64_t groups_shown;
    struct parts *parts;     /* parts.c's; made when they are needed */
    struct kept_view *view;  /* of rows that are kept; made when it is needed */
    struct closing *closing; /* running windows: rows of this entry; made when needed */
    uint32_t row[BATCH_BLOCK], key[BATCH_BLOCK], slot[BATCH_BLOCK], keep[BATCH_BLOCK];
    int64_t watermark_at[BATCH_BLOCK]; /* of each row of a block that has late rows */
};

/* late.c. The watermark behind the last row of a block; that at each of its rows, into watermark_at[]. */
int64_t late_watermark(const struct worker *w, const struct log_entry *e,
                       uint32_t block);
void late_watermarks(struct worker *w, const struct log_entry *e, uint32_t block);
/* The row becomes one of late_table, with the window that it missed. -ENOMEM. */
int late_keep(struct worker *w, const struct log_entry *e, uint32_t row,
              int64_t start_us, int64_t end_us);
/* Has the block late rows, of whatever worker? Most have none, and two comparisons show it.
 * Otherwise watermark_at[] is set, for those below. */
bool late_find(struct worker *w, const struct log_entry *e, uint32_t block);
/* Takes those late rows out of row[0..n) and key[] that are not folded in, and does with them what the
 * configuration says. -ENOMEM. */
int late_take_out(struct worker *w, const struct log_entry *e, uint32_t block,
                  uint32_t *n);
/* Raises the revision of the groups, slot[0..n), into which late rows are folded. -ENOMEM. */
int late_revise(struct worker *w, const struct log_entry *e, uint32_t block,
                uint32_t n);
/* Is a row folded into a window that ends then, at this watermark? */
bool late_stays(const struct worker *w, int64_t end_us, int64_t watermark_us);
/* A late row is folded into this group, of a window that ends then. -ENOMEM. */
int late_mark(struct worker *w, uint32_t slot, int64_t end_us);
/* Who reads the group's results has not got what it is now. -ENOMEM. */
int late_wait(struct worker *w, uint32_t slot);

/* select.c: row[0..n) of the entry become rows of rows_table. -ENOMEM. */
int worker_select(struct worker *w, const struct log_entry *e, uint32_t n);

/* panes.c: windows of several panes. Seals those that end at or before until_us: what is folded into their panes
 * later is not in them. -ENOSPC, -EINVAL, -ENOMEM. */
int panes_seal(struct worker *w, int64_t until_us);
/* The same for those that end at the border that panes_next gave, if they are not sealed, and that are given out before
 * the next row is folded in: those that longer ones are made of are not copied, *ret says which panes they are. */
struct panes_whole {
    int64_t pane[WINDOW_SIZES];
    size_t n;
};
int panes_seal_next(struct worker *w, int64_t border_us, struct panes_whole *ret);
/* The next time at which there is something to seal, at most until_us; that itself where windows are of one
 * pane. */
int64_t panes_next(const struct worker *w, int64_t until_us);
/* Folds row[0..n) of a block with late rows into panes and sealed windows. */
int panes_fold(struct worker *w, const struct log_entry *e, uint32_t block, uint32_t n);

/* Rows row[0..n) into the groups at slot[]. */
int worker_fold(struct worker *w, const struct log_entry *e, uint32_t n);

/* A row has no group and there is no room for one more: 0 if it is to be left out, or -ENOSPC. */
int worker_over_max_groups(struct worker *w);

/* Bytes that its analyzers hold, beside states of fixed size. */
static inline uint64_t pipeline_held(const struct pipeline *p)
{
    uint64_t held = 0;
    for (size_t i = 0; i < p->n_steps; i++)
        held += atomic_load_explicit(&p->step[i].held, memory_order_relaxed);
    return held;
}

/* True if keys of this hash are the worker's. The upper half of the hash: the lower one places keys in
 * its table. */
static inline bool worker_owns(const struct worker *w, uint64_t hash)
{
    return w->pipeline->config->workers == 1 ||
           (hash >> 32) * w->pipeline->config->workers >> 32 == w->index;
}

/* The group of a key, by its number or its bytes, in the window of this id, opened with fresh states if need be. -ENOSPC: max_groups are open;
 * -EINVAL: a plugin's init failed; -ENOMEM. */
int worker_open(struct worker *w, uint32_t key, int64_t window, uint32_t *ret_slot);
int worker_open_group(struct worker *w, const char *key, size_t size, uint64_t hash,
                      int64_t window, uint32_t *ret_slot);
/* The states of a group that is new. -EINVAL. */
int worker_begin_states(struct worker *w, uint32_t slot);

/* Nobody has looked at the states of a group for a while: they are fetched before they are wanted. */
static inline void worker_prefetch(const struct worker *w, uint32_t slot)
{
    const char *state = groups_state(&w->groups, slot);
    for (size_t at = 0; at < w->groups.stride && at < WORKER_PREFETCH_MAX; at += 64)
        __builtin_prefetch(state + at);
}

/* The text of the step that failed, with its name; returns r. */
int worker_error(struct worker *w, int r, struct error *error);

int worker_init(struct worker *w, struct pipeline *p, unsigned index,
                int64_t watermark_us, struct error *error);
int worker_start(struct worker *w, struct tasks *tasks, struct error *error);
/* The same for one that is no task: whoever hosts it has it read entries. */
void worker_begin(struct worker *w);
/* Reads an entry, in the caller's thread. The text of `error` is set but with -ECANCELED: it is to be left as it is. */
int worker_read(struct worker *w, const struct log_entry *e, struct error *error);
void worker_free(
    struct worker *w); /* ends its task; what is in the mailbox is dropped */

/* The pipeline is to be left as it is: what takes time is given up in between, with -ECANCELED. */
static inline bool worker_leaves(const struct worker *w)
{
    return atomic_load_explicit(&w->pipeline->leaving, memory_order_relaxed);
}

/* choose.c: `where` of analyzers. */
int choose_bind(struct pipeline *p, struct step *s, const struct config_analyzer *c,
                struct error *error); /* -EINVAL with the place, -ENOMEM */
int choose_init(struct worker *w, struct error *error); /* -ENOMEM */
void choose_free(struct worker *w);
/* Of row[0..n), whose groups are slot[0..n), those of each condition: chosen[]. -EIO. */
int choose_rows(struct worker *w, const struct batch *b, uint32_t n);
/* Rows for which one of the conditions failed, for each of them. */
uint64_t choose_errors(const struct pipeline *p);

/* pipeline.c: to all workers, which own a reference from then on. False: one has no room; it is put again, by join_wake or
 * log_room. */
bool pipeline_give(struct pipeline *p, struct log_entry *e, bool command);

/* derived.c */
int derived_setup(struct pipeline *p, struct error *error); /* -EINVAL, -ENOMEM */
/* All of an entry but its batch, and what is made of that. -ENOMEM. */
int derived_copy(const struct log_entry *e, struct log_entry **ret);
/* Its keys and dictionaries, for this pipeline alone. -ENOMEM. */
int derived_keys(const struct pipeline *p, struct log_entry *to);
/* An entry with the pipeline's derived columns, of one that holds a batch. -ENOMEM. */
int derived_entry(struct pipeline *p, const struct log_entry *e,
                  struct log_entry **ret);

#define TABLES_OF_SIZE 64
#define TABLES_MAX     (TABLES_OF_SIZE * WINDOW_SIZES + 1)
int pipeline_make_tables(struct pipeline *p, struct error *error); /* tables.c */

#define LATE_COLUMNS 4 /* of late_table before those of the stream */

/* late.c: says in the log, at most once a minute, that most of what came was late. The first worker. */
void late_tell(struct worker *w, int64_t now_us);

/* chain.c: what its children get. The pieces are a list for each table that is read, in the order of p->outflow; they
 * are taken. */
#define CHAIN_TABLES 64
struct chain_pieces {
    struct outflow_piece *list[CHAIN_TABLES];
};
int chain_read(const struct worker *w, const struct rowset *set,
               struct chain_pieces *ret);
int chain_put(struct worker *w, uint64_t position, int64_t done_us, bool gave,
              struct chain_pieces *pieces);
void chain_drop(struct chain_pieces *pieces);
/* Windows by time whose results are replaced, as they are revised. Those that read them get what is new of them when the
 * watermark reaches the next end of a window, before the row with which it does: so what they make of it does not depend on how
 * the log was cut. */
static inline bool chain_waits(const struct pipeline *p)
{
    return p->replaced && !window_is_by_key(&p->window);
}
/* Rows of a group, as they were or are given out, to who reads this table; behind those of the list. -ENOMEM. */
int chain_add(const struct worker *w, const struct of_table *o,
              const struct former *rows, enum outflow_kind kind, int64_t border_us,
              struct outflow_piece **list);
/* Its number among those of one size, and which size that is. */
static inline size_t chain_table(const struct pipeline *p, const struct of_table *o)
{
    return o->place % p->n_of_size;
}
static inline size_t chain_size(const struct pipeline *p, const struct of_table *o)
{
    return o->place / p->n_of_size;
}
/* What is given out at the moment goes to those that have seen none of it. Before the workers run. */
int chain_give_all(struct pipeline *p, uint64_t position);
/* Rows given out early, of windows that end at or before until_us and behind those set aside so far: kept until it is known
 * whether they are the last ones. */
void chain_set_aside(struct worker *w, int64_t until_us, struct chain_pieces *pieces);
/* Those of windows that end at or before until_us, as if given out now; NULL: none. */
struct outflow_piece *chain_take_ahead(struct worker *w, int64_t until_us);
/* They are not kept any more, nor any that come. */
void chain_drop_ahead(struct worker *w);
int chain_mark(struct worker *w, const struct log_entry *mark);
bool chain_is_full(struct worker *w);
/* It joins results of these. -EINVAL, -ENOMEM. */
int chain_find_results(struct pipeline *p, struct pipeline *const *all,
                       struct error *error);
/* It reads this one; it goes, after its end; those that read it have nothing more to read; until they have all that it gave. */
int chain_join(struct pipeline *p, struct pipeline *parent, struct error *error);
void chain_leave(struct pipeline *p);
void chain_fail(struct pipeline *p);
bool chain_drain(struct pipeline *p, int64_t deadline_us);
/* Borders of its windows and of those of its descendants, for log_sink. */
int64_t chain_next_border(void *pipeline, int64_t after_us);
int64_t chain_last_border(void *pipeline, int64_t newest_us);

/* hold.c: where windows are kept open and the groups of the entry may not fit, that ends, and those that the watermark
 * has passed are given out. */
int worker_make_room(struct worker *w, const struct log_entry *e, struct error *error);
/* Behind an entry: windows that would be closed were they not kept open are given out early, so that this is done while
 * input is still read. Their groups stay; those that later rows change are given out again when they close. */
int worker_give_early(struct worker *w, struct error *error);
/* Rows have been folded into slot[0..n). */
void worker_note_changed(struct worker *w, uint32_t n);

/* close.c: gives out the groups that were revised and the windows that end at or before `until_us`;
 * forgets those that cannot be revised any more, with `last` all that were given out. */
int worker_close_windows(struct worker *w, int64_t until_us, bool last,
                         struct error *error);
/* The same of windows that are not to close yet, behind w->early_us. Nothing is forgotten. */
int worker_emit_early(struct worker *w, int64_t until_us, struct error *error);

/* close.c: gives out, within an entry, what is due by key at this watermark. */
int worker_give_out(struct worker *w, int64_t watermark_us);
/* The same of windows by time where this watermark reaches one's end, see chain_waits. */
int worker_give_at(struct worker *w, int64_t watermark_us);
/* What is left of that where an entry was not read to its end. */
void worker_closing_free(struct worker *w);

/* close.c: rows of pipeline.table[table] for groups as they are now, at most ANALYZE_GROUPS, behind those of *set, which is made for the
 * first ones. border_us: of global. -EINVAL, -ENOMEM, -ECANCELED. */
int worker_emit_as_is(struct worker *w, size_t table, const uint32_t *slot, size_t n,
                      int64_t border_us, struct rowset **set);

#endif
