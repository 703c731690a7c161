/* _hot.make_record(): a Record from its parts instead of from a log; pickle calls it, and so does what rebuilds
 * records. */
#ifndef STREAMSTORE_MAKE_RECORD_H
#define STREAMSTORE_MAKE_RECORD_H

#include "hot.h"

PyObject *ss_make_record(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names);

#endif
