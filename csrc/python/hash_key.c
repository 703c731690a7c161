/* Hash keys as Python's ints. The stable interface makes no int from bytes, so it goes by hexadecimal digits. */
#include "hash_key.h"

PyObject *ss_hash_key_number(uint64_t hi, uint64_t lo)
{
    char digits[2 * 16 + 1];
    PyOS_snprintf(digits, sizeof digits, "%016llx%016llx", (unsigned long long)hi, (unsigned long long)lo);
    return PyLong_FromString(digits, NULL, 16);
}

PyObject *ss_hash_key_or_none(int present, uint64_t hi, uint64_t lo)
{
    if (!present)
        Py_RETURN_NONE;
    return ss_hash_key_number(hi, lo);
}
