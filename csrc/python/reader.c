/* _hot.read(): one chunk of a log as Records. The core copies and checks frames right into a bytes object; the
 * Records point into it. All frames are decoded before the first Record is made, so the chunk can still be cut to
 * what it holds. */
#include "reader.h"

#include <assert.h>

#include "arguments.h"
#include "core_calls.h"
#include "record_object.h"

/* Offsets in a Record have 32 bits. */
#define BUFFER_SIZE_MAX UINT64_C(0xffffffff)
/* A first guess of bytes a frame; more records than guessed cost one larger array. */
#define FRAME_SIZE_GUESS 128
#define RECORD_ROOM_MIN 16
/* A longer array is not kept for the next read. Without the one that is kept, an array and a chunk freed together make
 * malloc return their pages to the system after every read, to be faulted in again by the next. */
#define SPARE_ROOM_MAX 4096
/* A chunk is copied to its size if it would keep more than this for nothing and is less than half full, or if it
 * would keep more than the large slack and an eighth of what it holds. Chunks filled to the end are never copied. */
#define SLACK_SMALL 1024
#define SLACK_LARGE ((size_t)64 << 10)

typedef struct {
    ss_hot_state *state;
    ss_record_object_origin origin; /* its chunk is owned */
    size_t chunk_size;
    size_t used; /* bytes of the chunk that hold frames */
    ss_log *log;
    uint64_t position; /* read on from here */
    uint64_t end;
    size_t limit;
    ss_record *records; /* owned */
    size_t record_room;
    size_t record_count;
    int sealed;
    ss_read_result last; /* of the last call */
    ss_status status;    /* once done: SS_OK, SS_CORRUPT or SS_TRIMMED, which readers expect */
} reading;

enum { LOG, SHARD_INDEX, SHARD_ID, POSITION, END, LIMIT, BUFFER_SIZE, COUNT };

static int take_arguments(PyObject *const *values, reading *r)
{
    uint64_t index, limit, size;
    void *log;
    if (ss_arguments_pointer(values[LOG], "log", &log) < 0 ||
        ss_arguments_u64(values[SHARD_INDEX], "shard_index", UINT32_MAX, &index) < 0 ||
        ss_arguments_u64(values[POSITION], "position", UINT64_MAX, &r->position) < 0 ||
        ss_arguments_u64(values[END], "end", UINT64_MAX, &r->end) < 0 ||
        ss_arguments_u64(values[LIMIT], "limit", (uint64_t)PY_SSIZE_T_MAX, &limit) < 0 ||
        ss_arguments_u64(values[BUFFER_SIZE], "buffer_size", BUFFER_SIZE_MAX, &size) < 0)
        return -1;
    if (log == NULL || limit == 0 || size == 0) {
        PyErr_SetString(PyExc_ValueError, "log, limit and buffer_size must not be 0");
        return -1;
    }
    r->log = log;
    r->origin.shard_index = (uint32_t)index;
    r->limit = limit;
    r->chunk_size = size;
    r->origin.shard_id = PyUnicode_FromObject(values[SHARD_ID]);
    return r->origin.shard_id == NULL ? -1 : 0;
}

static int new_chunk(reading *r, size_t size)
{
    Py_CLEAR(r->origin.chunk);
    r->origin.chunk = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    r->chunk_size = size;
    return r->origin.chunk == NULL ? -1 : 0;
}

/* Take the array that the last read left, unless another thread's read has it, or it is shorter than the guess. */
static void take_spare(reading *r, size_t guess)
{
    if (r->state->spare_frame_room < guess)
        return;
    r->records = r->state->spare_frames;
    r->record_room = r->state->spare_frame_room;
    r->state->spare_frames = NULL;
    r->state->spare_frame_room = 0;
}

static void leave_spare(reading *r)
{
    if (r->record_room > SPARE_ROOM_MAX || r->record_room <= r->state->spare_frame_room) {
        PyMem_Free(r->records);
        return;
    }
    PyMem_Free(r->state->spare_frames);
    r->state->spare_frames = r->records;
    r->state->spare_frame_room = r->record_room;
}

void ss_reader_forget(ss_hot_state *state)
{
    PyMem_Free(state->spare_frames);
    state->spare_frames = NULL;
    state->spare_frame_room = 0;
}

/* Make room for more decoded frames: a guess first, then twice as many. */
static int grow_records(reading *r)
{
    size_t room = r->record_room * 2;
    if (room == 0) {
        room = r->chunk_size / FRAME_SIZE_GUESS;
        room = room > r->limit ? r->limit : room;
        room = room < RECORD_ROOM_MIN ? RECORD_ROOM_MIN : room;
        take_spare(r, room);
        if (r->records != NULL)
            return 0;
    }
    ss_record *records = PyMem_Realloc(r->records, room * sizeof *records);
    if (records == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    r->records = records;
    r->record_room = room;
    return 0;
}

/* Take over what a call delivered: its offsets count from where its part of the chunk began. */
static void take_records(reading *r)
{
    uint32_t base = (uint32_t)r->used;
    for (size_t i = 0; i < r->last.count; i++) {
        ss_record *record = &r->records[r->record_count + i];
        assert((size_t)record->data_offset + record->data_size <= r->last.used);
        record->frame_offset += base;
        record->attributes_offset += base;
        record->key_offset += base;
        record->data_offset += base;
        record->seal_offset += record->seal_offset != 0 ? base : 0; /* 0 says that there is no seal */
    }
    r->record_count += r->last.count;
    r->used += r->last.used;
    r->position = r->last.next_position;
    r->sealed |= r->last.sealed;
    assert(r->used <= r->chunk_size && r->record_count <= r->record_room);
}

/* Nothing more to be had, or not enough to be worth a call. */
static int full(const reading *r)
{
    size_t room = r->chunk_size - r->used;
    return r->record_count == r->limit || r->last.end_of_log || r->position >= r->last.visible ||
           (r->end != 0 && r->position >= r->end) || (room < SLACK_LARGE && room < r->chunk_size / 16);
}

/* One call: 1 to go on, 0 when done, -1 with an exception. */
static int step(reading *r)
{
    if (r->record_count == r->record_room && grow_records(r) < 0)
        return -1;
    size_t room = r->record_room < r->limit ? r->record_room : r->limit;
    ss_core_calls_read_request request = {
        .log = r->log,
        .position = r->position,
        .end = r->end,
        .buffer = (uint8_t *)PyBytes_AsString(r->origin.chunk) + r->used,
        .buffer_size = r->chunk_size - r->used,
        .records = r->records + r->record_count,
        .limit = room - r->record_count,
    };
    ss_read_result result = {.next_position = r->position, .visible = r->last.visible};
    if (ss_core_calls_read(r->state, &request, &result, &r->status) < 0)
        return -1;
    int code = ss_status_code(r->status);
    if (code == SS_OK || code == SS_CORRUPT) {
        r->last = result;
        take_records(r);
        return code == SS_OK && result.count > 0 && !full(r);
    }
    if (r->record_count > 0) {
        r->status = SS_OK; /* what ended this chunk is met again, and told, by the next read */
        return 0;
    }
    if (code == SS_SMALL && result.size_needed > r->chunk_size && result.size_needed <= BUFFER_SIZE_MAX)
        return new_chunk(r, result.size_needed) < 0 ? -1 : 1;
    if (code == SS_TRIMMED)
        return 0;
    ss_core_calls_raise(r->state, r->status, "read of %U at position %llu", r->origin.shard_id,
                        (unsigned long long)r->position);
    return -1;
}

static int cut_chunk(reading *r)
{
    size_t slack = r->chunk_size - r->used;
    int wasteful = (slack > SLACK_SMALL && slack > r->used) || (slack > SLACK_LARGE && slack > r->used / 8);
    if (r->record_count == 0 || !wasteful)
        return 0;
    PyObject *whole = r->origin.chunk;
    r->origin.chunk = PyBytes_FromStringAndSize(PyBytes_AsString(whole), (Py_ssize_t)r->used);
    Py_DECREF(whole);
    return r->origin.chunk == NULL ? -1 : 0;
}

static PyObject *build(reading *r)
{
    PyObject *list = cut_chunk(r) < 0 ? NULL : PyList_New((Py_ssize_t)r->record_count);
    if (list == NULL)
        return NULL;
    for (size_t i = 0; i < r->record_count; i++) {
        PyObject *record = ss_record_object_new(r->state, &r->origin, &r->records[i]);
        if (record == NULL) {
            Py_DECREF(list);
            return NULL;
        }
        PyList_SetItem(list, (Py_ssize_t)i, record);
    }
    int corrupt = ss_status_code(r->status) == SS_CORRUPT;
    return Py_BuildValue("(NKKNiKKN)", list, (unsigned long long)r->position, (unsigned long long)r->last.visible,
                         PyBool_FromLong(r->last.end_of_log), r->status,
                         (unsigned long long)(corrupt ? r->last.damage_begin : 0),
                         (unsigned long long)(corrupt ? r->last.damage_end : 0), PyBool_FromLong(r->sealed));
}

PyObject *ss_reader_read(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names)
{
    static const char *const parameters[] = {"log", "shard_index", "shard_id",    "position",
                                             "end", "limit",       "buffer_size", NULL};
    static const ss_arguments_signature signature = {"read", parameters, COUNT, COUNT};
    PyObject *values[COUNT], *answer = NULL;
    reading r = {.state = PyModule_GetState(module)};
    if (ss_arguments_bind(&signature, args, arg_count, names, values) < 0 || ss_core_calls_ready(r.state) < 0)
        return NULL;
    if (take_arguments(values, &r) == 0 && new_chunk(&r, r.chunk_size) == 0) {
        int more;
        while ((more = step(&r)) > 0)
            ;
        if (more == 0)
            answer = build(&r);
    }
    Py_XDECREF(r.origin.chunk);
    Py_XDECREF(r.origin.shard_id);
    leave_spare(&r);
    return answer;
}
