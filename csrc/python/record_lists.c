/* What is asked of many Records at once: their times, their order over several lists, how much data they hold. The
 * lists are the caller's own: no other thread changes them meanwhile, and the length of each is looked at once. */
#include "record_lists.h"

#include <string.h>

#include "arguments.h"
#include "attribute_scan.h"
#include "record_object.h"

static const ss_record *fields_of(const ss_hot_state *state, PyObject *list, Py_ssize_t at)
{
    ss_record_object_origin origin;
    PyObject *record = PyList_GetItem(list, at);
    return record == NULL ? NULL : ss_record_object_parts(state, record, &origin);
}

static int check_list(PyObject *value, const char *name)
{
    if (PyList_Check(value))
        return 0;
    PyErr_Format(PyExc_TypeError, "%s must be a list, not %R", name, (PyObject *)Py_TYPE(value));
    return -1;
}

PyObject *ss_record_lists_data_size(PyObject *module, PyObject *records)
{
    const ss_hot_state *state = PyModule_GetState(module);
    uint64_t sum = 0;
    if (check_list(records, "records") < 0)
        return NULL;
    for (Py_ssize_t i = 0, count = PyList_Size(records); i < count; i++) {
        const ss_record *fields = fields_of(state, records, i);
        if (fields == NULL)
            return NULL;
        sum += fields->data_size;
    }
    return PyLong_FromUnsignedLongLong(sum);
}

/* --- times --- */

/* Which time. The numbers are those of streamstore/native. */
typedef enum { BY_ARRIVAL, BY_EVENT, BY_SOURCE } time_kind;

/* A number as a time; 0 for any other object, and for what is below 0 or beyond 64 bits. -1 with an error. */
static int time_of_object(PyObject *value, uint64_t *out)
{
    *out = 0;
    if (value == NULL || !PyLong_Check(value) || PyBool_Check(value))
        return PyErr_Occurred() ? -1 : 0;
    *out = PyLong_AsUnsignedLongLong(value);
    if (*out != UINT64_MAX || !PyErr_Occurred())
        return 0;
    *out = 0;
    if (!PyErr_ExceptionMatches(PyExc_OverflowError))
        return -1;
    PyErr_Clear();
    return 0;
}

/* The time of a record whose attribute block is best left to those who make objects of it, and tell what is wrong. */
static int time_by_objects(PyObject *record, time_kind kind, uint64_t *out)
{
    PyObject *found = PyObject_GetAttrString(record, kind == BY_EVENT ? "event_us" : "source");
    if (found == NULL)
        return -1;
    PyObject *value = found;
    if (kind == BY_SOURCE) {
        /* not by PyDict_GetItemString, to which a lack of memory is a lack of the item */
        PyObject *name = PyUnicode_FromString("arrival_us");
        value = name != NULL && PyDict_Check(found) ? PyDict_GetItemWithError(found, name) : NULL;
        Py_XDECREF(name);
    }
    int status = time_of_object(value, out);
    Py_DECREF(found);
    return status;
}

/* 0 where the record does not say. */
static int time_of(const ss_hot_state *state, PyObject *record, time_kind kind, uint64_t *out)
{
    ss_record_object_origin origin;
    const ss_record *fields = ss_record_object_parts(state, record, &origin);
    if (fields == NULL)
        return -1;
    *out = kind == BY_ARRIVAL ? fields->arrival_us : 0;
    if (kind == BY_ARRIVAL || fields->attributes_size == 0)
        return 0;
    const uint8_t *block = (const uint8_t *)PyBytes_AsString(origin.chunk) + fields->attributes_offset;
    ss_scan scan = ss_attribute_scan(block, fields->attributes_size, kind == BY_EVENT ? "t" : "s",
                                     kind == BY_EVENT ? NULL : "arrival_us", out);
    if (scan == SS_SCAN_ABSENT)
        *out = 0;
    return scan == SS_SCAN_UNSURE ? time_by_objects(record, kind, out) : 0;
}

static PyObject *rising(const ss_hot_state *state, PyObject *records, time_kind kind, uint64_t latest)
{
    Py_ssize_t count = PyList_Size(records);
    PyObject *times = PyBytes_FromStringAndSize(NULL, count * (Py_ssize_t)sizeof latest);
    int status = times == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; status == 0 && i < count; i++) {
        uint64_t us = 0;
        PyObject *record = PyList_GetItem(records, i);
        Py_XINCREF(record); /* what makes objects may let other threads run */
        status = record == NULL ? -1 : time_of(state, record, kind, &us);
        Py_XDECREF(record);
        latest = us > latest ? us : latest;
        memcpy(PyBytes_AsString(times) + i * (Py_ssize_t)sizeof latest, &latest, sizeof latest);
    }
    if (status < 0)
        Py_CLEAR(times);
    return times;
}

PyObject *ss_record_lists_times(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names)
{
    static const char *const parameters[] = {"records", "by", "latest", NULL};
    static const ss_arguments_signature signature = {"record_times", parameters, 3, 3};
    PyObject *values[3];
    uint64_t kind, latest;
    if (ss_arguments_bind(&signature, args, arg_count, names, values) < 0 || check_list(values[0], "records") < 0 ||
        ss_arguments_u64(values[1], "by", BY_SOURCE, &kind) < 0 ||
        ss_arguments_u64(values[2], "latest", UINT64_MAX, &latest) < 0)
        return NULL;
    return rising(PyModule_GetState(module), values[0], (time_kind)kind, latest);
}

/* --- merging: a heap of the heads, by time and then by place --- */

#define TIME_SIZE sizeof(uint64_t)

typedef struct {
    uint64_t us;
    size_t place;      /* of its list among all: ties stay in that order */
    PyObject *records; /* borrowed */
    const char *times; /* of 8 bytes each, borrowed; NULL: the arrival counts */
    Py_ssize_t at, count;
    int grows; /* more may come behind its last one */
} head;

typedef struct {
    const ss_hot_state *state;
    head *heads, **heap;
    size_t heap_count;
    PyObject *records; /* what comes out */
    char *times;       /* likewise, with room for so many; only where times came in */
    size_t filled, room;
    int timed, stopped;
} merge;

static int look(const merge *m, head *it)
{
    if (m->timed) {
        memcpy(&it->us, it->times + (size_t)it->at * TIME_SIZE, TIME_SIZE);
        return 0;
    }
    const ss_record *fields = fields_of(m->state, it->records, it->at);
    it->us = fields == NULL ? 0 : fields->arrival_us;
    return fields == NULL ? -1 : 0;
}

static int before(const head *a, const head *b)
{
    return a->us < b->us || (a->us == b->us && a->place < b->place);
}

static void sink(const merge *m, size_t at)
{
    head *sinking = m->heap[at];
    for (size_t child; (child = 2 * at + 1) < m->heap_count; at = child) {
        if (child + 1 < m->heap_count && before(m->heap[child + 1], m->heap[child]))
            child++;
        if (!before(m->heap[child], sinking))
            break;
        m->heap[at] = m->heap[child];
    }
    m->heap[at] = sinking;
}

static int keep_time(merge *m, uint64_t us)
{
    if (m->filled == m->room) {
        size_t room = m->room == 0 ? 1024 : 2 * m->room;
        char *grown = PyMem_Realloc(m->times, room * TIME_SIZE);
        if (grown == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        m->times = grown;
        m->room = room;
    }
    memcpy(m->times + m->filled++ * TIME_SIZE, &us, TIME_SIZE);
    return 0;
}

static int run(merge *m)
{
    for (size_t i = m->heap_count / 2; i-- > 0;)
        sink(m, i);
    while (m->heap_count > 0 && !m->stopped) {
        head *first = m->heap[0];
        PyObject *record = PyList_GetItem(first->records, first->at);
        if (record == NULL || PyList_Append(m->records, record) < 0 || (m->timed && keep_time(m, first->us) < 0))
            return -1;
        if (++first->at == first->count) {
            m->stopped = first->grows; /* what comes next may lie before all others */
            m->heap[0] = m->heap[--m->heap_count];
        } else if (look(m, first) < 0) {
            return -1;
        }
        if (m->heap_count > 1)
            sink(m, 0);
    }
    return 0;
}

/* One list of the merge, from where it goes on. */
static int add(merge *m, size_t place, PyObject *part, PyObject *begin, PyObject *grows, PyObject *times)
{
    head *it = &m->heads[place];
    uint64_t at;
    if (check_list(part, "a part") < 0)
        return -1;
    if (!PyBool_Check(grows)) { /* the truth of another object is code of its own, which may change any list */
        PyErr_Format(PyExc_TypeError, "whether a part grows must be a bool, not %R", (PyObject *)Py_TYPE(grows));
        return -1;
    }
    *it = (head){.place = place, .records = part, .count = PyList_Size(part), .grows = grows == Py_True};
    if (ss_arguments_u64(begin, "where a part begins", (uint64_t)it->count, &at) < 0)
        return -1;
    it->at = (Py_ssize_t)at;
    if (m->timed && (!PyBytes_Check(times) || (size_t)PyBytes_Size(times) != (size_t)it->count * TIME_SIZE)) {
        PyErr_SetString(PyExc_ValueError, "the times of a part must be 8 bytes for each record");
        return -1;
    }
    it->times = m->timed ? PyBytes_AsString(times) : NULL;
    if (it->at == it->count) {
        m->stopped |= it->grows;
        return 0;
    }
    m->heap[m->heap_count++] = it;
    return look(m, it);
}

/* Lists of the same length, one item for each part; no objects are made while what is in them is borrowed. */
static int add_all(merge *m, PyObject *const *values)
{
    Py_ssize_t count = PyList_Size(values[0]);
    if (PyList_Size(values[1]) != count || PyList_Size(values[2]) != count ||
        (m->timed && PyList_Size(values[3]) != count)) {
        PyErr_SetString(PyExc_ValueError, "begins, grows and times must be as many as parts");
        return -1;
    }
    m->heads = PyMem_Malloc(((size_t)count + 1) * sizeof *m->heads);
    m->heap = PyMem_Malloc(((size_t)count + 1) * sizeof(head *));
    if (m->heads == NULL || m->heap == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++)
        if (add(m, (size_t)i, PyList_GetItem(values[0], i), PyList_GetItem(values[1], i), PyList_GetItem(values[2], i),
                m->timed ? PyList_GetItem(values[3], i) : NULL) < 0)
            return -1;
    return 0;
}

static PyObject *ends_of(const merge *m, Py_ssize_t count)
{
    PyObject *ends = PyList_New(count);
    for (Py_ssize_t i = 0; ends != NULL && i < count; i++) {
        PyObject *end = PyLong_FromSsize_t(m->heads[i].at);
        if (end == NULL)
            Py_CLEAR(ends);
        else
            PyList_SetItem(ends, i, end);
    }
    return ends;
}

PyObject *ss_record_lists_merge(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names)
{
    static const char *const parameters[] = {"parts", "begins", "grows", "times", NULL};
    static const ss_arguments_signature signature = {"merge_records", parameters, 3, 4};
    PyObject *values[4];
    merge m = {.state = PyModule_GetState(module)};
    if (ss_arguments_bind(&signature, args, arg_count, names, values) < 0)
        return NULL;
    m.timed = values[3] != NULL && values[3] != Py_None;
    for (size_t i = 0; i < (m.timed ? 4 : 3); i++)
        if (check_list(values[i], parameters[i]) < 0)
            return NULL;
    m.records = PyList_New(0); /* before anything is borrowed: what the garbage collector runs may change any list */
    PyObject *ends = NULL, *times = NULL, *found = NULL;
    if (m.records != NULL && add_all(&m, values) == 0 && run(&m) == 0) {
        ends = ends_of(&m, PyList_Size(values[0]));
        times = PyBytes_FromStringAndSize(m.times, (Py_ssize_t)(m.filled * TIME_SIZE));
        found = ends == NULL || times == NULL ? NULL : PyTuple_Pack(3, m.records, times, ends);
    }
    PyMem_Free(m.heads);
    PyMem_Free(m.heap);
    PyMem_Free(m.times);
    Py_XDECREF(ends);
    Py_XDECREF(times);
    Py_XDECREF(m.records);
    return found;
}
