/* Calls into the core. A call that never sleeps is made with the GIL held, because giving it up costs more than the
 * call; one that may sleep, or copies much, is made without it. The core sleeps interruptibly: signals are served in
 * between. */
#include "core_calls.h"

/* Above this a copy takes longer than handing the GIL over and back. */
#define APPEND_WITH_GIL_MAX ((size_t)64 << 10)
#define READ_WITH_GIL_MAX ((size_t)16 << 10)

int ss_core_calls_ready(const ss_hot_state *state)
{
    if (state->core != NULL)
        return 0;
    PyErr_SetString(PyExc_RuntimeError, "_hot.bind() has not been called");
    return -1;
}

int ss_core_calls_append(ss_hot_state *state, const ss_core_calls_batch *batch, uint64_t *positions, ss_appended *out,
                         ss_status *status)
{
    const ss_function_table *core = state->core;
    if (batch->bytes <= APPEND_WITH_GIL_MAX) {
        *status = core->log_append(batch->log, batch->terms, batch->entries, batch->count, batch->expected_tail,
                                   batch->flags | SS_APPEND_TRY, positions, out);
        int code = ss_status_code(*status);
        if (code != SS_WOULD_BLOCK && code != SS_INTERRUPTED)
            return 0;
    }
    for (;;) {
        PyThreadState *saved = PyEval_SaveThread();
        *status = core->log_append(batch->log, batch->terms, batch->entries, batch->count, batch->expected_tail,
                                   batch->flags, positions, out);
        PyEval_RestoreThread(saved);
        if (ss_status_code(*status) != SS_INTERRUPTED)
            return 0;
        if (PyErr_CheckSignals() < 0)
            return -1;
    }
}

ss_status ss_core_calls_try(ss_hot_state *state, const ss_core_calls_batch *batch, ss_appended *out)
{
    if (batch->bytes > APPEND_WITH_GIL_MAX)
        return SS_WOULD_BLOCK;
    return state->core->log_append(batch->log, batch->terms, batch->entries, batch->count, batch->expected_tail,
                                   batch->flags | SS_APPEND_TRY, NULL, out);
}

int ss_core_calls_sync(ss_hot_state *state, ss_log *log, uint64_t end_position, ss_status *status)
{
    for (;;) {
        PyThreadState *saved = PyEval_SaveThread();
        *status = state->core->log_sync(log, end_position);
        PyEval_RestoreThread(saved);
        if (ss_status_code(*status) != SS_INTERRUPTED)
            return 0;
        if (PyErr_CheckSignals() < 0)
            return -1;
    }
}

static ss_status read_once(const ss_function_table *core, const ss_core_calls_read_request *request,
                           ss_read_result *result)
{
    return core->log_read(request->log, request->position, request->end, request->buffer, request->buffer_size,
                          request->records, request->limit, result);
}

int ss_core_calls_read(ss_hot_state *state, const ss_core_calls_read_request *request, ss_read_result *result,
                       ss_status *status)
{
    for (;;) {
        if (request->buffer_size <= READ_WITH_GIL_MAX) {
            *status = read_once(state->core, request, result);
        } else {
            PyThreadState *saved = PyEval_SaveThread();
            *status = read_once(state->core, request, result);
            PyEval_RestoreThread(saved);
        }
        if (ss_status_code(*status) != SS_INTERRUPTED)
            return 0;
        if (PyErr_CheckSignals() < 0)
            return -1;
    }
}

static ss_status get_once(const ss_function_table *core, const ss_core_calls_get_request *request, uint8_t *buffer,
                          size_t buffer_size, ss_record *record, ss_read_result *result)
{
    return core->log_get(request->log, request->position, request->epoch, buffer, buffer_size, record, result);
}

int ss_core_calls_get(ss_hot_state *state, const ss_core_calls_get_request *request, uint8_t *buffer,
                      size_t buffer_size, ss_record *record, ss_read_result *result, ss_status *status)
{
    for (;;) {
        if (buffer_size <= READ_WITH_GIL_MAX) {
            *status = get_once(state->core, request, buffer, buffer_size, record, result);
        } else {
            PyThreadState *saved = PyEval_SaveThread();
            *status = get_once(state->core, request, buffer, buffer_size, record, result);
            PyEval_RestoreThread(saved);
        }
        if (ss_status_code(*status) != SS_INTERRUPTED)
            return 0;
        if (PyErr_CheckSignals() < 0)
            return -1;
    }
}

int ss_core_calls_state(ss_hot_state *state, ss_log *log, ss_log_state *out, ss_status *status)
{
    for (;;) {
        *status = state->core->log_state(log, out);
        if (ss_status_code(*status) != SS_INTERRUPTED)
            return 0;
        if (PyErr_CheckSignals() < 0)
            return -1;
    }
}

PyObject *ss_core_calls_raise(ss_hot_state *state, ss_status status, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    PyObject *context = PyUnicode_FromFormatV(format, list);
    va_end(list);
    if (context == NULL)
        return NULL;
    PyObject *result = PyObject_CallFunction(state->raise_for, "iO", status, context);
    Py_DECREF(context);
    if (result != NULL) {
        Py_DECREF(result);
        PyErr_Format(PyExc_SystemError, "raise_for(%d) returned instead of raising", status);
    }
    return NULL;
}
