/* Encrypted records: what there is to decrypt in one, and the record that comes out. */
#ifndef STREAMSTORE_SEALED_RECORD_H
#define STREAMSTORE_SEALED_RECORD_H

#include "hot.h"

/* _hot.sealed_parts() and _hot.open_record(). */
PyObject *ss_sealed_record_parts(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names);
PyObject *ss_sealed_record_open(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names);

#endif
