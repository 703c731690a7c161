/* _hot.get() and _hot.next(): the record at one place of a log. */
#ifndef STREAMSTORE_GETTER_H
#define STREAMSTORE_GETTER_H

#include "hot.h"

PyObject *ss_getter_get(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names);
PyObject *ss_getter_next(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names);

#endif
