/* From Python arguments to the core's entries. Knows no log and appends nothing. */
#include "arguments.h"

#include <string.h>

#define PARTITION_KEY_LENGTH_MAX 256

static int bind_keyword(const ss_arguments_signature *signature, PyObject *name, PyObject *value, PyObject **values)
{
    for (Py_ssize_t i = 0; i < signature->count; i++) {
        if (PyUnicode_CompareWithASCIIString(name, signature->names[i]) != 0)
            continue;
        if (values[i] != NULL) {
            PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument '%U'", signature->function, name);
            return -1;
        }
        values[i] = value;
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", signature->function, name);
    return -1;
}

int ss_arguments_bind(const ss_arguments_signature *signature, PyObject *const *args, Py_ssize_t arg_count,
                      PyObject *names, PyObject **values)
{
    if (arg_count > signature->count) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %zd arguments, %zd were given", signature->function,
                     signature->count, arg_count);
        return -1;
    }
    for (Py_ssize_t i = 0; i < signature->count; i++)
        values[i] = i < arg_count ? args[i] : NULL;
    Py_ssize_t keyword_count = names == NULL ? 0 : PyTuple_Size(names);
    for (Py_ssize_t i = 0; i < keyword_count; i++)
        if (bind_keyword(signature, PyTuple_GetItem(names, i), args[arg_count + i], values) < 0)
            return -1;
    for (Py_ssize_t i = 0; i < signature->required; i++) {
        if (values[i] == NULL) {
            PyErr_Format(PyExc_TypeError, "%s() misses the argument '%s'", signature->function, signature->names[i]);
            return -1;
        }
    }
    return 0;
}

int ss_arguments_u64(PyObject *value, const char *name, uint64_t max, uint64_t *out)
{
    if (!PyLong_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%s must be an int, not %R", name, (PyObject *)Py_TYPE(value));
        return -1;
    }
    unsigned long long got = PyLong_AsUnsignedLongLong(value);
    if (got == (unsigned long long)-1 && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_OverflowError))
            return -1;
        PyErr_Clear();
    } else if (got <= max) {
        *out = got;
        return 0;
    }
    PyErr_Format(PyExc_ValueError, "%s must be 0 to %llu", name, (unsigned long long)max);
    return -1;
}

int ss_arguments_pointer(PyObject *value, const char *name, void **out)
{
    uint64_t address;
    if (ss_arguments_u64(value, name, UINTPTR_MAX, &address) < 0)
        return -1;
    *out = (void *)(uintptr_t)address;
    return 0;
}

/* Raise `type` with the message, led by the entry's index where there is one. Always -1. */
static int refuse(const ss_arguments_rules *rules, PyObject *type, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    PyObject *message = PyUnicode_FromFormatV(format, list);
    va_end(list);
    if (message == NULL)
        return -1;
    if (rules->index >= 0)
        PyErr_Format(type, "entry %zd: %U", rules->index, message);
    else
        PyErr_SetObject(type, message);
    Py_DECREF(message);
    return -1;
}

/* "bytes" for an object's type, or NULL; a new reference. */
static PyObject *type_name(PyObject *object)
{
    return PyObject_GetAttrString((PyObject *)Py_TYPE(object), "__name__");
}

static int refuse_type(const ss_arguments_rules *rules, const char *wanted, PyObject *got)
{
    PyObject *name = type_name(got);
    if (name == NULL)
        return -1;
    refuse(rules, rules->state->error_type, "%s, not %S", wanted, name);
    Py_DECREF(name);
    return -1;
}

static int refuse_size(const ss_arguments_rules *rules, size_t data_size, size_t key_size)
{
    return refuse(rules, rules->state->error_too_large,
                  "a record of %zu bytes (data %zu, partition key %zu) is over the limit of %llu bytes",
                  data_size + key_size, data_size, key_size, (unsigned long long)rules->record_size_max);
}

PyObject *ss_arguments_sequence(const ss_hot_state *state, PyObject *entries)
{
    if (PyList_Check(entries) || PyTuple_Check(entries))
        return PySequence_Tuple(entries);
    PyObject *iterator = PyObject_GetIter(entries);
    if (iterator == NULL) {
        if (PyErr_ExceptionMatches(PyExc_TypeError)) {
            PyErr_Clear();
            PyErr_Format(state->error_type, "a sequence is wanted, not %R", (PyObject *)Py_TYPE(entries));
        }
        return NULL;
    }
    PyObject *tuple = PySequence_Tuple(iterator);
    Py_DECREF(iterator);
    return tuple;
}

int ss_arguments_split(const ss_arguments_rules *rules, PyObject *entry, Py_ssize_t items_max, PyObject **kept,
                       ss_arguments_parts *parts)
{
    if (PyList_Check(entry)) {
        if (*kept == NULL && (*kept = PyList_New(0)) == NULL)
            return -1;
        PyObject *copy = PyList_AsTuple(entry);
        if (copy == NULL)
            return -1;
        int appended = PyList_Append(*kept, copy);
        Py_DECREF(copy);
        if (appended < 0)
            return -1;
        entry = copy;
    } else if (!PyTuple_Check(entry)) {
        PyErr_Format(rules->state->error_type,
                     "entry %zd: must be a tuple (data, partition_key[, explicit_hash_key]), not %R", rules->index,
                     (PyObject *)Py_TYPE(entry));
        return -1;
    }
    Py_ssize_t size = PyTuple_Size(entry);
    if (size < 2 || size > items_max) {
        PyErr_Format(rules->state->error_argument,
                     "entry %zd: has %zd items; (data, partition_key[, explicit_hash_key]) is wanted", rules->index,
                     size);
        return -1;
    }
    parts->data = PyTuple_GetItem(entry, 0);
    parts->partition_key = PyTuple_GetItem(entry, 1);
    parts->explicit_hash_key = size >= 3 ? PyTuple_GetItem(entry, 2) : NULL;
    parts->attribute_block = NULL;
    return 0;
}

/* How many bytes a copy would take, before it is made. */
static int buffer_size(PyObject *data, size_t *size)
{
    if (PyByteArray_Check(data)) {
        *size = (size_t)PyByteArray_Size(data);
        return 0;
    }
    PyObject *number = PyObject_GetAttrString(data, "nbytes");
    if (number == NULL)
        return -1;
    *size = PyLong_AsSize_t(number);
    Py_DECREF(number);
    return *size == (size_t)-1 && PyErr_Occurred() ? -1 : 0;
}

/* Bytes cannot change while the GIL is released; these can, so they are copied. A borrowed reference, owned by
 * *kept. */
static PyObject *copy_buffer(const ss_arguments_rules *rules, PyObject *data, PyObject **kept)
{
    size_t size;
    if (buffer_size(data, &size) < 0)
        goto released;
    if (size > rules->record_size_max) {
        refuse_size(rules, size, 0);
        return NULL;
    }
    if (*kept == NULL && (*kept = PyList_New(0)) == NULL)
        return NULL;
    PyObject *copy = PyBytes_FromObject(data);
    if (copy == NULL)
        goto released;
    int appended = PyList_Append(*kept, copy);
    Py_DECREF(copy);
    return appended < 0 ? NULL : copy;
released:
    if (PyErr_ExceptionMatches(PyExc_ValueError)) {
        PyErr_Clear();
        refuse(rules, rules->state->error_argument, "data is a memoryview that was released");
    }
    return NULL;
}

static int take_data(const ss_arguments_rules *rules, PyObject *data, PyObject **kept, ss_entry *entry)
{
    if (!PyBytes_Check(data)) {
        if (PyUnicode_Check(data))
            return refuse(rules, rules->state->error_type,
                          "data must be bytes, not str: encode it first, as in data.encode()");
        if (!PyByteArray_Check(data) && !PyMemoryView_Check(data))
            return refuse_type(rules, "data must be bytes, bytearray or memoryview", data);
        data = copy_buffer(rules, data, kept);
        if (data == NULL)
            return -1;
    }
    entry->data = (const uint8_t *)PyBytes_AsString(data);
    entry->data_size = (size_t)PyBytes_Size(data);
    return 0;
}

static int take_key(const ss_arguments_rules *rules, PyObject *key, ss_entry *entry)
{
    if (key == Py_None) {
        entry->key = NULL;
        entry->key_size = -1;
        return 0;
    }
    if (!PyUnicode_Check(key))
        return refuse_type(rules, "partition_key must be str or None", key);
    Py_ssize_t size;
    const char *text = PyUnicode_AsUTF8AndSize(key, &size);
    if (text == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError))
            return -1;
        PyErr_Clear();
        return refuse(rules, rules->state->error_argument,
                      "partition_key has a lone surrogate and cannot be written as UTF-8");
    }
    if (size == 0)
        return refuse(rules, rules->state->error_argument, "partition_key is empty: 1 to %d characters, or None",
                      PARTITION_KEY_LENGTH_MAX);
    /* There are never more characters than bytes, so most keys need no count; 256 characters are at most 1,024
     * bytes. */
    if (size > PARTITION_KEY_LENGTH_MAX) {
        Py_ssize_t length = PyUnicode_GetLength(key);
        if (length < 0)
            return -1;
        if (length > PARTITION_KEY_LENGTH_MAX)
            return refuse(rules, rules->state->error_argument, "partition_key has %zd characters, over the limit of %d",
                          length, PARTITION_KEY_LENGTH_MAX);
    }
    entry->key = (const uint8_t *)text;
    entry->key_size = (int32_t)size;
    return 0;
}

/* The 64 bits above the lowest 64; -1 with OverflowError where the int is negative or longer than 128. */
static int high_bits(PyObject *number, uint64_t *out)
{
    PyObject *shift = PyLong_FromLong(64);
    if (shift == NULL)
        return -1;
    PyObject *high = PyNumber_Rshift(number, shift);
    Py_DECREF(shift);
    if (high == NULL)
        return -1;
    unsigned long long got = PyLong_AsUnsignedLongLong(high);
    Py_DECREF(high);
    if (got == (unsigned long long)-1 && PyErr_Occurred())
        return -1;
    *out = got;
    return 0;
}

int ss_arguments_hash_key(const ss_arguments_rules *rules, PyObject *value, ss_entry *entry)
{
    entry->hash_key_present = 0;
    entry->hash_key_hi = entry->hash_key_lo = 0;
    if (value == NULL || value == Py_None)
        return 0;
    if (!PyIndex_Check(value))
        return refuse_type(rules, "explicit_hash_key must be an int or None", value);
    PyObject *number = PyNumber_Index(value);
    if (number == NULL)
        return -1;
    uint64_t high = 0;
    int status = high_bits(number, &high);
    unsigned long long low = status == 0 ? PyLong_AsUnsignedLongLongMask(number) : 0;
    Py_DECREF(number);
    if (status < 0 || (low == (unsigned long long)-1 && PyErr_Occurred())) {
        if (!PyErr_ExceptionMatches(PyExc_OverflowError))
            return -1;
        PyErr_Clear();
        return refuse(rules, rules->state->error_argument, "explicit_hash_key must be 0 to 2**128 - 1");
    }
    entry->hash_key_present = 1;
    entry->hash_key_hi = high;
    entry->hash_key_lo = low;
    return 0;
}

static int take_attributes(const ss_arguments_rules *rules, PyObject *block, ss_entry *entry)
{
    entry->attributes = NULL;
    entry->attributes_size = 0;
    if (block == NULL || block == Py_None)
        return 0;
    if (!PyBytes_Check(block))
        return refuse_type(rules, "attribute_block must be bytes or None", block);
    Py_ssize_t size = PyBytes_Size(block);
    if (size > SS_ATTRIBUTES_SIZE_MAX)
        return refuse(rules, rules->state->error_too_large, "attributes take %zd bytes, over the limit of %d", size,
                      SS_ATTRIBUTES_SIZE_MAX);
    entry->attributes = (const uint8_t *)PyBytes_AsString(block);
    entry->attributes_size = (uint32_t)size;
    return 0;
}

int ss_arguments_entry(const ss_arguments_rules *rules, const ss_arguments_parts *parts, PyObject **kept,
                       ss_entry *entry)
{
    if (take_data(rules, parts->data, kept, entry) < 0 || take_key(rules, parts->partition_key, entry) < 0 ||
        ss_arguments_hash_key(rules, parts->explicit_hash_key, entry) < 0 ||
        take_attributes(rules, parts->attribute_block, entry) < 0)
        return -1;
    entry->seal = NULL;
    size_t key_size = entry->key_size < 0 ? 0 : (size_t)entry->key_size;
    if (entry->data_size > rules->record_size_max || key_size > rules->record_size_max - entry->data_size)
        return refuse_size(rules, entry->data_size, key_size);
    if (entry->key_size < 0 && !entry->hash_key_present && !rules->shard_known)
        return refuse(rules, rules->state->error_argument,
                      "partition_key is None: give explicit_hash_key to place the record");
    return 0;
}
