/* _hot.own() and _hot.disown(): memory of the core as a Python object that frees it with its last reference. */
#ifndef STREAMSTORE_OWNER_H
#define STREAMSTORE_OWNER_H

#include "hot.h"

PyObject *ss_owner_own(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names);
PyObject *ss_owner_disown(PyObject *module, PyObject *owner);

#endif
