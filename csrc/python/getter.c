/* _hot.get(): the record at one place of a log. A frame of usual size is copied to the stack and
 * checked there, so that the Record's chunk is made once, of the frame's very size; a longer one goes right into its
 * chunk. */
#include "getter.h"

#include "arguments.h"

#define STACK_FRAME_SIZE 4096

enum { LOG, SHARD_INDEX, SHARD_ID, POSITION, EPOCH, COUNT };

int ss_getter_arguments(PyObject *const *values, ss_getting *g)
{
    uint64_t index;
    void *log;
    if (ss_arguments_pointer(values[LOG], "log", &log) < 0 ||
        ss_arguments_u64(values[SHARD_INDEX], "shard_index", UINT32_MAX, &index) < 0 ||
        ss_arguments_u64(values[POSITION], "position", UINT64_MAX, &g->request.position) < 0)
        return -1;
    if (log == NULL) {
        PyErr_SetString(PyExc_ValueError, "log must not be 0");
        return -1;
    }
    g->request.log = log;
    g->origin.shard_index = (uint32_t)index;
    g->origin.shard_id = PyUnicode_FromObject(values[SHARD_ID]);
    return g->origin.shard_id == NULL ? -1 : 0;
}

static int call(ss_getting *g, uint8_t *buffer, size_t size)
{
    return ss_core_calls_get(g->state, &g->request, buffer, size, &g->record, &g->result, &g->status);
}

static int get_small(ss_getting *g)
{
    uint8_t frame[STACK_FRAME_SIZE];
    if (call(g, frame, sizeof frame) < 0)
        return -1;
    if (g->status != SS_OK)
        return 0;
    g->origin.chunk = PyBytes_FromStringAndSize((const char *)frame, (Py_ssize_t)g->result.used);
    return g->origin.chunk == NULL ? -1 : 0;
}

/* Once is enough: what stands at a place never grows. */
static int get_large(ss_getting *g)
{
    size_t size = g->result.size_needed;
    g->origin.chunk = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (g->origin.chunk == NULL)
        return -1;
    return call(g, (uint8_t *)PyBytes_AsString(g->origin.chunk), size);
}

int ss_getter_read(ss_getting *g)
{
    return get_small(g) < 0 || (ss_status_code(g->status) == SS_SMALL && get_large(g) < 0) ? -1 : 0;
}

static PyObject *answer(ss_getting *g)
{
    if (g->status == SS_OK && g->record.epoch == g->request.epoch)
        return ss_record_object_new(g->state, &g->origin, &g->record);
    if (g->status == SS_OK || ss_status_code(g->status) == SS_NOT_FOUND)
        Py_RETURN_NONE; /* to the core epoch 0 is any; to us no record's */
    return ss_core_calls_raise(g->state, g->status, "get of %U at position %llu", g->origin.shard_id,
                               (unsigned long long)g->request.position);
}

PyObject *ss_getter_get(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names)
{
    static const char *const parameters[] = {"log", "shard_index", "shard_id", "position", "epoch", NULL};
    static const ss_arguments_signature signature = {"get", parameters, COUNT, COUNT};
    PyObject *values[COUNT], *record = NULL;
    ss_getting g = {.state = PyModule_GetState(module)};
    if (ss_arguments_bind(&signature, args, arg_count, names, values) < 0 || ss_core_calls_ready(g.state) < 0)
        return NULL;
    if (ss_getter_arguments(values, &g) == 0 &&
        ss_arguments_u64(values[EPOCH], "epoch", UINT64_MAX, &g.request.epoch) == 0 && ss_getter_read(&g) == 0)
        record = answer(&g);
    Py_XDECREF(g.origin.chunk);
    Py_XDECREF(g.origin.shard_id);
    return record;
}
