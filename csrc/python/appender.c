/* _hot.append() and _hot.visible(): compare-and-append of one event, without key, attributes or routing. What the log's
 * tail should be is always said: whoever was overtaken gets 0, reads on and decides again. */
#include "appender.h"

#include "arguments.h"
#include "core_calls.h"

enum { LOG, DATA, EXPECTED_TAIL, RESERVE, COUNT };

PyObject *ss_appender_append(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names)
{
    static const char *const parameters[] = {"log", "data", "expected_tail", "reserve", NULL};
    static const ss_arguments_signature signature = {"append", parameters, COUNT, COUNT};
    ss_hot_state *state = PyModule_GetState(module);
    PyObject *values[COUNT];
    uint64_t expected_tail;
    void *log;
    if (ss_arguments_bind(&signature, args, arg_count, names, values) < 0 || ss_core_calls_ready(state) < 0 ||
        ss_arguments_pointer(values[LOG], "log", &log) < 0 ||
        ss_arguments_u64(values[EXPECTED_TAIL], "expected_tail", UINT64_MAX, &expected_tail) < 0)
        return NULL;
    int reserve = PyObject_IsTrue(values[RESERVE]);
    if (reserve < 0)
        return NULL;
    char *data;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(values[DATA], &data, &size) < 0)
        return NULL;
    if (log == NULL || expected_tail == 0) {
        PyErr_SetString(PyExc_ValueError, "log and expected_tail must not be 0");
        return NULL;
    }
    ss_entry entry = {.data = (const uint8_t *)data, .data_size = (size_t)size, .key_size = -1};
    ss_core_calls_batch batch = {log, &entry, 1, entry.data_size, expected_tail, 0, reserve ? SS_APPEND_RESERVE : 0};
    ss_appended appended = {0};
    ss_status status;
    if (ss_core_calls_append(state, &batch, NULL, &appended, &status) < 0)
        return NULL;
    if (ss_status_code(status) == SS_TAIL_MISMATCH)
        return PyLong_FromLong(0);
    if (status != SS_OK)
        return ss_core_calls_raise(state, status, "append");
    return PyLong_FromUnsignedLongLong(appended.end_position);
}

PyObject *ss_appender_visible(PyObject *module, PyObject *log)
{
    ss_hot_state *state = PyModule_GetState(module);
    ss_log_state facts;
    void *address;
    if (ss_core_calls_ready(state) < 0 || ss_arguments_pointer(log, "log", &address) < 0)
        return NULL;
    if (address == NULL) {
        PyErr_SetString(PyExc_ValueError, "log must not be 0");
        return NULL;
    }
    ss_status status;
    if (ss_core_calls_state(state, address, &facts, &status) < 0)
        return NULL;
    if (status != SS_OK)
        return ss_core_calls_raise(state, status, "end of a log");
    return PyLong_FromUnsignedLongLong(facts.visible);
}
