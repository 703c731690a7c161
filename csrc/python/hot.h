/* What the files of the _hot extension share: the module's state and how to reach it. All objects of the core come
 * in as addresses; nothing here knows how the core is built, or where its functions live, except through the bound
 * table. */
#ifndef STREAMSTORE_HOT_H
#define STREAMSTORE_HOT_H

#define PY_SSIZE_T_CLEAN
#if !defined(Py_LIMITED_API) && !defined(SS_WHOLE_API)
#define Py_LIMITED_API 0x030A0000
#endif
#include <Python.h>
#include <structmember.h>

#include "../streamstore.h"

struct ss_record_object;

/* One per module object, so that every interpreter (and every test) has its own. */
typedef struct {
    const ss_function_table *core; /* NULL until bind() */
    PyObject *raise_for;           /* (status, context) -> raises */
    PyObject *unpack;              /* (bytes) -> dict */
    PyObject *make_time;           /* (us) -> datetime */
    PyObject *partial_put;         /* (list of PutResult or status) -> raises */
    PyObject *error_argument;
    PyObject *error_type;
    PyObject *error_too_large;
    PyTypeObject *record_type;
    PyTypeObject *put_result_type;
    PyTypeObject *put_results_type;
    PyTypeObject *target_type;
    PyTypeObject *user_record_type;
    PyTypeObject *user_put_type;
    PyTypeObject *intake_type;
    struct ss_record_object *free_records; /* dead Records kept for reuse, linked through their first field */
    size_t free_record_count;
    ss_record *spare_frames; /* the array of decoded frames of the last read, for the next one */
    size_t spare_frame_room;
} ss_hot_state;

/* Our types are final and made with their module, so this never fails. */
static inline ss_hot_state *ss_hot_state_of(PyObject *object)
{
    return PyType_GetModuleState(Py_TYPE(object));
}

/* METH_FASTCALL | METH_KEYWORDS functions in a PyMethodDef. */
#define SS_HOT_FASTCALL(function) ((PyCFunction)(void (*)(void))(function))
/* Functions and pointers in a PyType_Slot or PyModuleDef_Slot. */
#define SS_HOT_SLOT(pointer) ((void *)(pointer))
#define SS_HOT_TYPE_FLAGS (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE)

#endif
