/* Target.put_records(): a batch over one or many shards. */
#ifndef STREAMSTORE_PUT_BATCH_H
#define STREAMSTORE_PUT_BATCH_H

#include "hot.h"

PyObject *ss_put_batch(PyObject *target, PyObject *const *args, Py_ssize_t arg_count, PyObject *names);

#endif
