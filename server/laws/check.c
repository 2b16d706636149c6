/* SPDX-License-Identifier: Apache-2.0
 *
 * Three generations of processes: laws_check's own, one that loads the plugin, and one for each series of trials.
 */
#include "laws/laws.h"

#include "base/clock.h"
#include "base/logger.h"
#include "laws/choose.h"
#include "laws/dice.h"
#include "laws/example.h"
#include "laws/settings.h"
#include "laws/special.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>

#define COUNT(array)   (sizeof(array) / sizeof(array)[0])
#define LIMIT_S        20u
#define SHRINK_US      (20 * SECOND_US)
#define SHRINK_LIMIT_S 2u
#define SEEDS          2u  /* plans tried on the same rows */
#define SHRINK_SEEDS   24u /* the same while rows are made fewer */
#define NOISE_MAX      4096u

enum status { ALL_WELL, LAW_BROKEN, NOT_TRIED };

struct trial {
    unsigned flavour;
    size_t n;
    uint64_t rows_seed, seed; /* of the rows, of the plan */
};

/* Between the process that tries and the one that waits for it. */
struct shared {
    struct run_report report;
    enum run_verdict verdict;
    bool finished; /* it came to its end by itself */
    struct trial trial;
    unsigned gave_up; /* trials on extreme values */
    char why[256];    /* the text of one of them */
    double group_bytes;
};

#define TAME  (1u << ROWS_TAME | 1u << ROWS_TIES | 1u << ROWS_NULLS)
#define WILD  (1u << ROWS_EXTREMES | 1u << ROWS_HOSTILE)
#define SMALL 40u

/* What is tried: a law of two ways, or a special one. */
struct check {
    const char *name, *help;
    const struct law *law;
    special_fn *special;
    unsigned flavours;
    size_t most; /* rows */
};

static const struct check specials[] = {
    {"many", "ten thousand groups", NULL, special_many, 1u << ROWS_TAME | WILD, SMALL},
    {"leaks", "the same again and again", NULL, special_leaks, 1u << ROWS_TAME, SMALL},
    {"memory", "alloc gives none", NULL, special_memory, 1u << ROWS_TAME, SMALL},
    {"damage", "load gets damaged bytes", NULL, special_damage,
     1u << ROWS_TAME | 1u << ROWS_HOSTILE, SMALL},
    {"threads", "two contexts on two threads", NULL, special_threads, 1u << ROWS_TAME,
     SMALL},
    {"process", "what belongs to the process stays", NULL, special_process,
     1u << ROWS_TAME, SMALL},
};
#define CHECKS_MAX 32

struct checker {
    const struct laws_options *o;
    char name[64];
    struct plugins *plugins;
    const struct plugin *plugin;
    struct choice choice[CHOICES_MAX];
    size_t n_choices;
    struct check check[CHECKS_MAX];
    size_t n_checks;
    struct shared *shared;
    int noise; /* file that standard output and error of a trial go to */
    enum status status;
    bool written; /* a counter-example */
};

/* ---- In the process that tries ----------------------------------------------------------------- */

/* What was written to standard output or error: nothing, or the report of a sanitizer. */
static bool is_quiet(struct checker *c)
{
    fflush(stdout);
    fflush(stderr);
    struct stat st;
    return fstat(c->noise, &st) == 0 && st.st_size == 0;
}

static enum run_verdict try_rows(struct checker *c, const struct check *k,
                                 const struct binding *b, const struct rows *rows,
                                 unsigned flavour, uint64_t seed)
{
    struct run_report *report = &c->shared->report;
    bool compare =
        c->o->exact || !(k->law && k->law->rounded && flavour == ROWS_EXTREMES);
    enum run_verdict v =
        k->law ? run_law(b, k->law, rows, compare, c->o->exact, seed, report)
               : k->special(b, rows, seed, report);
    if (v == RUN_HOLDS && !is_quiet(c)) {
        snprintf(report->said, sizeof(report->said),
                 "something was written to standard output or error");
        return RUN_BROKEN;
    }
    if (v == RUN_GAVE_UP && flavour != ROWS_EXTREMES && flavour != ROWS_HOSTILE) {
        char text[256];
        snprintf(text, sizeof(text), "%.255s", report->said);
        snprintf(report->said, sizeof(report->said),
                 "it stops the pipeline on usual values: %s", text);
        return RUN_BROKEN;
    }
    if (v == RUN_GAVE_UP) {
        c->shared->gave_up++;
        snprintf(c->shared->why, sizeof(c->shared->why), "%.255s", report->said);
        return RUN_HOLDS;
    }
    return v;
}

static enum run_verdict try_trial(struct checker *c, const struct check *k,
                                  const struct binding *b, const struct trial *t)
{
    struct rows rows;
    c->shared->trial = *t;
    if (!rows_make(&rows, (enum rows_flavour)t->flavour, b->types, b->n_inputs, t->n,
                   t->rows_seed))
        return RUN_NO_MEMORY;
    enum run_verdict v = try_rows(c, k, b, &rows, t->flavour, t->seed);
    rows_free(&rows);
    return v;
}

static enum run_verdict try_series(struct checker *c, const struct check *k,
                                   const struct binding *b)
{
    static const size_t sizes[] = {0, 1, 2, 3, 5, 9, 40, 150};
    const unsigned special_sizes = 1u << 0 | 1u << 3 | 1u << 6; /* each takes long */
    enum run_verdict v = RUN_HOLDS;
    for (unsigned flavour = 0; flavour < ROWS_FLAVOURS; flavour++)
        for (size_t i = 0; i < COUNT(sizes); i++)
            for (unsigned s = 0; s < SEEDS; s++) {
                const struct trial t = {flavour, sizes[i],
                                        c->o->seed * 1000 + flavour * 100 + i, s};
                bool skip = !(k->flavours >> flavour & 1) || sizes[i] > k->most ||
                            (k->special && (s > 0 || !(special_sizes >> i & 1)));
                if (v == RUN_HOLDS && !skip)
                    v = try_trial(c, k, b, &t);
            }
    return v;
}

static void become_quiet(const struct checker *c)
{
    int none = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (none >= 0)
        dup2(none, STDIN_FILENO);
    dup2(c->noise, STDOUT_FILENO);
    dup2(c->noise, STDERR_FILENO);
    logger_setup((enum logger_level)(LOGGER_ERROR + 1), false);
}

/* ---- In the process that waits ----------------------------------------------------------------- */

/* What a child that did not finish was ended by. */
static void say_end(struct checker *c, int status)
{
    struct run_report *r = &c->shared->report;
    const char *call = *r->call ? r->call : "no function";
    int number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    r->one[0] = r->other[0] = 0;
    if (number == SIGALRM || number == SIGPROF)
        snprintf(r->said, sizeof(r->said), "%s did not come back", call);
    else if (number == SIGSEGV || number == SIGBUS)
        snprintf(r->said, sizeof(r->said),
                 "%s was ended by signal %d (%s): it used memory that is not its own, "
                 "beyond "
                 "the rows or states it was given, or wrote to what it may only read",
                 call, number, strsignal(number));
    else if (number)
        snprintf(r->said, sizeof(r->said), "%s was ended by signal %d (%s)", call,
                 number, strsignal(number));
    else
        snprintf(r->said, sizeof(r->said), "%s ended the process with status %d", call,
                 WEXITSTATUS(status));
}

struct attempt {
    const struct check *check;
    const struct binding *binding;
    const struct rows *rows; /* NULL: the whole series */
    unsigned flavour;
    unsigned limit_s;
};

static void attempt_here(struct checker *c, const struct attempt *a)
{
    enum run_verdict v = RUN_HOLDS;
    become_quiet(c);
    /* Of processor time; ten times as much where it waits. */
    const struct itimerval cpu = {.it_value.tv_sec = a->limit_s};
    setitimer(ITIMER_PROF, &cpu, NULL);
    alarm(10 * a->limit_s);
    if (!a->rows)
        v = try_series(c, a->check, a->binding);
    for (uint64_t s = 0; a->rows && v == RUN_HOLDS && s < SHRINK_SEEDS; s++) {
        c->shared->trial.seed = s;
        v = try_rows(c, a->check, a->binding, a->rows, a->flavour, s);
    }
    c->shared->verdict = v;
    c->shared->group_bytes = special_group_bytes;
    c->shared->finished = true;
    _exit(0);
}

static enum run_verdict attempt(struct checker *c, const struct attempt *a)
{
    int status;
    memset(&c->shared->report, 0, sizeof(c->shared->report));
    c->shared->finished = false;
    c->shared->verdict = RUN_HOLDS;
    if (ftruncate(c->noise, 0) < 0 || lseek(c->noise, 0, SEEK_SET) < 0)
        return RUN_NO_MEMORY;
    fflush(c->o->to);
    pid_t child = fork();
    if (child < 0)
        return RUN_NO_MEMORY;
    if (child == 0)
        attempt_here(c, a);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (!c->shared->finished) {
        say_end(c, status);
        c->shared->verdict = RUN_BROKEN;
    }
    return c->shared->verdict;
}

/* ---- Fewer and simpler rows -------------------------------------------------------------------- */

struct shrinking {
    struct checker *c;
    struct attempt a;
    struct rows rows; /* the least that break the law so far */
    struct shared best;
    int64_t deadline_us;
};

static bool still_breaks(struct shrinking *s, struct rows *rows)
{
    s->a.rows = rows;
    if (clock_monotonic_us() > s->deadline_us || attempt(s->c, &s->a) != RUN_BROKEN)
        return false;
    s->best = *s->c->shared;
    return true;
}

static bool fewer(struct shrinking *s)
{
    for (size_t n = s->rows.n; n > 0; n /= 2)
        for (size_t first = 0; first + n <= s->rows.n; first += n) {
            struct rows rows;
            if (!rows_without(&rows, &s->rows, first, n))
                return false;
            if (still_breaks(s, &rows)) {
                rows_free(&s->rows);
                s->rows = rows;
                return true;
            }
            rows_free(&rows);
        }
    return false;
}

static bool simpler(struct shrinking *s)
{
    size_t n = s->rows.n * (s->rows.n_inputs + 1);
    for (size_t k = 0; s->rows.n <= 8 && k < n; k++)
        for (unsigned how = 0; how < 3; how++) {
            struct rows rows;
            if (!rows_without(&rows, &s->rows, 0, 0))
                return false;
            if (rows_simplify(&rows, k, how) && still_breaks(s, &rows)) {
                rows_free(&s->rows);
                s->rows = rows;
                if (how < 2)
                    break;
                how--; /* once more so */
                continue;
            }
            rows_free(&rows);
        }
    return false;
}

/* ---- What is said ------------------------------------------------------------------------------ */

static void say_indented(FILE *to, const char *head, const char *text)
{
    for (; *text; text += strcspn(text, "\n"), text += *text != 0)
        fprintf(to, "        %s%.*s\n", head, (int)strcspn(text, "\n"), text);
}

/* The lines of a sanitizer that tell what and where, or the first of whatever it was. */
static void say_noise(struct checker *c)
{
    char text[NOISE_MAX + 1];
    ssize_t n = pread(c->noise, text, NOISE_MAX, 0);
    if (n <= 0)
        return;
    text[n] = 0;
    unsigned lines = 0;
    for (char *line = strtok(text, "\n"); line && lines < 12; line = strtok(NULL, "\n"))
        if (strspn(line, "= \t") != strlen(line)) {
            fprintf(c->o->to, "        | %.200s\n", line);
            lines++;
        }
}

static void say_value(FILE *to, const struct rows_value *v)
{
    if (v->type == WEIR_FLOAT)
        fprintf(to, "%.17g", v->as.f);
    else if (v->type == WEIR_STRING)
        fprintf(to, "'%.*s'%s", v->size < 40 ? (int)v->size : 40, v->as.s,
                v->size > 40 ? "..." : "");
    else if (v->type)
        fprintf(to, "%lld", (long long)v->as.i);
    else
        fputs("null", to);
}

static void say_rows(FILE *to, const struct rows *rows, const struct choice *choice)
{
    for (size_t i = 0; i < rows->n && i < 10; i++) {
        fprintf(to, "        row %zu: time %+.6f s", i,
                (double)(rows->time[i] - ROWS_START_US) / 1e6);
        for (size_t k = 0; k < rows->n_inputs; k++) {
            int column = choice->binding->input[k];
            if (column < 0)
                continue;
            fprintf(to, ", %s ", choice->schema->column[column].name);
            say_value(to, &rows->value[i * rows->n_inputs + k]);
        }
        fputc('\n', to);
    }
}

static void say_counter_example(struct checker *c, const struct check *k,
                                const struct choice *choice, const struct shrinking *s)
{
    struct plan plan = {0};
    const struct law *law = k->law;
    if (!law) /* the calls of any law show it */
        for (size_t i = 0; i < n_laws; i++)
            if (!strcmp(laws[i].name,
                        choice->binding->plugin->analyzer.merge ? "merge" : "save"))
                law = &laws[i];
    if (c->written || !law || c->plugin->analyzer.whole)
        return;
    if (!c->o->program) {
        fputs("        -o FILE writes a program in C that shows it\n", c->o->to);
        c->written = true;
        return;
    }
    if (!plan_make(&plan, law, s->rows.n, s->best.trial.seed))
        return;
    const struct example e = {.path = c->o->path,
                              .law = k->name,
                              .help = k->help,
                              .said = s->best.report.said,
                              .params = choice->text,
                              .binding = choice->binding,
                              .rows = &s->rows,
                              .plan = &plan,
                              .compare = k->law != NULL,
                              .rounded = law->rounded && !c->o->exact,
                              .seed = s->best.trial.seed};
    c->written = example_write(&e, c->o->program);
    plan_free(&plan);
}

static void break_law(struct checker *c, const struct check *k,
                      const struct choice *choice)
{
    FILE *to = c->o->to;
    const struct trial t = c->shared->trial;
    struct shrinking s = {.c = c,
                          .a = {.check = k,
                                .binding = choice->binding,
                                .flavour = t.flavour,
                                .limit_s = SHRINK_LIMIT_S},
                          .best = *c->shared,
                          .deadline_us = clock_monotonic_us() + SHRINK_US};
    c->status = LAW_BROKEN;
    fprintf(to, "FAIL  %-9s %s\n", k->name, choice->text);
    if (!rows_make(&s.rows, (enum rows_flavour)t.flavour, choice->binding->types,
                   choice->binding->n_inputs, t.n, t.rows_seed))
        return;
    while (fewer(&s))
        ;
    simpler(&s);
    s.a.rows = &s.rows; /* once more: what it wrote */
    attempt(c, &s.a);
    fprintf(to, "        %s; with %zu row%s\n", s.best.report.said, s.rows.n,
            s.rows.n == 1 ? "" : "s");
    say_rows(to, &s.rows, choice);
    say_indented(to, "one way:   ", s.best.report.one);
    say_indented(to, "the other: ", s.best.report.other);
    say_noise(c);
    say_counter_example(c, k, choice, &s);
    rows_free(&s.rows);
}

static bool is_tried(const struct checker *c, const struct check *k)
{
    const struct weir_analyzer *a = &c->plugin->analyzer;
    for (size_t i = 0; c->o->except && c->o->except[i]; i++)
        if (!strcmp(c->o->except[i], k->name))
            return false;
    if (a->whole &&
        (k->special == special_many || (k->law && !strcmp(k->name, "save"))))
        return false; /* it has no states */
    if (k->law && k->law->needs & LAW_MERGE)
        return a->merge;
    if (k->law && k->law->needs & LAW_RETRACT)
        return a->retract;
    if (k->special == special_damage)
        return a->save;
    return k->special != special_threads || a->threads == WEIR_THREADS_CTX;
}

/* False: the laws that follow would only say so again. */
static bool try_check(struct checker *c, const struct check *k)
{
    c->shared->gave_up = 0;
    for (size_t i = 0; i < c->n_choices; i++) {
        const struct attempt a = {.check = k,
                                  .binding = c->choice[i].binding,
                                  .limit_s = c->o->limit_s ? c->o->limit_s : LIMIT_S};
        enum run_verdict v = attempt(c, &a);
        bool differs = c->shared->report.one[0];
        if (v == RUN_BROKEN) {
            break_law(c, k, &c->choice[i]);
            return differs && strcmp(k->name, "split") != 0;
        }
        if (v != RUN_HOLDS) {
            fprintf(c->o->to, "      %-9s not tried: out of memory\n", k->name);
            c->status = NOT_TRIED;
            return false;
        }
    }
    fprintf(c->o->to, "ok    %-9s %s", k->name, k->help);
    if (k->special == special_many)
        fprintf(c->o->to, "; %.0f bytes a group", c->shared->group_bytes);
    fputc('\n', c->o->to);
    if (c->shared->gave_up)
        fprintf(c->o->to, "        it stops the pipeline on extreme values: %s\n",
                c->shared->why);
    return true;
}

/* ---- The process that loads the plugin --------------------------------------------------------- */

static void add_checks(struct checker *c)
{
    for (size_t i = 0; i < n_laws; i++)
        c->check[c->n_checks++] = (struct check){.name = laws[i].name,
                                                 .help = laws[i].help,
                                                 .law = &laws[i],
                                                 .flavours = TAME | WILD,
                                                 .most = SIZE_MAX};
    for (size_t i = 0; i < COUNT(specials); i++)
        c->check[c->n_checks++] = specials[i];
}

/* Libraries that compute begin threads of their own, as many as there are cores, where numpy is imported or a sum is
 * made: those are no doing of an analyzer, and processes that are forked by the dozen have no use for them. */
static void hold_libraries(void)
{
    static const char *const count[] = {"OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS",
                                        "MKL_NUM_THREADS"};
    for (size_t i = 0; i < COUNT(count); i++)
        setenv(count[i], "1", false);
}

/* NAME of FOLDER/NAME.so. */
static bool split_path(struct checker *c, char **ret_folder)
{
    const char *slash = strrchr(c->o->path, '/'),
               *file = slash ? slash + 1 : c->o->path;
    size_t size = strlen(file);
    if (size < 4 || strcmp(file + size - 3, ".so") != 0 || size - 3 >= sizeof(c->name))
        return false;
    snprintf(c->name, sizeof(c->name), "%.*s", (int)(size - 3), file);
    *ret_folder = slash ? strndup(c->o->path,
                                  (size_t)(slash - c->o->path) + (slash == c->o->path))
                        : strdup(".");
    return *ret_folder;
}

static bool load_plugin(struct checker *c, char *folder)
{
    static char before[16384], after[16384];
    char *const folders[] = {folder, NULL};
    struct error error = {""};
    struct plugin *plugin;
    char text[256];
    unsetenv("WEIR_PLUGIN_PATH"); /* this file, not one of the same name */
    hold_libraries();
    settings_text(before, sizeof(before));
    int r = plugins_new(folders, &c->plugins);
    if (r == 0)
        r = plugins_get(c->plugins, c->name, &plugin, &error);
    settings_text(after, sizeof(after));
    if (r == 0 && settings_differ(before, after, text, sizeof(text))) {
        r = -EINVAL;
        error_set(&error, r,
                  "when it is loaded, it changes what belongs to the process: %s",
                  text);
    }
    if (r < 0) {
        fprintf(c->o->to, "FAIL  load      %s\n", error.text);
        c->status = LAW_BROKEN;
        return false;
    }
    c->plugin = plugin;
    fprintf(c->o->to, "ok    load      ABI %d, symbols, tables\n", WEIR_ABI);
    r = choices_new(c->plugins, c->name, c->o->with, c->choice, &c->n_choices, &error);
    if (r < 0) {
        fprintf(c->o->to, "      %s; --with gives parameters\n", error.text);
        c->status = NOT_TRIED;
    }
    return r == 0;
}

/* Does open take the parameters? Those that were chosen by its declaration it may refuse. */
static enum run_verdict open_only(const struct binding *b, const struct rows *rows,
                                  uint64_t seed, struct run_report *report)
{
    struct runner r;
    (void)seed;
    run_open(&r, b, rows, report, true);
    return run_close(&r);
}

static void keep_choices(struct checker *c)
{
    const struct check k = {"open", "", NULL, open_only, 1u << ROWS_HOSTILE, 0};
    size_t n = 0;
    char why[256] = "";
    for (size_t i = 0; i < c->n_choices; i++) {
        const struct attempt a = {
            .check = &k, .binding = c->choice[i].binding, .limit_s = LIMIT_S};
        struct choice choice = c->choice[i];
        c->shared->gave_up = 0;
        bool good = attempt(c, &a) == RUN_HOLDS && !c->shared->gave_up;
        if (good || !c->shared->finished || (c->shared->verdict == RUN_BROKEN)) {
            if (!good) {
                fprintf(c->o->to, "FAIL  open      %s\n        %s\n", choice.text,
                        c->shared->report.said);
                c->status = LAW_BROKEN;
            }
            c->choice[i] = c->choice[n];
            c->choice[n++] = choice;
            continue;
        }
        snprintf(why, sizeof(why), "%s", c->shared->why);
    }
    c->n_choices = n;
    if (n == 0) {
        fprintf(c->o->to,
                "      its open refuses the parameters that were chosen: %s; --with "
                "gives others\n",
                why);
        c->status = NOT_TRIED;
    }
    for (size_t i = 0; i < n; i++)
        fprintf(c->o->to, "      with      %s\n", c->choice[i].text);
}

static enum status check_plugin(const struct laws_options *o)
{
    struct checker c = {.o = o};
    char *folder = NULL;
    if (!split_path(&c, &folder)) {
        fprintf(o->to, "'%s' is not the name of a plugin, FOLDER/NAME.so\n", o->path);
        return NOT_TRIED;
    }
    c.noise = memfd_create("noise", MFD_CLOEXEC);
    c.shared = mmap(NULL, sizeof(*c.shared), PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (c.noise < 0 || c.shared == MAP_FAILED) {
        fputs("out of memory\n", o->to);
        return NOT_TRIED;
    }
    add_checks(&c);
    if (load_plugin(&c, folder))
        keep_choices(&c);
    bool go_on = c.status == ALL_WELL;
    for (size_t i = 0; go_on && i < c.n_checks; i++)
        if (is_tried(&c, &c.check[i]))
            go_on = try_check(&c, &c.check[i]);
    return c.status;
}

int laws_check(const struct laws_options *o)
{
    int status;
    fflush(o->to);
    if (o->program)
        fflush(o->program);
    pid_t child = fork();
    if (child < 0) {
        fprintf(o->to, "cannot start a process: %s\n", strerror(errno));
        return NOT_TRIED;
    }
    if (child == 0) {
        enum status s = check_plugin(o);
        fflush(o->to);
        if (o->program)
            fflush(o->program);
        _exit(s);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    fprintf(o->to,
            "FAIL  load      it was ended by signal %d (%s) when it was loaded\n",
            WTERMSIG(status), strsignal(WTERMSIG(status)));
    return LAW_BROKEN;
}

bool laws_has(const char *name)
{
    for (size_t i = 0; i < n_laws; i++)
        if (!strcmp(laws[i].name, name))
            return true;
    for (size_t i = 0; i < COUNT(specials); i++)
        if (!strcmp(specials[i].name, name))
            return true;
    return false;
}

void laws_list(FILE *to)
{
    for (size_t i = 0; i < n_laws; i++)
        fprintf(to, "  %-9s %s\n", laws[i].name, laws[i].help);
    for (size_t i = 0; i < COUNT(specials); i++)
        fprintf(to, "  %-9s %s\n", specials[i].name, specials[i].help);
}
