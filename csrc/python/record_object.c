/* The Record class. It holds the chunk that was read and offsets into it; nothing is decoded before it is asked for.
 * It refers to bytes and str only, so it can be in no cycle and the garbage collector need not know it. */
#include "record_object.h"

#include <assert.h>
#include <string.h>

#include "arguments.h"
#include "chunk.h"
#include "hash_key.h"
#include "sequence.h"

/* Enough for the records of a usual chunk; more would only hold memory. */
#define FREE_RECORDS_MAX 1024

typedef struct ss_record_object {
    PyObject_HEAD PyObject *chunk; /* bytes; in a dead Record kept for reuse: the next one */
    PyObject *shard_id;            /* str */
    ss_record fields;
    uint32_t shard_index;
    uint32_t part;       /* of an aggregate: which of its user records this is, from 0 */
    uint32_t part_count; /* of how many; 0: it came in no aggregate */
} record_object;

const ss_record *ss_record_object_parts(const ss_hot_state *state, PyObject *object, ss_record_object_origin *origin)
{
    if (Py_TYPE(object) != state->record_type) {
        PyErr_Format(PyExc_TypeError, "a Record is wanted, not %R", (PyObject *)Py_TYPE(object));
        return NULL;
    }
    const record_object *record = (const record_object *)object;
    *origin = (ss_record_object_origin){
        .chunk = record->chunk, .shard_id = record->shard_id, .shard_index = record->shard_index};
    return &record->fields;
}

static const uint8_t *bytes_at(const record_object *record, uint32_t offset)
{
    return (const uint8_t *)ss_chunk_at(record->chunk, offset);
}

PyObject *ss_record_object_new(ss_hot_state *state, const ss_record_object_origin *origin, const ss_record *fields)
{
    record_object *record = state->free_records;
    if (record != NULL) {
        state->free_records = (record_object *)(void *)record->chunk;
        state->free_record_count--;
        PyObject_Init((PyObject *)record, state->record_type);
    } else if ((record = PyObject_New(record_object, state->record_type)) == NULL) {
        return NULL;
    }
    Py_INCREF(origin->chunk);
    Py_INCREF(origin->shard_id);
    record->chunk = origin->chunk;
    record->shard_id = origin->shard_id;
    record->fields = *fields;
    record->shard_index = origin->shard_index;
    record->part = record->part_count = 0;
    return (PyObject *)record;
}

PyObject *ss_record_object_part(ss_hot_state *state, PyObject *object, const ss_aggregate_record *user, uint32_t part,
                                uint32_t part_count)
{
    const record_object *whole = (const record_object *)object;
    ss_record_object_origin origin = {whole->chunk, whole->shard_id, whole->shard_index};
    ss_record fields = whole->fields;
    fields.key_offset = fields.data_offset + user->key_offset;
    fields.key_size = (int32_t)user->key_size;
    fields.hash_key_present = (uint16_t)user->hash_key_present;
    fields.hash_key_hi = user->hash_key.hi;
    fields.hash_key_lo = user->hash_key.lo;
    fields.data_size = user->data_size;
    fields.data_offset += user->data_offset;
    PyObject *record = ss_record_object_new(state, &origin, &fields);
    if (record != NULL)
        ss_record_object_part_set(record, part, part_count);
    return record;
}

void ss_record_object_part_set(PyObject *record, uint32_t part, uint32_t part_count)
{
    ((record_object *)record)->part = part;
    ((record_object *)record)->part_count = part_count;
}

static void record_dealloc(PyObject *self)
{
    record_object *record = (record_object *)self;
    PyTypeObject *type = Py_TYPE(self);
    ss_hot_state *state = ss_hot_state_of(self);
    Py_DECREF(record->chunk);
    Py_DECREF(record->shard_id);
    if (state->free_record_count < FREE_RECORDS_MAX) {
        record->chunk = (PyObject *)(void *)state->free_records;
        state->free_records = record;
        state->free_record_count++;
    } else {
        PyObject_Free(record);
    }
    Py_DECREF(type); /* last: it may take the module and its state along */
}

void ss_record_object_forget(ss_hot_state *state)
{
    while (state->free_records != NULL) {
        record_object *record = state->free_records;
        state->free_records = (record_object *)(void *)record->chunk;
        PyObject_Free(record);
    }
    state->free_record_count = 0;
}

static PyObject *get_data(PyObject *self, void *Py_UNUSED(closure))
{
    const record_object *record = (const record_object *)self;
    return ss_chunk_bytes(record->chunk, record->fields.data_offset, record->fields.data_size);
}

static PyObject *get_view(PyObject *self, void *Py_UNUSED(closure))
{
    const record_object *record = (const record_object *)self;
    return ss_chunk_view(record->chunk, record->fields.data_offset, record->fields.data_size);
}

static PyObject *get_partition_key(PyObject *self, void *Py_UNUSED(closure))
{
    const record_object *record = (const record_object *)self;
    if (record->fields.key_size < 0)
        Py_RETURN_NONE;
    return ss_chunk_key(record->chunk, record->fields.key_offset, (uint32_t)record->fields.key_size);
}

static PyObject *get_explicit_hash_key(PyObject *self, void *Py_UNUSED(closure))
{
    const record_object *record = (const record_object *)self;
    const ss_record *fields = &record->fields;
    return ss_hash_key_or_none(fields->hash_key_present, fields->hash_key_hi, fields->hash_key_lo);
}

static PyObject *get_sequence_number(PyObject *self, void *Py_UNUSED(closure))
{
    const record_object *record = (const record_object *)self;
    char digits[SS_SEQUENCE_DIGITS];
    ss_sequence_format(record->fields.epoch, record->fields.position, record->shard_index, digits);
    return PyUnicode_FromStringAndSize(digits, sizeof digits);
}

static PyObject *get_next_position(PyObject *self, void *Py_UNUSED(closure))
{
    const record_object *record = (const record_object *)self;
    return PyLong_FromUnsignedLongLong(record->fields.position + record->fields.frame_size);
}

static PyObject *get_attribute_block(PyObject *self, void *Py_UNUSED(closure))
{
    const record_object *record = (const record_object *)self;
    return ss_chunk_bytes(record->chunk, record->fields.attributes_offset, record->fields.attributes_size);
}

static PyObject *call_bound(PyObject *function, PyObject *argument)
{
    if (function == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "_hot.bind() has not been called");
        return NULL;
    }
    return PyObject_CallFunctionObjArgs(function, argument, NULL);
}

/* 1 and a new reference, 0 if the key is not there, or -1. */
static int lookup(PyObject *map, const char *key, PyObject **out)
{
    if (!PyDict_Check(map)) {
        PyErr_SetString(PyExc_ValueError, "the attribute block of this record is not a map");
        return -1;
    }
    PyObject *name = PyUnicode_FromString(key);
    if (name == NULL)
        return -1;
    *out = PyDict_GetItemWithError(map, name);
    Py_XINCREF(*out);
    Py_DECREF(name);
    return *out != NULL ? 1 : PyErr_Occurred() ? -1 : 0;
}

/* What stands in the attribute block under `key`, as lookup() tells it. */
static int attribute(PyObject *self, const char *key, PyObject **out)
{
    if (((const record_object *)self)->fields.attributes_size == 0)
        return 0;
    PyObject *block = get_attribute_block(self, NULL);
    if (block == NULL)
        return -1;
    PyObject *map = call_bound(ss_hot_state_of(self)->unpack, block);
    Py_DECREF(block);
    if (map == NULL)
        return -1;
    int found = lookup(map, key, out);
    Py_DECREF(map);
    return found;
}

static PyObject *get_attributes(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *map;
    int found = attribute(self, "u", &map);
    return found < 0 ? NULL : found ? map : PyDict_New();
}

static PyObject *get_source(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *map;
    int found = attribute(self, "s", &map);
    if (found == 0)
        Py_RETURN_NONE;
    return found < 0 ? NULL : map;
}

static PyObject *get_event_us(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *event_us;
    int found = attribute(self, "t", &event_us);
    if (found == 0)
        Py_RETURN_NONE;
    return found < 0 ? NULL : event_us;
}

static PyObject *get_event_time(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *event_us;
    int found = attribute(self, "t", &event_us);
    if (found == 0)
        Py_RETURN_NONE;
    if (found < 0)
        return NULL;
    PyObject *time = call_bound(ss_hot_state_of(self)->make_time, event_us);
    Py_DECREF(event_us);
    return time;
}

static PyObject *get_arrival_time(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *arrival_us = PyLong_FromUnsignedLongLong(((const record_object *)self)->fields.arrival_us);
    if (arrival_us == NULL)
        return NULL;
    PyObject *time = call_bound(ss_hot_state_of(self)->make_time, arrival_us);
    Py_DECREF(arrival_us);
    return time;
}

static int same_bytes(const record_object *a, uint32_t a_offset, uint32_t a_size, const record_object *b,
                      uint32_t b_offset, uint32_t b_size)
{
    return a_size == b_size && memcmp(bytes_at(a, a_offset), bytes_at(b, b_offset), a_size) == 0;
}

static int same_key(const record_object *a, const record_object *b)
{
    const ss_record *x = &a->fields, *y = &b->fields;
    if (x->key_size < 0 || y->key_size < 0)
        return x->key_size == y->key_size;
    return same_bytes(a, x->key_offset, (uint32_t)x->key_size, b, y->key_offset, (uint32_t)y->key_size);
}

static int same_hash_key(const ss_record *x, const ss_record *y)
{
    if (!x->hash_key_present || !y->hash_key_present)
        return !x->hash_key_present == !y->hash_key_present;
    return x->hash_key_hi == y->hash_key_hi && x->hash_key_lo == y->hash_key_lo;
}

static int same_record(const record_object *a, const record_object *b)
{
    const ss_record *x = &a->fields, *y = &b->fields;
    return x->position == y->position && x->epoch == y->epoch && a->shard_index == b->shard_index &&
           a->part == b->part && a->part_count == b->part_count && x->arrival_us == y->arrival_us &&
           same_hash_key(x, y) && same_key(a, b) &&
           same_bytes(a, x->data_offset, x->data_size, b, y->data_offset, y->data_size) &&
           same_bytes(a, x->attributes_offset, x->attributes_size, b, y->attributes_offset, y->attributes_size) &&
           PyUnicode_Compare(a->shard_id, b->shard_id) == 0;
}

static PyObject *record_compare(PyObject *self, PyObject *other, int operation)
{
    if (Py_TYPE(self) != Py_TYPE(other) || (operation != Py_EQ && operation != Py_NE))
        Py_RETURN_NOTIMPLEMENTED;
    int same = self == other || same_record((const record_object *)self, (const record_object *)other);
    return PyBool_FromLong(same == (operation == Py_EQ));
}

/* A sequence number names one payload, so position and epoch are enough, and the place in an aggregate. */
static Py_hash_t record_hash(PyObject *self)
{
    const ss_record *fields = &((const record_object *)self)->fields;
    uint64_t mixed = (fields->position ^ fields->epoch << 20) * UINT64_C(0x9e3779b97f4a7c15) ^
                     ((const record_object *)self)->shard_index ^ (uint64_t)((const record_object *)self)->part << 24;
    Py_hash_t hash = (Py_hash_t)(mixed ^ mixed >> 32);
    return hash == -1 ? -2 : hash;
}

static PyObject *record_repr(PyObject *self)
{
    const record_object *record = (const record_object *)self;
    PyObject *number = get_sequence_number(self, NULL);
    PyObject *key = get_partition_key(self, NULL);
    PyObject *text = NULL;
    if (number != NULL && key != NULL)
        text = PyUnicode_FromFormat("<Record %U %U key=%R, %u bytes>", record->shard_id, number, key,
                                    (unsigned)record->fields.data_size);
    Py_XDECREF(number);
    Py_XDECREF(key);
    return text;
}

static PyObject *record_reduce(PyObject *self, PyObject *Py_UNUSED(unused))
{
    const record_object *record = (const record_object *)self;
    const ss_record *fields = &record->fields;
    PyObject *module = PyType_GetModule(Py_TYPE(self));
    PyObject *make = module == NULL ? NULL : PyObject_GetAttrString(module, "make_record");
    if (make == NULL)
        return NULL;
    /* N hands each new reference over; a NULL among them makes the whole fail. */
    return Py_BuildValue("N(OIKKKKKNNNNII)", make, record->shard_id, (unsigned)record->shard_index,
                         (unsigned long long)fields->epoch, (unsigned long long)fields->position,
                         (unsigned long long)(fields->position + fields->frame_size),
                         (unsigned long long)fields->ordinal, (unsigned long long)fields->arrival_us,
                         get_data(self, NULL), get_partition_key(self, NULL), get_explicit_hash_key(self, NULL),
                         get_attribute_block(self, NULL), (unsigned)record->part, (unsigned)record->part_count);
}

static PyMethodDef methods[] = {
    {"__reduce__", record_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

#define FIELD(name, type, field, text) \
    {name, type, (Py_ssize_t)offsetof(record_object, field), READONLY, PyDoc_STR(text)}
static PyMemberDef members[] = {
    FIELD("shard_id", T_OBJECT_EX, shard_id, "The shard that holds it."),
    FIELD("position", T_ULONGLONG, fields.position, "Where it stands in its shard's log, in bytes."),
    FIELD("epoch", T_ULONGLONG, fields.epoch, "The epoch it was written under."),
    FIELD("ordinal", T_ULONGLONG, fields.ordinal, "Its number in its shard, from 1."),
    FIELD("arrival_us", T_ULONGLONG, fields.arrival_us, "When it arrived, in microseconds since 1970 UTC."),
    FIELD("size", T_UINT, fields.data_size, "Bytes of data."),
    FIELD("sub_sequence_number", T_UINT, part,
          "Its place in the aggregate it came in, from 0; 0 where it came in none."),
    FIELD("user_record_count", T_UINT, part_count, "How many its aggregate has; 0 where it came in none."),
    FIELD("seal_offset", T_UINT, fields.seal_offset, "Not 0 in an encrypted record that is still to be opened."),
    {NULL, 0, 0, 0, NULL},
};
#undef FIELD

#define FIELD(name, get, text) {name, get, NULL, PyDoc_STR(text), NULL}
static PyGetSetDef getters[] = {
    FIELD("data", get_data, "The record's bytes."),
    FIELD("view", get_view, "The record's bytes without a copy; holds the chunk they were read in."),
    FIELD("partition_key", get_partition_key, "The partition key, or None where there is none."),
    FIELD("explicit_hash_key", get_explicit_hash_key, "The explicit hash key, 0 to 2**128 - 1, or None."),
    FIELD("sequence_number", get_sequence_number, "The sequence number: 56 decimal digits."),
    FIELD("next_position", get_next_position, "The position right after it."),
    FIELD("arrival_time", get_arrival_time, "When it arrived, as an aware datetime."),
    FIELD("attribute_block", get_attribute_block, "Its attributes as stored (msgpack); empty where there are none."),
    FIELD("attributes", get_attributes, "What the producer attached to it; a fresh dict."),
    FIELD("event_us", get_event_us, "When it happened, as the producer said, in microseconds since 1970 UTC, or None."),
    FIELD("event_time", get_event_time, "When it happened, as the producer said, as an aware datetime, or None."),
    FIELD("source", get_source, "Where it was captured or imported from, or None."),
    {NULL, NULL, NULL, NULL, NULL},
};
#undef FIELD

static PyType_Slot slots[] = {
    {Py_tp_doc, SS_HOT_SLOT("One record: immutable, picklable, valid after its store is closed.")},
    {Py_tp_dealloc, SS_HOT_SLOT(record_dealloc)},
    {Py_tp_richcompare, SS_HOT_SLOT(record_compare)},
    {Py_tp_hash, SS_HOT_SLOT(record_hash)},
    {Py_tp_repr, SS_HOT_SLOT(record_repr)},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {Py_tp_getset, getters},
    {0, NULL},
};

PyType_Spec ss_record_object_spec = {
    .name = "streamstore._hot.Record",
    .basicsize = sizeof(record_object),
    .flags = (unsigned)(SS_HOT_TYPE_FLAGS | Py_TPFLAGS_DISALLOW_INSTANTIATION),
    .slots = slots,
};
