/* _hot.append() and _hot.visible(): one event at the end of a log that several processes fold, if nobody was faster;
 * where that end is. */
#ifndef STREAMSTORE_APPENDER_H
#define STREAMSTORE_APPENDER_H

#include "hot.h"

PyObject *ss_appender_append(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names);
PyObject *ss_appender_visible(PyObject *module, PyObject *log);

#endif
