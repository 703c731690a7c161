/* The UserRecord class: one user record out of an aggregate, or the data of a record that is none. */
#ifndef STREAMSTORE_USER_RECORD_H
#define STREAMSTORE_USER_RECORD_H

#include "../aggregate.h"
#include "hot.h"

extern PyType_Spec ss_user_record_spec;

/* A new UserRecord that points into `chunk`, exactly bytes; offsets count from its start and lie inside it. */
PyObject *ss_user_record_new(ss_hot_state *state, PyObject *chunk, const ss_aggregate_record *fields);
/* The whole of `chunk` as data, with no key. */
PyObject *ss_user_record_plain(ss_hot_state *state, PyObject *chunk);
/* _hot.make_user_record(): from its parts, as pickle calls it. */
PyObject *ss_user_record_make(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names);

#endif
