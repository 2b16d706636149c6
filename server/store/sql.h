/* SPDX-License-Identifier: Apache-2.0
 *
 * The texts of sql/, compiled in by sql/embed.sh.
 */
#ifndef WEIR_STORE_SQL_H
#define WEIR_STORE_SQL_H

extern const char sql_0001_tables[];
extern const char sql_0002_dead_letters[];
extern const char sql_0003_checkpoints[];
extern const char sql_0004_hooks[];
extern const char sql_0005_bookmarks[];
extern const char sql_0006_answers[];
extern const char sql_0007_carried[];
extern const char sql_0008_published[];
extern const char sql_bookmark_put[];
extern const char sql_checkpoint_put[];
extern const char sql_column_put[];
extern const char sql_dead_letter_put[];
extern const char sql_pipeline_put[];
extern const char sql_request_forget[];
extern const char sql_request_put[];
extern const char sql_stream_put[];
extern const char sql_table_put[];

#endif
