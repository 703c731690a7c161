/* _hot.record_times(), merge_records() and data_size(): what is asked of many Records at once. */
#ifndef STREAMSTORE_RECORD_LISTS_H
#define STREAMSTORE_RECORD_LISTS_H

#include "hot.h"

PyObject *ss_record_lists_times(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names);
PyObject *ss_record_lists_merge(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names);
PyObject *ss_record_lists_data_size(PyObject *module, PyObject *records);

#endif
