/* _hot.sealed_parts() and _hot.open_record(): an encrypted record as its cipher wants it, and the record in plain. The
 * cipher itself is Python's affair; nothing here knows a key. */
#include "sealed_record.h"

#include <string.h>

#include "arguments.h"
#include "record_object.h"

/* The seal: key id 4, nonce 12, tag 16. The tag follows the ciphertext where a cipher takes it. */
enum { KEY_ID_SIZE = 4, NONCE_SIZE = 12, TAG_SIZE = 16, HASH_KEY_SIZE = 16 };
_Static_assert(KEY_ID_SIZE + NONCE_SIZE + TAG_SIZE == SS_SEAL_SIZE, "docs/format.md says 32");

static size_t key_size_of(const ss_record *fields)
{
    return fields->key_size < 0 ? 0 : (size_t)fields->key_size;
}

/* Ciphertext and tag in one piece: a hash key in clear may stand in the middle of the former. */
static PyObject *box_of(const ss_record *fields, const char *chunk)
{
    size_t attributes = fields->attributes_size, rest = key_size_of(fields) + fields->data_size;
    PyObject *box = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(attributes + rest + TAG_SIZE));
    if (box == NULL)
        return NULL;
    char *to = PyBytes_AsString(box);
    memcpy(to, chunk + fields->attributes_offset, attributes);
    memcpy(to + attributes, chunk + fields->key_offset, rest);
    memcpy(to + attributes + rest, chunk + fields->seal_offset + KEY_ID_SIZE + NONCE_SIZE, TAG_SIZE);
    return box;
}

/* What the tag covers besides: stream id, key id, attributes size, key size + 1, each 4 bytes, and the hash key. */
static PyObject *covered_of(const ss_record *fields, uint32_t stream_id, uint32_t key_id)
{
    uint32_t words[4] = {stream_id, key_id, fields->attributes_size, (uint32_t)(fields->key_size + 1)};
    uint64_t hash_key[2] = {fields->hash_key_lo, fields->hash_key_hi};
    char bytes[sizeof words + HASH_KEY_SIZE];
    memcpy(bytes, words, sizeof words);
    memcpy(bytes + sizeof words, hash_key, HASH_KEY_SIZE);
    return PyBytes_FromStringAndSize(bytes, (Py_ssize_t)(fields->hash_key_present ? sizeof bytes : sizeof words));
}

PyObject *ss_sealed_record_parts(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names)
{
    static const char *const parameters[] = {"record", "stream_id", NULL};
    static const ss_arguments_signature signature = {"sealed_parts", parameters, 2, 2};
    PyObject *values[2];
    ss_record_object_origin origin;
    uint64_t stream_id;
    if (ss_arguments_bind(&signature, args, arg_count, names, values) < 0 ||
        ss_arguments_u64(values[1], "stream_id", UINT32_MAX, &stream_id) < 0)
        return NULL;
    const ss_record *fields = ss_record_object_parts(PyModule_GetState(module), values[0], &origin);
    if (fields == NULL)
        return NULL;
    if (fields->seal_offset == 0)
        Py_RETURN_NONE;
    const char *chunk = PyBytes_AsString(origin.chunk), *seal = chunk + fields->seal_offset;
    uint32_t key_id;
    memcpy(&key_id, seal, sizeof key_id);
    return Py_BuildValue("(INNN)", (unsigned)key_id, PyBytes_FromStringAndSize(seal + KEY_ID_SIZE, NONCE_SIZE),
                         box_of(fields, chunk), covered_of(fields, (uint32_t)stream_id, key_id));
}

PyObject *ss_sealed_record_open(PyObject *module, PyObject *const *args, Py_ssize_t arg_count, PyObject *names)
{
    static const char *const parameters[] = {"record", "plain", NULL};
    static const ss_arguments_signature signature = {"open_record", parameters, 2, 2};
    PyObject *values[2];
    ss_record_object_origin origin;
    if (ss_arguments_bind(&signature, args, arg_count, names, values) < 0)
        return NULL;
    ss_hot_state *state = PyModule_GetState(module);
    const ss_record *fields = ss_record_object_parts(state, values[0], &origin);
    if (fields == NULL)
        return NULL;
    size_t key_size = key_size_of(fields), size = fields->attributes_size + key_size + fields->data_size;
    if (!PyBytes_CheckExact(values[1]) || (size_t)PyBytes_Size(values[1]) != size) {
        PyErr_Format(PyExc_ValueError, "the plain text of this record is %zu bytes", size);
        return NULL;
    }
    ss_record opened = *fields;
    opened.frame_offset = opened.attributes_offset = opened.seal_offset = 0;
    opened.key_offset = opened.attributes_size;
    opened.data_offset = (uint32_t)(opened.attributes_size + key_size);
    origin.chunk = values[1];
    return ss_record_object_new(state, &origin, &opened);
}
