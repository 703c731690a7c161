/* The Intake class. Every method here runs under the GIL without giving it up (waking the sender comes last), so none
 * needs a lock, and counts are never torn. */
#include "intake.h"

#include <stddef.h>

#include "arguments.h"
#include "core_calls.h"
#include "user_put.h"

#define KEY_SIZE_PLAIN 256 /* a key of no more bytes has no more characters */
#define KEY_SIZE_ROOM 1024

typedef struct {
    PyObject_HEAD ss_hot_state *state;
    PyTypeObject *type;               /* a subclass of UserPut */
    PyObject *home;                   /* of the user records */
    PyObject *wake;                   /* called when the sender has something to look at */
    PyObject *entries;                /* list of those that wait */
    long long bytes;                  /* of data that waits */
    long long wake_at;                /* the sender is woken when there are so many; negative once it was */
    long long records_out, bytes_out; /* put, and not settled */
    long long records_max, bytes_max, record_size_max;
    long long received;
    char closed;
} intake;

static PyObject *intake_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"future_type",     "home", "wake", "wake_at", "records_max", "bytes_max",
                            "record_size_max", NULL};
    ss_hot_state *state = PyType_GetModuleState(type);
    PyObject *future_type, *home, *wake;
    long long wake_at, records_max, bytes_max, record_size_max;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OOOLLLL:Intake", names, &future_type, &home, &wake, &wake_at,
                                     &records_max, &bytes_max, &record_size_max))
        return NULL;
    if (!PyType_Check(future_type) || !PyType_IsSubtype((PyTypeObject *)future_type, state->user_put_type)) {
        PyErr_SetString(PyExc_TypeError, "future_type must be a subclass of UserPut");
        return NULL;
    }
    intake *own = (intake *)PyType_GenericAlloc(type, 0);
    if (own == NULL)
        return NULL;
    Py_INCREF(future_type);
    Py_INCREF(home);
    Py_INCREF(wake);
    own->state = state;
    own->type = (PyTypeObject *)future_type;
    own->home = home;
    own->wake = wake;
    own->wake_at = wake_at;
    own->records_max = records_max;
    own->bytes_max = bytes_max;
    own->record_size_max = record_size_max;
    own->entries = PyList_New(0);
    if (own->entries == NULL)
        Py_CLEAR(own);
    return (PyObject *)own;
}

static int intake_traverse(PyObject *self, visitproc visit, void *arg)
{
    const intake *own = (const intake *)self;
    Py_VISIT(own->type);
    Py_VISIT(own->home);
    Py_VISIT(own->wake);
    Py_VISIT(own->entries);
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static int intake_clear(PyObject *self)
{
    intake *own = (intake *)self;
    own->closed = 1; /* nothing is taken without the rest */
    Py_CLEAR(own->home);
    Py_CLEAR(own->wake);
    Py_CLEAR(own->entries);
    Py_CLEAR(own->type);
    return 0;
}

static void intake_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    intake_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static int is_full(const intake *own)
{
    return own->closed || own->records_out >= own->records_max || own->bytes_out >= own->bytes_max;
}

/* Take a user record whose parts are as they are to be. */
static PyObject *add(intake *own, PyObject *data, PyObject *key, PyObject *hash_key)
{
    double arrived = (double)own->state->core->monotonic_us() / 1e6;
    PyObject *future = ss_user_put_new(own->type, data, key, hash_key, own->home, arrived);
    if (future == NULL || PyList_Append(own->entries, future) < 0) {
        Py_XDECREF(future);
        return NULL;
    }
    long long size = (long long)PyBytes_Size(data);
    own->received++;
    own->records_out++;
    own->bytes_out += size;
    own->bytes += size;
    int wake = PyList_Size(own->entries) == 1;
    if (own->wake_at >= 0 && own->bytes >= own->wake_at) {
        own->wake_at = -1;
        wake = 1;
    }
    PyObject *woken = wake ? PyObject_CallNoArgs(own->wake) : NULL;
    if (wake && woken == NULL)
        Py_CLEAR(future); /* a signal's exception: the record is in all the same */
    Py_XDECREF(woken);
    return future;
}

/* Whether a record needs no look at what is wrong with it, or to be made of it. */
static int is_plain(const intake *own, PyObject *data, PyObject *key, PyObject *hash_key)
{
    Py_ssize_t key_size;
    if (!PyBytes_CheckExact(data) || !PyUnicode_CheckExact(key) || (hash_key != NULL && hash_key != Py_None) ||
        (long long)PyBytes_Size(data) > own->record_size_max - KEY_SIZE_ROOM)
        return 0;
    if (PyUnicode_AsUTF8AndSize(key, &key_size) == NULL) {
        PyErr_Clear();
        return 0;
    }
    return key_size > 0 && key_size <= KEY_SIZE_PLAIN;
}

static PyObject *put(PyObject *self, PyObject *const *args, Py_ssize_t arg_count, PyObject *names, int checked)
{
    static const char *const parameters[] = {"data", "partition_key", "explicit_hash_key", NULL};
    static const ss_arguments_signature signature = {"put", parameters, 2, 3};
    intake *own = (intake *)self;
    PyObject *values[3];
    if (ss_core_calls_ready(own->state) < 0 || ss_arguments_bind(&signature, args, arg_count, names, values) < 0)
        return NULL;
    if (is_full(own) || (!checked && !is_plain(own, values[0], values[1], values[2])))
        Py_RETURN_NONE;
    if (!PyBytes_CheckExact(values[0]) || !PyUnicode_Check(values[1])) {
        PyErr_SetString(PyExc_TypeError, "data must be bytes, partition_key str");
        return NULL;
    }
    return add(own, values[0], values[1], values[2] == Py_None ? NULL : values[2]);
}

static PyObject *intake_put(PyObject *self, PyObject *const *args, Py_ssize_t arg_count, PyObject *names)
{
    return put(self, args, arg_count, names, 0);
}

static PyObject *intake_put_checked(PyObject *self, PyObject *const *args, Py_ssize_t arg_count, PyObject *names)
{
    return put(self, args, arg_count, names, 1);
}

static PyObject *intake_take(PyObject *self, PyObject *wake_at)
{
    intake *own = (intake *)self;
    long long wanted = PyLong_AsLongLong(wake_at);
    if (wanted == -1 && PyErr_Occurred())
        return NULL;
    PyObject *taken = own->entries, *fresh = PyList_New(0);
    if (fresh == NULL)
        return NULL;
    own->entries = fresh;
    own->bytes = 0;
    own->wake_at = wanted;
    return taken;
}

static PyObject *intake_forget(PyObject *self, PyObject *args)
{
    long long records, size;
    if (!PyArg_ParseTuple(args, "LL:forget", &records, &size))
        return NULL;
    ((intake *)self)->records_out -= records;
    ((intake *)self)->bytes_out -= size;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"put", SS_HOT_FASTCALL(intake_put), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "put($self, data, partition_key, explicit_hash_key=None)\n--\n\nA future; None where there is no room, or "
         "the arguments want a closer look.")},
    {"put_checked", SS_HOT_FASTCALL(intake_put_checked), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("put_checked($self, data, partition_key, explicit_hash_key=None)\n--\n\nThe same for arguments that had "
               "it.")},
    {"take", intake_take, METH_O, PyDoc_STR("take($self, wake_at, /)\n--\n\nAll that waits, in order.")},
    {"forget", intake_forget, METH_VARARGS,
     PyDoc_STR("forget($self, records, size, /)\n--\n\nSo many are outstanding no more.")},
    {NULL, NULL, 0, NULL},
};

#define NUMBER(name, flags, text) {#name, T_LONGLONG, (Py_ssize_t)offsetof(intake, name), flags, PyDoc_STR(text)}
static PyMemberDef members[] = {
    {"entries", T_OBJECT_EX, (Py_ssize_t)offsetof(intake, entries), READONLY, PyDoc_STR("Those that wait.")},
    {"closed", T_BOOL, (Py_ssize_t)offsetof(intake, closed), 0, PyDoc_STR("Is nothing taken any more?")},
    NUMBER(wake_at, READONLY, "The sender is woken when so many bytes wait; negative once it was."),
    NUMBER(records_out, READONLY, "User records that were put and are not settled."),
    NUMBER(bytes_out, READONLY, "Bytes of their data."),
    NUMBER(records_max, READONLY, "How many may be outstanding."),
    NUMBER(bytes_max, READONLY, "How many bytes may be."),
    NUMBER(received, READONLY, "User records that were ever put."),
    {NULL, 0, 0, 0, NULL},
};
#undef NUMBER

static PyType_Slot slots[] = {
    {Py_tp_doc, SS_HOT_SLOT("Where a producer's user records wait for its sender.")},
    {Py_tp_new, SS_HOT_SLOT(intake_new)},
    {Py_tp_dealloc, SS_HOT_SLOT(intake_dealloc)},
    {Py_tp_traverse, SS_HOT_SLOT(intake_traverse)},
    {Py_tp_clear, SS_HOT_SLOT(intake_clear)},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {0, NULL},
};

PyType_Spec ss_intake_spec = {
    .name = "streamstore._hot.Intake",
    .basicsize = sizeof(intake),
    .flags = (unsigned)(SS_HOT_TYPE_FLAGS | Py_TPFLAGS_HAVE_GC),
    .slots = slots,
};
