/* The UserPut class: one user record on its way, and what became of it. streamstore.producer makes futures of it. */
#ifndef STREAMSTORE_USER_PUT_H
#define STREAMSTORE_USER_PUT_H

#include "arguments.h"
#include "hot.h"

extern PyType_Spec ss_user_put_spec;

typedef struct {
    PyObject_HEAD PyObject *data; /* bytes; it and the keys are let go of once the outcome is known */
    PyObject *partition_key;      /* str */
    PyObject *explicit_hash_key;  /* int, or NULL */
    PyObject *home;               /* whose it is */
    PyObject *outcome;            /* NULL until it is known */
    PyObject *tries;              /* list, or NULL */
    PyObject *callbacks;          /* list, or NULL */
    double arrived;               /* monotonic seconds */
    unsigned part;                /* of the aggregate it was stored in */
} ss_user_put;

/* One of a subclass of UserPut; the parts are exactly bytes, str, and int or NULL. */
PyObject *ss_user_put_new(PyTypeObject *type, PyObject *data, PyObject *partition_key, PyObject *explicit_hash_key,
                          PyObject *home, double arrived);
/* Its parts as those of an entry, borrowed. Only before its outcome is known: 0, or -1 with ValueError. */
int ss_user_put_parts(PyObject *self, ss_arguments_parts *parts);
/* _hot.settle(): one outcome for all user records of a Kinesis record. */
PyObject *ss_user_put_settle(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names);

#endif
