/* _hot.take(): the next record of a queue, with the event that says so in the queue's delivery log. */
#ifndef STREAMSTORE_TAKER_H
#define STREAMSTORE_TAKER_H

#include "hot.h"

PyObject *ss_taker_take(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names);

#endif
