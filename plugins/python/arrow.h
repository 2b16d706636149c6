/* SPDX-License-Identifier: Apache-2.0
 *
 * Columns as Arrow's C data interface (https://arrow.apache.org/docs/format/CDataInterface.html), through the PyCapsules of its
 * Python side: an object with __arrow_c_array__, which pyarrow, polars and pandas take. The rows are copied when it is asked, so
 * that who keeps them may.
 */
#ifndef WEIR_PYTHON_ARROW_H
#define WEIR_PYTHON_ARROW_H

#include "columns.h"

/* Of rows row[0..n) of the column; `token` is a lent object: once that has ended, nothing is given out. NULL: an exception. */
PyObject *arrow_new(const struct weir_column *in, const uint32_t *row, size_t n,
                    PyObject *token);

#endif
