/* The UserPut class. Thousands are made and settled in a millisecond, so making one is one allocation, and the garbage
 * collector is not told of it: until somebody hangs a list on it, nothing that it refers to can refer back. (Its home
 * does while it is outstanding, and it never is for ever.) */
#include "user_put.h"

#include <stddef.h>

PyObject *ss_user_put_new(PyTypeObject *type, PyObject *data, PyObject *partition_key, PyObject *explicit_hash_key,
                          PyObject *home, double arrived)
{
    ss_user_put *put = (ss_user_put *)PyType_GenericAlloc(type, 0); /* zeroed */
    if (put == NULL)
        return NULL;
    PyObject_GC_UnTrack(put);
    Py_INCREF(data);
    Py_INCREF(partition_key);
    Py_XINCREF(explicit_hash_key);
    Py_INCREF(home);
    put->data = data;
    put->partition_key = partition_key;
    put->explicit_hash_key = explicit_hash_key;
    put->home = home;
    put->arrived = arrived;
    return (PyObject *)put;
}

int ss_user_put_parts(PyObject *self, ss_arguments_parts *parts)
{
    const ss_user_put *put = (const ss_user_put *)self;
    if (put->data == NULL) {
        PyErr_SetString(PyExc_ValueError, "this user record is settled");
        return -1;
    }
    parts->data = put->data;
    parts->partition_key = put->partition_key;
    parts->explicit_hash_key = put->explicit_hash_key;
    parts->attribute_block = NULL;
    return 0;
}

static void let_go(ss_user_put *put)
{
    Py_CLEAR(put->data);
    Py_CLEAR(put->partition_key);
    Py_CLEAR(put->explicit_hash_key);
}

static int user_put_traverse(PyObject *self, visitproc visit, void *arg)
{
    const ss_user_put *put = (const ss_user_put *)self;
    Py_VISIT(put->home);
    Py_VISIT(put->outcome);
    Py_VISIT(put->tries);
    Py_VISIT(put->callbacks);
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static int user_put_clear(PyObject *self)
{
    ss_user_put *put = (ss_user_put *)self;
    Py_CLEAR(put->home);
    Py_CLEAR(put->outcome);
    Py_CLEAR(put->tries);
    Py_CLEAR(put->callbacks);
    return 0;
}

static void user_put_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    let_go((ss_user_put *)self);
    user_put_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

/* From now on it may be part of a cycle. */
static int set_object(PyObject *self, PyObject *value, size_t offset)
{
    PyObject **slot = (PyObject **)(void *)((char *)self + offset), *old = *slot;
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "it cannot be deleted");
        return -1;
    }
    PyObject_GC_UnTrack(self);
    PyObject_GC_Track(self);
    Py_INCREF(value);
    *slot = value;
    Py_XDECREF(old);
    return 0;
}

static PyObject *get_object(PyObject *self, void *closure)
{
    PyObject *value = *(PyObject **)(void *)((char *)self + *(const size_t *)closure);
    if (value == NULL)
        Py_RETURN_NONE;
    Py_INCREF(value);
    return value;
}

static int replace_object(PyObject *self, PyObject *value, void *closure)
{
    return set_object(self, value, *(const size_t *)closure);
}

/* (bytes of data, tries before, those with callbacks or None) */
PyObject *ss_user_put_settle(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names)
{
    static const char *const parameters[] = {"puts", "outcome", NULL};
    static const ss_arguments_signature signature = {"settle", parameters, 2, 2};
    const ss_hot_state *state = PyModule_GetState(module);
    PyObject *values[2], *waited_for = NULL;
    Py_ssize_t size = 0, tries = 0;
    if (ss_arguments_bind(&signature, args, arg_count, names, values) < 0)
        return NULL;
    if (!PyList_Check(values[0])) {
        PyErr_SetString(PyExc_TypeError, "puts must be a list");
        return NULL;
    }
    for (Py_ssize_t i = 0; i < PyList_Size(values[0]); i++) {
        PyObject *item = PyList_GetItem(values[0], i);
        if (!PyObject_TypeCheck(item, state->user_put_type)) {
            Py_XDECREF(waited_for);
            PyErr_Format(PyExc_TypeError, "puts must hold UserPut, not %R", (PyObject *)Py_TYPE(item));
            return NULL;
        }
        ss_user_put *put = (ss_user_put *)item;
        size += put->data == NULL ? 0 : PyBytes_Size(put->data);
        tries += put->tries == NULL ? 0 : PyList_Size(put->tries);
        put->part = (unsigned)i;
        PyObject *old = put->outcome;
        Py_INCREF(values[1]);
        put->outcome = values[1];
        Py_XDECREF(old);
        let_go(put);
        /* Looked at after the outcome is there: who hangs a callback on it later sees that. */
        if (put->callbacks != NULL &&
            ((waited_for == NULL && (waited_for = PyList_New(0)) == NULL) || PyList_Append(waited_for, item) < 0)) {
            Py_XDECREF(waited_for);
            return NULL;
        }
    }
    if (waited_for == NULL) {
        Py_INCREF(Py_None);
        waited_for = Py_None;
    }
    return Py_BuildValue("(nnN)", size, tries, waited_for);
}

#define OFFSET(field) \
    (void *)(size_t *)&(size_t) \
    { \
        offsetof(ss_user_put, field) \
    }
#define PART(name, field, text) {name, get_object, NULL, PyDoc_STR(text), OFFSET(field)}
#define STATE(name, field, text) {name, get_object, replace_object, PyDoc_STR(text), OFFSET(field)}
static PyGetSetDef getters[] = {
    PART("_data", data, "The bytes; None once settled."),
    PART("_partition_key", partition_key, "The partition key; None once settled."),
    PART("_explicit_hash_key", explicit_hash_key, "The explicit hash key, or None."),
    PART("_home", home, "Whose it is."),
    STATE("_outcome", outcome, "What became of it; None until that is known."),
    STATE("_tries", tries, "The tries that failed, or None."),
    STATE("_callbacks", callbacks, "Whom to call, or None."),
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef members[] = {
    {"_arrived", T_DOUBLE, (Py_ssize_t)offsetof(ss_user_put, arrived), READONLY, PyDoc_STR("When it was put.")},
    {"_part", T_UINT, (Py_ssize_t)offsetof(ss_user_put, part), READONLY, PyDoc_STR("Its place in its aggregate.")},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, SS_HOT_SLOT("One user record on its way.")},
    {Py_tp_dealloc, SS_HOT_SLOT(user_put_dealloc)},
    {Py_tp_traverse, SS_HOT_SLOT(user_put_traverse)},
    {Py_tp_clear, SS_HOT_SLOT(user_put_clear)},
    {Py_tp_members, members},
    {Py_tp_getset, getters},
    {0, NULL},
};

PyType_Spec ss_user_put_spec = {
    .name = "streamstore._hot.UserPut",
    .basicsize = sizeof(ss_user_put),
    .flags = (unsigned)(SS_HOT_TYPE_FLAGS | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE |
                        Py_TPFLAGS_DISALLOW_INSTANTIATION),
    .slots = slots,
};
