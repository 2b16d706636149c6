/* SPDX-License-Identifier: Apache-2.0
 *
 * weir/shard.h for Java: the native methods of weir.flink.Native. Arrays are copied in and out; a handle is the pointer.
 */
#include "weir/shard.h"

#include <jni.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Between the two worlds ----------------------------------------------------------------------- */

/* Texts are UTF-8; those that NewStringUTF would not take have characters beyond the BMP, and zeros: such are cut out. */
static jstring java_text(JNIEnv *env, const char *text)
{
    char copy[1024];
    size_t n = 0;
    for (; *text && n + 1 < sizeof(copy); text++)
        copy[n++] = (unsigned char)*text < 0x80 ? *text : '?';
    copy[n] = '\0';
    return (*env)->NewStringUTF(env, copy);
}

static void throw_error(JNIEnv *env, const struct weir_shard_error *error)
{
    jclass class = (*env)->FindClass(env, "weir/flink/WeirException");
    jmethodID make =
        class ? (*env)->GetMethodID(env, class, "<init>", "(Ljava/lang/String;)V")
              : NULL;
    jstring text = make ? java_text(env, error->text) : NULL;
    jobject thrown = text ? (*env)->NewObject(env, class, make, text) : NULL;
    if (thrown)
        (*env)->Throw(env, thrown);
}

static void throw_no_memory(JNIEnv *env)
{
    jclass class = (*env)->FindClass(env, "java/lang/OutOfMemoryError");
    if (class)
        (*env)->ThrowNew(env, class, "weir has no memory");
}

static void *pointer(jlong handle)
{
    return (void *)(intptr_t)handle;
}

/* A new array of Java's; `fill` writes it. NULL: an exception is on its way. */
static jbyteArray new_array(JNIEnv *env, const void *bytes, size_t size)
{
    if (size > INT32_MAX) {
        throw_error(env, &(const struct weir_shard_error){
                             "more than 2 GiB at once are no array of Java"});
        return NULL;
    }
    jbyteArray array = (*env)->NewByteArray(env, (jsize)size);
    if (array && size)
        (*env)->SetByteArrayRegion(env, array, 0, (jsize)size, bytes);
    return array;
}

static jlongArray new_longs(JNIEnv *env, const uint64_t *value, jsize n)
{
    jlongArray array = (*env)->NewLongArray(env, n);
    if (array)
        (*env)->SetLongArrayRegion(env, array, 0, n, (const jlong *)value);
    return array;
}

/* Bytes one behind the other. */
struct packed {
    char *data;
    size_t size;
};

static void pack(struct packed *p, const void *bytes, size_t size)
{
    if (size)
        memcpy(p->data + p->size, bytes, size);
    p->size += size;
}

static void pack_int(struct packed *p, size_t value)
{
    const int32_t v = (int32_t)value;
    pack(p, &v, sizeof(v));
}

/* As an array; what is packed is freed. */
static jbyteArray take_packed(JNIEnv *env, struct packed *p)
{
    jbyteArray array = new_array(env, p->data, p->size);
    free(p->data);
    return array;
}

/* ---- Options -------------------------------------------------------------------------------------- */

struct given {
    struct weir_shard_options options;
    jstring file, pipeline, program; /* program NULL: it is not known */
    jbyteArray config;
};

static const char *text_of(JNIEnv *env, jstring text)
{
    return text ? (*env)->GetStringUTFChars(env, text, NULL) : NULL;
}

static void free_text(JNIEnv *env, jstring text, const char *bytes)
{
    if (bytes)
        (*env)->ReleaseStringUTFChars(env, text, bytes);
}

/* False: there is no memory, and an exception is on its way. */
static bool take(JNIEnv *env, struct given *g, jint parts)
{
    struct weir_shard_options *o = &g->options;
    o->parts = parts < 0 ? 0 : (uint32_t)parts;
    o->file = text_of(env, g->file);
    o->pipeline = o->file ? text_of(env, g->pipeline) : NULL;
    o->program = o->pipeline ? text_of(env, g->program) : NULL;
    if (!o->pipeline || (g->program && !o->program))
        return false;
    o->config_size = (size_t)(*env)->GetArrayLength(env, g->config);
    o->config = (const char *)(*env)->GetByteArrayElements(env, g->config, NULL);
    return o->config;
}

static void give_back(JNIEnv *env, const struct given *g)
{
    const struct weir_shard_options *o = &g->options;
    free_text(env, g->file, o->file);
    free_text(env, g->pipeline, o->pipeline);
    free_text(env, g->program, o->program);
    if (o->config)
        (*env)->ReleaseByteArrayElements(env, g->config, (jbyte *)(uintptr_t)o->config,
                                         JNI_ABORT);
}

/* ---- Router --------------------------------------------------------------------------------------- */

JNIEXPORT jlong JNICALL Java_weir_flink_Native_routerOpen(JNIEnv *env, jclass class,
                                                          jstring file,
                                                          jbyteArray config,
                                                          jstring pipeline, jint parts,
                                                          jstring program)
{
    (void)class;
    struct weir_shard_error error;
    struct weir_router *router = NULL;
    struct given g = {
        .file = file, .config = config, .pipeline = pipeline, .program = program};
    if (take(env, &g, parts) && weir_router_open(&g.options, &router, &error) < 0)
        throw_error(env, &error);
    give_back(env, &g);
    return (jlong)(intptr_t)router;
}

JNIEXPORT void JNICALL Java_weir_flink_Native_routerClose(JNIEnv *env, jclass class,
                                                          jlong router)
{
    (void)env, (void)class;
    weir_router_close(pointer(router));
}

static jbyteArray pack_pieces(JNIEnv *env, const struct weir_piece *piece, size_t n)
{
    size_t size = 0;
    for (size_t i = 0; i < n; i++)
        size += 2 * sizeof(int32_t) + sizeof(int64_t) + piece[i].size;
    struct packed p = {.data = malloc(size + 1)};
    if (!p.data) {
        throw_no_memory(env);
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        pack(&p, &piece[i].part, sizeof(int32_t));
        pack_int(&p, piece[i].size);
        pack(&p, &piece[i].watermark_us, sizeof(int64_t));
        pack(&p, piece[i].bytes, piece[i].size);
    }
    return take_packed(env, &p);
}

JNIEXPORT jbyteArray JNICALL
Java_weir_flink_Native_routerRead(JNIEnv *env, jclass class, jlong router,
                                  jlong newest_us, jbyteArray lines, jint size)
{
    (void)class;
    struct weir_shard_error error;
    const struct weir_piece *piece;
    size_t n;
    jbyte *bytes = (*env)->GetByteArrayElements(env, lines, NULL);
    if (!bytes)
        return NULL;
    weir_router_go_on(pointer(router), newest_us);
    int err =
        weir_router_read(pointer(router), bytes, (size_t)size, &piece, &n, &error);
    (*env)->ReleaseByteArrayElements(env, lines, bytes, JNI_ABORT);
    if (err < 0) {
        throw_error(env, &error);
        return NULL;
    }
    return pack_pieces(env, piece, n);
}

JNIEXPORT jbyteArray JNICALL Java_weir_flink_Native_routerReadMessages(
    JNIEnv *env, jclass class, jlong router, jlong newest_us, jbyteArray messages,
    jintArray sizes, jint n_messages)
{
    (void)class;
    struct weir_shard_error error;
    const struct weir_piece *piece;
    size_t n;
    jbyte *bytes = (*env)->GetByteArrayElements(env, messages, NULL);
    jint *size = bytes ? (*env)->GetIntArrayElements(env, sizes, NULL) : NULL;
    int err = -1; /* an exception is on its way */
    if (size) {
        weir_router_go_on(pointer(router), newest_us);
        err = weir_router_read_messages(pointer(router), bytes, (const uint32_t *)size,
                                        (size_t)n_messages, &piece, &n, &error);
        (*env)->ReleaseIntArrayElements(env, sizes, size, JNI_ABORT);
        if (err < 0)
            throw_error(env, &error);
    }
    if (bytes)
        (*env)->ReleaseByteArrayElements(env, messages, bytes, JNI_ABORT);
    return err < 0 ? NULL : pack_pieces(env, piece, n);
}

JNIEXPORT jlong JNICALL Java_weir_flink_Native_routerNewest(JNIEnv *env, jclass class,
                                                            jlong router)
{
    (void)env, (void)class;
    return weir_router_newest(pointer(router));
}

JNIEXPORT jlongArray JNICALL Java_weir_flink_Native_routerCount(JNIEnv *env,
                                                                jclass class,
                                                                jlong router)
{
    (void)class;
    struct weir_router_figures f;
    weir_router_count(pointer(router), &f);
    const uint64_t value[] = {f.events, f.rejected, f.null_keys, f.long_keys};
    return new_longs(env, value, sizeof(value) / sizeof(value[0]));
}

JNIEXPORT jstring JNICALL Java_weir_flink_Native_routerRejected(JNIEnv *env,
                                                                jclass class,
                                                                jlong router)
{
    (void)class;
    struct weir_router_figures f;
    weir_router_count(pointer(router), &f);
    return java_text(env, f.last_rejected);
}

/* ---- Shard ---------------------------------------------------------------------------------------- */

JNIEXPORT jlong JNICALL Java_weir_flink_Native_shardOpen(JNIEnv *env, jclass class,
                                                         jstring file,
                                                         jbyteArray config,
                                                         jstring pipeline, jint parts,
                                                         jstring program)
{
    (void)class;
    struct weir_shard_error error;
    struct weir_shard *shard = NULL;
    struct given g = {
        .file = file, .config = config, .pipeline = pipeline, .program = program};
    if (take(env, &g, parts) && weir_shard_open(&g.options, &shard, &error) < 0)
        throw_error(env, &error);
    give_back(env, &g);
    return (jlong)(intptr_t)shard;
}

JNIEXPORT void JNICALL Java_weir_flink_Native_shardClose(JNIEnv *env, jclass class,
                                                         jlong shard)
{
    (void)env, (void)class;
    weir_shard_close(pointer(shard));
}

/* weir_shard_fold or weir_shard_load. */
static void hand_over(JNIEnv *env, jlong shard, jbyteArray array,
                      int (*to)(struct weir_shard *s, const void *bytes, size_t size,
                                struct weir_shard_error *error))
{
    struct weir_shard_error error;
    jbyte *bytes = (*env)->GetByteArrayElements(env, array, NULL);
    if (!bytes)
        return;
    int err =
        to(pointer(shard), bytes, (size_t)(*env)->GetArrayLength(env, array), &error);
    (*env)->ReleaseByteArrayElements(env, array, bytes, JNI_ABORT);
    if (err < 0)
        throw_error(env, &error);
}

JNIEXPORT void JNICALL Java_weir_flink_Native_shardFold(JNIEnv *env, jclass class,
                                                        jlong shard, jbyteArray rows)
{
    (void)class;
    hand_over(env, shard, rows, weir_shard_fold);
}

JNIEXPORT void JNICALL Java_weir_flink_Native_shardLoad(JNIEnv *env, jclass class,
                                                        jlong shard, jbyteArray part)
{
    (void)class;
    hand_over(env, shard, part, weir_shard_load);
}

JNIEXPORT void JNICALL Java_weir_flink_Native_shardAdvance(JNIEnv *env, jclass class,
                                                           jlong shard,
                                                           jlong watermark_us)
{
    (void)class;
    struct weir_shard_error error;
    if (weir_shard_advance(pointer(shard), watermark_us, &error) < 0)
        throw_error(env, &error);
}

JNIEXPORT void JNICALL Java_weir_flink_Native_shardEnd(JNIEnv *env, jclass class,
                                                       jlong shard)
{
    (void)class;
    struct weir_shard_error error;
    if (weir_shard_end(pointer(shard), &error) < 0)
        throw_error(env, &error);
}

JNIEXPORT jbyteArray JNICALL Java_weir_flink_Native_shardRows(JNIEnv *env, jclass class,
                                                              jlong shard)
{
    (void)class;
    struct weir_shard_error error;
    const struct weir_shard_row *row;
    size_t n, size = 0;
    if (weir_shard_rows(pointer(shard), &row, &n, &error) < 0) {
        throw_error(env, &error);
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        size += 2 * sizeof(int32_t) + strlen(row[i].table) + row[i].size;
    struct packed p = {.data = malloc(size + 1)};
    if (!p.data) {
        throw_no_memory(env);
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        const size_t name = strlen(row[i].table);
        pack_int(&p, name);
        pack(&p, row[i].table, name);
        pack_int(&p, row[i].size);
        pack(&p, row[i].json, row[i].size);
    }
    return take_packed(env, &p);
}

/* ---- Tables, and rows as columns -------------------------------------------------------------------- */

static jbyteArray pack_columns(JNIEnv *env, const struct weir_shard_columns *c,
                               size_t n_columns)
{
    const size_t n = c->n_rows;
    size_t size = 2 * sizeof(int32_t);
    for (size_t i = 0; i < n_columns; i++) {
        const struct weir_shard_values *v = &c->column[i];
        size += n + 8 * (n + 1) + (v->values ? 0 : v->offsets[n]);
    }
    struct packed p = {.data = malloc(size)};
    if (!p.data) {
        throw_no_memory(env);
        return NULL;
    }
    pack_int(&p, c->table);
    pack_int(&p, n);
    for (size_t i = 0; i < n_columns; i++) {
        const struct weir_shard_values *v = &c->column[i];
        pack(&p, v->null, n);
        if (v->values) {
            pack(&p, v->values, 8 * n);
        } else {
            pack(&p, v->offsets, sizeof(uint32_t) * (n + 1));
            pack(&p, v->bytes, v->offsets[n]);
        }
    }
    return take_packed(env, &p);
}

JNIEXPORT jbyteArray JNICALL Java_weir_flink_Native_shardNext(JNIEnv *env, jclass class,
                                                              jlong shard, jint most)
{
    (void)class;
    struct weir_shard_error error;
    const struct weir_shard_columns *c;
    size_t n;
    const struct weir_shard_table *table = weir_shard_tables(pointer(shard), &n);
    if (weir_shard_next(pointer(shard), (size_t)most, &c, &error) < 0) {
        throw_error(env, &error);
        return NULL;
    }
    return c ? pack_columns(env, c, table[c->table].n_columns) : NULL;
}

/* Names have no line ends, as they are names of SQL. */
static size_t table_lines(const struct weir_shard_table *t, char *to, size_t room)
{
    size_t size = (size_t)snprintf(to, room, "%s %zu\n", t->name, t->n_columns);
    for (size_t i = 0; i < t->n_columns; i++) {
        const struct weir_shard_column *c = &t->column[i];
        size += (size_t)snprintf(size < room ? to + size : NULL,
                                 size < room ? room - size : 0, "%u %u %s\n", c->type,
                                 c->flags, c->name);
    }
    return size;
}

JNIEXPORT jbyteArray JNICALL Java_weir_flink_Native_shardTables(JNIEnv *env,
                                                                jclass class,
                                                                jlong shard)
{
    (void)class;
    size_t n, size = 1;
    const struct weir_shard_table *table = weir_shard_tables(pointer(shard), &n);
    for (size_t i = 0; i < n; i++)
        size += table_lines(&table[i], NULL, 0);
    struct packed p = {.data = malloc(size)};
    if (!p.data) {
        throw_no_memory(env);
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        p.size += table_lines(&table[i], p.data + p.size, size - p.size);
    return take_packed(env, &p);
}

JNIEXPORT jbyteArray JNICALL Java_weir_flink_Native_shardSettings(JNIEnv *env,
                                                                  jclass class,
                                                                  jlong shard)
{
    (void)class;
    size_t n, size = 1;
    const struct weir_shard_setting *s = weir_shard_settings(pointer(shard), &n);
    for (size_t i = 0; i < n; i++)
        size += strlen(s[i].name) + strlen(s[i].value) + 2;
    struct packed p = {.data = malloc(size)};
    if (!p.data) {
        throw_no_memory(env);
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        pack(&p, s[i].name, strlen(s[i].name) + 1);
        pack(&p, s[i].value, strlen(s[i].value) + 1);
    }
    return take_packed(env, &p);
}

/* ---- States --------------------------------------------------------------------------------------- */

JNIEXPORT void JNICALL Java_weir_flink_Native_shardSave(JNIEnv *env, jclass class,
                                                        jlong shard)
{
    (void)class;
    struct weir_shard_error error;
    if (weir_shard_save(pointer(shard), &error) < 0)
        throw_error(env, &error);
}

JNIEXPORT jbyteArray JNICALL Java_weir_flink_Native_shardSaved(JNIEnv *env,
                                                               jclass class,
                                                               jlong shard, jint part)
{
    (void)class;
    size_t size;
    const void *bytes = weir_shard_saved(pointer(shard), (uint32_t)part, &size);
    return new_array(env, bytes, size);
}

JNIEXPORT jlongArray JNICALL Java_weir_flink_Native_shardCount(JNIEnv *env,
                                                               jclass class,
                                                               jlong shard)
{
    (void)class;
    struct weir_shard_figures f;
    weir_shard_count(pointer(shard), &f);
    const uint64_t value[] = {f.events,       f.late,          f.filtered,
                              f.where_errors, f.derive_errors, f.over_groups,
                              f.rows,         f.groups,        f.state_bytes};
    return new_longs(env, value, sizeof(value) / sizeof(value[0]));
}
