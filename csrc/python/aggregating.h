/* _hot.aggregate(): user records into as few Kinesis records as they fit. */
#ifndef STREAMSTORE_AGGREGATING_H
#define STREAMSTORE_AGGREGATING_H

#include "hot.h"

PyObject *ss_aggregating(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names);

#endif
