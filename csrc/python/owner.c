/* _hot.own() and _hot.disown(): memory of the core as a Python object that frees it with its last reference. A
 * finalizer is too early for that: the garbage collector calls those of a whole cycle first, in any order, and a
 * __del__ in it may still put a record. */
#include "owner.h"

#include "arguments.h"

static const char NAME[] = "streamstore.memory";

/* ISO C has no way from an object's address to a function's but through memory. */
typedef union {
    void *address;
    void (*release)(void *);
} release_function;

static void free_memory(PyObject *owner)
{
    release_function function = {.address = PyCapsule_GetContext(owner)};
    function.release(PyCapsule_GetPointer(owner, NAME));
}

PyObject *ss_owner_own(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names)
{
    (void)module;
    static const char *const parameters[] = {"memory", "release", NULL};
    static const ss_arguments_signature signature = {"own", parameters, 2, 2};
    PyObject *values[2];
    void *memory, *release;
    if (ss_arguments_bind(&signature, args, arg_count, names, values) < 0 ||
        ss_arguments_pointer(values[0], "memory", &memory) < 0 ||
        ss_arguments_pointer(values[1], "release", &release) < 0)
        return NULL;
    if (memory == NULL || release == NULL) {
        PyErr_SetString(PyExc_ValueError, "memory and release must not be 0");
        return NULL;
    }
    PyObject *owner = PyCapsule_New(memory, NAME, NULL);
    if (owner == NULL || PyCapsule_SetContext(owner, release) != 0 || PyCapsule_SetDestructor(owner, free_memory) != 0)
        Py_CLEAR(owner);
    return owner;
}

PyObject *ss_owner_disown(PyObject *module, PyObject *owner)
{
    (void)module;
    if (!PyCapsule_IsValid(owner, NAME)) {
        PyErr_SetString(PyExc_TypeError, "owner must come from own()");
        return NULL;
    }
    if (PyCapsule_SetDestructor(owner, NULL) != 0)
        return NULL;
    Py_RETURN_NONE;
}
