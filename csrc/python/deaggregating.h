/* _hot.deaggregate() and _hot.deaggregate_records(): user records out of bytes, and out of Records. */
#ifndef STREAMSTORE_DEAGGREGATING_H
#define STREAMSTORE_DEAGGREGATING_H

#include "hot.h"

PyObject *ss_deaggregating_bytes(PyObject *module, PyObject *data);
PyObject *ss_deaggregating_records(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names);

#endif
