/* Stretches of a chunk of records as Python values: what the classes that point into one have in common. `chunk` is
 * exactly bytes, and the stretch lies inside it. */
#ifndef STREAMSTORE_CHUNK_H
#define STREAMSTORE_CHUNK_H

#include "hot.h"

static inline const char *ss_chunk_at(PyObject *chunk, uint32_t offset)
{
    return PyBytes_AsString(chunk) + offset;
}

/* A copy. */
static inline PyObject *ss_chunk_bytes(PyObject *chunk, uint32_t offset, uint32_t size)
{
    return PyBytes_FromStringAndSize(ss_chunk_at(chunk, offset), (Py_ssize_t)size);
}

/* A memoryview, which holds the chunk. */
static inline PyObject *ss_chunk_view(PyObject *chunk, uint32_t offset, uint32_t size)
{
    PyObject *whole = PyMemoryView_FromObject(chunk);
    if (whole == NULL)
        return NULL;
    PyObject *view = PySequence_GetSlice(whole, (Py_ssize_t)offset, (Py_ssize_t)offset + (Py_ssize_t)size);
    Py_DECREF(whole);
    return view;
}

/* A partition key is UTF-8 unless a foreign writer put other bytes there; those survive as lone surrogates. */
static inline PyObject *ss_chunk_key(PyObject *chunk, uint32_t offset, uint32_t size)
{
    return PyUnicode_DecodeUTF8(ss_chunk_at(chunk, offset), (Py_ssize_t)size, "surrogateescape");
}

#endif
