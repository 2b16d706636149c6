#include <weir/plugin.h>

#include <dlfcn.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- A host for one plugin: what the server lends --------------------------------------------- */

enum { STATES = 17, CELLS = 256, CANARY = 0xa5, GUARD = 64 };

struct value { /* type 0: null */
    uint32_t type, size;
    int64_t i;
    double f;
    const char *s;
};

struct weir_out { /* of emit: text; of save: bytes */
    char *data;
    size_t size;
    struct value cell[CELLS];
    uint32_t n_cells, base, group;
    int begun;
};

static const struct weir_analyzer *a;
static struct weir_ctx ctx[2];
static uint64_t config[512];
static char *states, *state_of[STATES];
static int alive[STATES], second_of[STATES];
static size_t held, n_outputs = CELLS;
static long allocs_left = -1; /* then none is given; -1: always */
static int faults, may_fail;

static int fault(const char *text)
{
    printf("%s\n", text);
    return ++faults;
}

static int host_fail(struct weir_ctx *c, const char *format, ...)
{
    va_list args;
    (void)c;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    puts("");
    return -1;
}

static void host_log(struct weir_ctx *c, enum weir_level level, const char *format, ...)
{
    (void)c, (void)level, (void)format;
}

static void *host_alloc(struct weir_ctx *c, size_t size)
{
    (void)c;
    if (allocs_left == 0)
        return NULL;
    allocs_left -= allocs_left > 0;
    held++;
    return calloc(1, size + 1);
}

static void host_free(struct weir_ctx *c, void *p)
{
    (void)c;
    held -= p != NULL;
    free(p);
}

static void host_skip(struct weir_ctx *c, uint32_t reason, uint64_t rows)
{
    (void)c, (void)reason, (void)rows;
}

static void count_outputs(const struct weir_output *o)
{
    for (n_outputs = 0; o[n_outputs].name;)
        n_outputs++;
}

static int host_outputs(struct weir_ctx *c, const struct weir_output *o)
{
    (void)c;
    count_outputs(o);
    return 0;
}

static int host_leave_out(struct weir_ctx *c, uint32_t input)
{
    (void)c, (void)input;
    return 0;
}

static int host_form(struct weir_ctx *c, const char *text)
{
    (void)c, (void)text;
    return 0;
}

static int host_write(struct weir_ctx *c, struct weir_out *o, const void *bytes,
                      size_t n)
{
    (void)c;
    o->data = realloc(o->data, o->size + n + 1);
    memcpy(o->data + o->size, bytes, n);
    o->size += n;
    o->data[o->size] = 0;
    return 0;
}

/* A line of text, as exact as floats are. */
static int host_row(struct weir_ctx *c, struct weir_out *o)
{
    char text[128];
    snprintf(text, sizeof(text), "group %u:", o->base + o->group);
    host_write(c, o, text, strlen(text));
    for (uint32_t i = 0; i < o->n_cells; i++) {
        const struct value *v = &o->cell[i];
        if (v->type == WEIR_FLOAT && v->f == v->f)
            snprintf(text, sizeof(text), " %.17g", v->f == 0 ? 0.0 : v->f);
        else if (v->type == WEIR_INT)
            snprintf(text, sizeof(text), " %lld", (long long)v->i);
        else
            snprintf(text, sizeof(text), v->type == WEIR_STRING ? " '" : " null");
        host_write(c, o, text, strlen(text));
        if (v->type == WEIR_STRING) {
            host_write(c, o, v->s, v->size);
            host_write(c, o, "'", 1);
        }
    }
    host_write(c, o, "\n", 1);
    for (uint32_t i = 0; i < o->n_cells; i++)
        free((void *)(uintptr_t)o->cell[i].s);
    memset(o->cell, 0, sizeof(o->cell));
    o->n_cells = 0;
    return 0;
}

static void end_group(struct weir_ctx *c, struct weir_out *o)
{
    if (o->begun && !(a->flags & WEIR_MANY_ROWS))
        host_row(c, o);
    o->begun = 0;
}

static int host_group(struct weir_ctx *c, struct weir_out *o, size_t i)
{
    end_group(c, o);
    o->begun = 1;
    o->group = (uint32_t)i;
    return 0;
}

static struct value *put(struct weir_out *o, uint32_t cell, uint32_t type)
{
    if (cell >= n_outputs || !o->begun)
        exit(fault("a cell that there is not"));
    o->n_cells = cell >= o->n_cells ? cell + 1 : o->n_cells;
    o->cell[cell].type = type;
    return &o->cell[cell];
}

static int host_put_int(struct weir_ctx *c, struct weir_out *o, uint32_t cell,
                        int64_t v)
{
    (void)c;
    put(o, cell, WEIR_INT)->i = v;
    return 0;
}

static int host_put_float(struct weir_ctx *c, struct weir_out *o, uint32_t cell,
                          double v)
{
    (void)c;
    put(o, cell, WEIR_FLOAT)->f = v;
    return 0;
}

static int host_put_string(struct weir_ctx *c, struct weir_out *o, uint32_t cell,
                           const char *s, size_t size)
{
    struct value *v = put(o, cell, WEIR_STRING);
    char *copy = malloc(size + 1);
    (void)c;
    memcpy(copy, s ? s : "", size);
    v->s = copy;
    v->size = (uint32_t)size;
    return 0;
}

static const struct weir_host host = {.size = sizeof(host),
                                      .fail = host_fail,
                                      .log = host_log,
                                      .alloc = host_alloc,
                                      .free = host_free,
                                      .skip = host_skip,
                                      .outputs = host_outputs,
                                      .group = host_group,
                                      .put_int = host_put_int,
                                      .put_float = host_put_float,
                                      .put_string = host_put_string,
                                      .row = host_row,
                                      .write = host_write,
                                      .leave_out = host_leave_out,
                                      .form = host_form};

/* A copy that can only be read, and that ends where memory does. */
static const void *fenced(const void *p, size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), inner = (size / page + 1) * page;
    char *map = mmap(NULL, inner + page, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(map + inner - size, p, size);
    mprotect(map, inner, PROT_READ);
    mprotect(map + inner, page, PROT_NONE);
    return map + inner - size;
}

/* ---- Steps ------------------------------------------------------------------------------------- */

static const struct weir_cell key = {WEIR_STRING, 1, {.s = "k"}};
static const struct weir_window window_early = {
    sizeof(window_early), 1700000000000000, 1700000060000000, WEIR_EARLY, 1, &key};
static const struct weir_window window_final = {
    sizeof(window_final), 1700000000000000, 1700000060000000, WEIR_FINAL, 1, &key};

struct table { /* rows as columns */
    size_t n;
    const int64_t *time;
    const uint32_t *row; /* where row i is in the columns */
    const struct weir_column *const *in;
};

static size_t stride(void)
{
    return (a->state_size + 15) / 16 * 16 + GUARD;
}

static void check(const char *call, int r)
{
    if (r && !may_fail)
        exit(fault(call));
    for (size_t s = 0; s < STATES; s++)
        for (size_t i = a->state_size; i < stride(); i++)
            if ((unsigned char)states[s * stride() + i] != CANARY) {
                printf("%s wrote outside of a state\n", call);
                exit(1);
            }
}

static void new_state(int s, int second)
{
    memset(state_of[s], 0, a->state_size);
    alive[s] = 1;
    second_of[s] = second;
    if (a->init)
        check("init", a->init(&ctx[second], &window_early, state_of[s]));
}

static void update(int s, size_t groups, const struct table *t, const uint32_t *index,
                   size_t n, int second, int out)
{
    uint32_t row[1024], group[1024];
    struct weir_rows rows = {sizeof(rows), n,      row,
                             group,        states, stride(),
                             t->time,      t->in,  UINT64_C(7) << 16};
    for (size_t i = 0; i < n && i < 1024; i++) {
        row[i] = t->row[index[i]];
        group[i] =
            (uint32_t)((size_t)(state_of[s + (int)(i % groups)] - states) / stride());
    }
    check(out ? "retract" : "update",
          out ? a->retract(&ctx[second], &rows) : a->update(&ctx[second], &rows));
}

/* Rows first, first + by, ..., n of them. */
static void fold(int s, const struct table *t, uint32_t first, uint32_t by, uint32_t n,
                 int second)
{
    uint32_t index[1024];
    for (uint32_t i = 0; i < n && i < 1024; i++)
        index[i] = first + i * by;
    update(s, 1, t, index, n, second, 0);
}

static void take_out(int s, const struct table *t, uint32_t first, uint32_t n)
{
    uint32_t index[1024];
    for (uint32_t i = 0; i < n && i < 1024; i++)
        index[i] = first + i;
    update(s, 1, t, index, n, 0, 1);
}

/* Row i to state s + i % groups, all in one call. */
static void deal(int s, const struct table *t, uint32_t groups)
{
    uint32_t index[1024];
    for (uint32_t i = 0; i < t->n && i < 1024; i++)
        index[i] = i;
    update(s, groups, t, index, t->n, 0, 0);
}

static void drop(int s)
{
    alive[s] = 0;
    if (a->drop)
        a->drop(&ctx[second_of[s]], state_of[s]);
}

static void drop_all(void)
{
    for (int s = 0; s < STATES; s++)
        if (alive[s])
            drop(s);
}

/* States from, from + 1, ..., n of them, into into, into + 1, ... */
static void merge(int into, int from, size_t n)
{
    const struct weir_window *w[STATES];
    void *to[STATES];
    const void *other[STATES];
    for (size_t i = 0; i < n; i++) {
        w[i] = &window_early;
        to[i] = state_of[into + (int)i];
        other[i] = state_of[from + (int)i];
    }
    check("merge", a->merge(&ctx[0], n, w, to, other));
    for (size_t i = 0; i < n; i++)
        drop(from + (int)i);
}

/* Through save and load, to another place. */
static void reload(int s)
{
    struct weir_out out = {0};
    char *old = state_of[s];
    if (a->save)
        check("save", a->save(&ctx[0], old, &out));
    else
        host_write(&ctx[0], &out, old, a->state_size);
    drop(s);
    memset(old, 0x5a, a->state_size);
    state_of[s] = state_of[STATES - 1];
    state_of[STATES - 1] = old;
    new_state(s, 0);
    if (a->load)
        check("load", a->load(&ctx[0], state_of[s], a->state_version,
                              fenced(out.data, out.size), out.size));
    else
        memcpy(state_of[s], out.data, out.size);
    free(out.data);
}

/* What states s to s + n - 1 give, behind `before`. */
static char *give(char *before, int s, size_t n, const struct weir_window *w,
                  int second, unsigned base)
{
    const struct weir_window *windows[STATES];
    const void *state[STATES];
    static struct weir_out out;
    char *copy = malloc(n * a->state_size);
    out = (struct weir_out){
        .data = before, .size = before ? strlen(before) : 0, .base = base};
    for (size_t i = 0; i < n; i++) {
        windows[i] = w;
        state[i] = state_of[s + (int)i];
        memcpy(copy + i * a->state_size, state[i], a->state_size);
    }
    check("emit", a->emit(&ctx[second], n, windows, state, &out));
    end_group(&ctx[second], &out);
    for (size_t i = 0; i < n; i++)
        if (memcmp(copy + i * a->state_size, state[i], a->state_size))
            exit(fault("emit changed a state"));
    host_write(&ctx[second], &out, "", 0);
    free(copy);
    return out.data;
}

/* ---- Parameters, opening, comparing ------------------------------------------------------------ */

static void *member(const char *name)
{
    const struct weir_param *p = a->params;
    while (strcmp(p->name, name) != 0)
        p++;
    return (char *)config + p->offset;
}

static void load_plugin(const char *path)
{
    void *code = dlopen(path, RTLD_NOW);
    const struct weir_entry *e = code ? dlsym(code, "weir_plugin_abi1") : NULL;
    if (!e) {
        printf("%s\n", dlerror());
        exit(2);
    }
    a = e->analyzer;
    if (a->outputs)
        count_outputs(a->outputs);
}

static void open_plugin(const uint32_t *types, size_t n_inputs)
{
    states = aligned_alloc(16, STATES * stride());
    memset(states, CANARY, STATES * stride());
    for (size_t s = 0; s < STATES; s++)
        state_of[s] = states + s * stride();
    for (int i = 0; i < 2; i++) {
        ctx[i] =
            (struct weir_ctx){&host, config, NULL, types, n_inputs, sizeof(ctx[i])};
        if (a->open)
            check("open", a->open(&ctx[i]));
    }
}

static void close_plugin(void)
{
    for (int i = 0; i < 2; i++)
        if (a->close)
            a->close(&ctx[i]);
    if (held)
        fault("memory from alloc was not given back");
}

/* Floats may differ by 1e-9, relative, or absolute below 1, if merging rounds. */
static int same(const char *x, const char *y, int rounded)
{
    while (*x && *y) {
        char *x2, *y2;
        double v = strtod(x, &x2), w = strtod(y, &y2);
        if (x2 == x || y2 == y || !rounded) {
            if (*x++ != *y++)
                return 0;
        } else if (v != w && !(fabs(v - w) <= 1e-9 * fmax(1, fmax(fabs(v), fabs(w))))) {
            return 0;
        } else {
            x = x2;
            y = y2;
        }
    }
    return *x == *y;
}
