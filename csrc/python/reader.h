/* _hot.read(): records of one log, from a position on. */
#ifndef STREAMSTORE_READER_H
#define STREAMSTORE_READER_H

#include "hot.h"

PyObject *ss_reader_read(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names);
/* Free the array kept between reads. */
void ss_reader_forget(ss_hot_state *state);

#endif
