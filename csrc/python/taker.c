/* _hot.take(): the next record of a queue, with the event that says so in the queue's delivery log: what a worker that
 * was woken needs, in one call. Only the plain case; everything else is said to need a closer look, with nothing
 * done. */
#include "taker.h"

#include "../format.h"
#include "arguments.h"
#include "core_calls.h"
#include "getter.h"

enum { LOG, SHARD_INDEX, SHARD_ID, EVENTS, HORIZON, POSITION, EXPECTED_TAIL, NOW, VISIBILITY, OWNER, COUNT };

/* The event `receive` of one message without a key, as docs/format.md lays it out. */
enum {
    EVENT_KIND = 0, /* then flags and padding, all zero */
    EVENT_SHARD = 4,
    EVENT_NOW = 8,
    EVENT_VISIBILITY = 16,
    EVENT_OWNER = 24,
    EVENT_BEHIND = 32, /* the cursor: where it goes on, records before that, the last one's position and epoch */
    EVENT_ORDINAL = 40,
    EVENT_LAST = 48,
    EVENT_EPOCH = 56,
    EVENT_POSITION = 64,
    EVENT_SIZE = 72
};
#define KIND_RECEIVE 1

typedef struct {
    ss_getting record;
    ss_log *events;
    uint64_t expected_tail, horizon_us, now_us, visibility_us, owner;
} taking;

static int take_arguments(PyObject *const *values, taking *t)
{
    void *events;
    PyObject *place[] = {values[LOG], values[SHARD_INDEX], values[SHARD_ID], values[POSITION]};
    if (ss_getter_arguments(place, &t->record) < 0 || ss_arguments_pointer(values[EVENTS], "events", &events) < 0 ||
        ss_arguments_u64(values[EXPECTED_TAIL], "expected_tail", UINT64_MAX, &t->expected_tail) < 0 ||
        ss_arguments_u64(values[HORIZON], "horizon_us", UINT64_MAX, &t->horizon_us) < 0 ||
        ss_arguments_u64(values[NOW], "now_us", INT64_MAX, &t->now_us) < 0 ||
        ss_arguments_u64(values[VISIBILITY], "visibility_us", INT64_MAX, &t->visibility_us) < 0 ||
        ss_arguments_u64(values[OWNER], "owner", UINT64_MAX, &t->owner) < 0)
        return -1;
    if (events == NULL || t->expected_tail == 0) {
        PyErr_SetString(PyExc_ValueError, "events and expected_tail must not be 0");
        return -1;
    }
    t->events = events;
    return 0;
}

static void describe(const taking *t, uint8_t event[EVENT_SIZE])
{
    const ss_record *record = &t->record.record;
    format_store64(event + EVENT_KIND, KIND_RECEIVE);
    format_store32(event + EVENT_SHARD, t->record.origin.shard_index);
    format_store64(event + EVENT_NOW, t->now_us);
    format_store64(event + EVENT_VISIBILITY, t->visibility_us);
    format_store64(event + EVENT_OWNER, t->owner);
    format_store64(event + EVENT_BEHIND, record->position + record->frame_size);
    format_store64(event + EVENT_ORDINAL, record->ordinal);
    format_store64(event + EVENT_LAST, record->position);
    format_store64(event + EVENT_EPOCH, record->epoch);
    format_store64(event + EVENT_POSITION, record->position);
}

/* Attributes may hold a delay, a sealed record has to be opened, and one that is past retention is nobody's. */
static int is_plain(const taking *t)
{
    const ss_record *record = &t->record.record;
    return t->record.status == SS_OK && record->attributes_size == 0 && record->seal_offset == 0 &&
           record->arrival_us >= t->horizon_us;
}

/* False where nothing is there to be had and nothing was said in the events either; else True. */
static PyObject *look_closer(const taking *t)
{
    const ss_getting *g = &t->record;
    ss_log_state records, events;
    if (ss_status_code(g->status) != SS_NOT_FOUND || g->state->core->log_state(g->request.log, &records) != SS_OK ||
        records.closed || records.visible > g->request.position ||
        g->state->core->log_state(t->events, &events) != SS_OK || events.visible != t->expected_tail)
        Py_RETURN_TRUE;
    Py_RETURN_FALSE;
}

/* The Record is made before the event is published: nothing that can fail for want of memory but the answer itself
 * comes after that. */
static PyObject *deliver(taking *t)
{
    ss_getting *g = &t->record;
    uint8_t event[EVENT_SIZE];
    describe(t, event);
    PyObject *record = ss_record_object_new(g->state, &g->origin, &g->record);
    if (record == NULL)
        return NULL;
    ss_entry entry = {.data = event, .data_size = sizeof event, .key_size = -1};
    ss_core_calls_batch batch = {t->events, &entry, 1, sizeof event, t->expected_tail, 0, 0};
    ss_appended appended;
    ss_status status;
    int called = ss_core_calls_append(g->state, &batch, NULL, &appended, &status);
    PyObject *answer = NULL;
    if (called == 0 && status == SS_OK) {
        PyObject *tail = PyLong_FromUnsignedLongLong(appended.end_position);
        answer = tail == NULL ? NULL : PyTuple_Pack(2, record, tail);
        Py_XDECREF(tail);
    } else if (called == 0) { /* overtaken, or a full disk, or worse: who appends by itself is told which */
        answer = Py_NewRef(Py_True);
    }
    Py_DECREF(record);
    return answer;
}

PyObject *ss_taker_take(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names)
{
    static const char *const parameters[] = {"log",      "shard_index",   "shard_id", "events",        "horizon_us",
                                             "position", "expected_tail", "now_us",   "visibility_us", "owner",
                                             NULL};
    static const ss_arguments_signature signature = {"take", parameters, COUNT, COUNT};
    PyObject *values[COUNT], *answer = NULL;
    taking t = {.record = {.state = PyModule_GetState(module)}};
    if (ss_arguments_bind(&signature, args, arg_count, names, values) < 0 || ss_core_calls_ready(t.record.state) < 0)
        return NULL;
    if (take_arguments(values, &t) == 0 && ss_getter_read(&t.record) == 0)
        answer = is_plain(&t) ? deliver(&t) : t.record.status == SS_OK ? Py_NewRef(Py_True) : look_closer(&t);
    Py_XDECREF(t.record.origin.chunk);
    Py_XDECREF(t.record.origin.shard_id);
    return answer;
}
