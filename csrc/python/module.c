/* The module streamstore._hot: its functions, its state and bind(). What needs speed on every record is here in C;
 * all that has a policy or a text stays in Python and comes in through bind(). */
#include "aggregating.h"
#include "appender.h"
#include "arguments.h"
#include "core_calls.h"
#include "deaggregating.h"
#include "getter.h"
#include "hot.h"
#include "intake.h"
#include "make_record.h"
#include "owner.h"
#include "put_result.h"
#include "put_results.h"
#include "reader.h"
#include "record_lists.h"
#include "record_object.h"
#include "sealed_record.h"
#include "sequence.h"
#include "taker.h"
#include "target.h"
#include "user_put.h"
#include "user_record.h"

static void replace(PyObject **slot, PyObject *value)
{
    PyObject *old = *slot;
    Py_INCREF(value);
    *slot = value;
    Py_XDECREF(old);
}

/* The class that stands under that key, borrowed; NULL with an error. */
static PyObject *error_class(PyObject *errors, const char *key)
{
    /* not by PyDict_GetItemString, to which a lack of memory is a lack of the item */
    PyObject *name = PyUnicode_FromString(key);
    if (name == NULL)
        return NULL;
    PyObject *error = PyDict_GetItemWithError(errors, name);
    Py_DECREF(name);
    if (error != NULL && PyExceptionClass_Check(error))
        return error;
    if (!PyErr_Occurred())
        PyErr_Format(PyExc_TypeError, "errors['%s'] must be an exception class", key);
    return NULL;
}

/* All three or none. */
static int bind_errors(ss_hot_state *state, PyObject *errors)
{
    PyObject *argument = error_class(errors, "argument");
    PyObject *type = argument == NULL ? NULL : error_class(errors, "type");
    PyObject *too_large = type == NULL ? NULL : error_class(errors, "too_large");
    if (too_large == NULL)
        return -1;
    replace(&state->error_argument, argument);
    replace(&state->error_type, type);
    replace(&state->error_too_large, too_large);
    return 0;
}

static PyObject *hot_bind(PyObject *module, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"table_address", "raise_for", "unpack", "make_time", "partial_put", "errors", NULL};
    PyObject *address, *raise_for, *unpack, *make_time, *partial_put, *errors;
    void *table;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OOOOOO!:bind", names, &address, &raise_for, &unpack, &make_time,
                                     &partial_put, &PyDict_Type, &errors) ||
        ss_arguments_pointer(address, "table_address", &table) < 0)
        return NULL;
    const ss_function_table *core = table;
    if (core == NULL || core->version != SS_FUNCTIONS_VERSION || core->size != sizeof *core) {
        PyErr_SetString(PyExc_ImportError, "streamstore._hot and streamstore._core are of different builds");
        return NULL;
    }
    ss_hot_state *state = PyModule_GetState(module);
    if (bind_errors(state, errors) < 0)
        return NULL;
    replace(&state->raise_for, raise_for);
    replace(&state->unpack, unpack);
    replace(&state->make_time, make_time);
    replace(&state->partial_put, partial_put);
    state->core = core;
    Py_RETURN_NONE;
}

static PyObject *sequence_number(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t arg_count,
                                 PyObject *names)
{
    static const char *const parameters[] = {"epoch", "position", "shard_index", NULL};
    static const ss_arguments_signature signature = {"sequence_number", parameters, 3, 3};
    PyObject *values[3];
    uint64_t epoch, position, shard_index;
    if (ss_arguments_bind(&signature, args, arg_count, names, values) < 0 ||
        ss_arguments_u64(values[0], "epoch", (UINT64_C(1) << SS_SEQUENCE_EPOCH_BITS) - 1, &epoch) < 0 ||
        ss_arguments_u64(values[1], "position", UINT64_MAX, &position) < 0 ||
        ss_arguments_u64(values[2], "shard_index", UINT32_MAX, &shard_index) < 0)
        return NULL;
    char digits[SS_SEQUENCE_DIGITS];
    ss_sequence_format(epoch, position, (uint32_t)shard_index, digits);
    return PyUnicode_FromStringAndSize(digits, sizeof digits);
}

static PyObject *parse_sequence_number(PyObject *module, PyObject *text)
{
    ss_hot_state *state = PyModule_GetState(module);
    if (!PyUnicode_Check(text)) {
        PyErr_Format(PyExc_TypeError, "a sequence number is a str, not %R", (PyObject *)Py_TYPE(text));
        return NULL;
    }
    Py_ssize_t size;
    const char *digits = PyUnicode_AsUTF8AndSize(text, &size);
    uint64_t epoch, position;
    uint32_t shard_index;
    if (digits == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError))
            return NULL;
        PyErr_Clear(); /* a lone surrogate is no digit */
    } else if (ss_sequence_parse(digits, (size_t)size, &epoch, &position, &shard_index)) {
        return Py_BuildValue("(KKI)", (unsigned long long)epoch, (unsigned long long)position, (unsigned)shard_index);
    }
    PyErr_Format(state->error_argument, "not a sequence number of this store: %.80R", text);
    return NULL;
}

static PyMethodDef methods[] = {
    {"bind", (PyCFunction)(void (*)(void))hot_bind, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("bind($module, table_address, raise_for, unpack, make_time, partial_put, errors)\n--\n\n"
               "Connect this module to the core's functions and to what Python decides; once, at import.")},
    {"sequence_number", SS_HOT_FASTCALL(sequence_number), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "sequence_number($module, epoch, position, shard_index)\n--\n\nThe sequence number of a record: 56 digits.")},
    {"parse_sequence_number", parse_sequence_number, METH_O,
     PyDoc_STR("parse_sequence_number($module, text, /)\n--\n\n(epoch, position, shard_index); errors['argument'] if "
               "it is not one of ours.")},
    {"append", SS_HOT_FASTCALL(ss_appender_append), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "append($module, log, data, expected_tail, reserve)\n--\n\nAppend one event if the log's tail is the expected "
         "one; the new tail, or 0 where it was not. With\n`reserve` it may use the space kept for what frees space.")},
    {"get", SS_HOT_FASTCALL(ss_getter_get), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("get($module, log, shard_index, shard_id, position, epoch)\n--\n\nThe Record exactly there, or None; "
               "SS_TRIMMED, SS_CORRUPT and all else raise.")},
    {"make_record", SS_HOT_FASTCALL(ss_make_record), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("make_record($module, shard_id, shard_index, epoch, position, next_position, ordinal, arrival_us, data, "
               "partition_key,\n"
               "            explicit_hash_key=None, attribute_block=b'', sub_sequence_number=0, user_record_count=0)\n"
               "--\n\nA Record from its parts.")},
    {"make_user_record", SS_HOT_FASTCALL(ss_user_record_make), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("make_user_record($module, data, partition_key, explicit_hash_key=None)\n--\n\nA UserRecord from its "
               "parts.")},
    {"aggregate", SS_HOT_FASTCALL(ss_aggregating), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "aggregate($module, entries, ranges, range_count, size_max, count_max, record_size_max)\n"
         "--\n\n[(data, "
         "partition_key, explicit_hash_key, range, entries)]: one a Kinesis record, in the order of the ranges.")},
    {"settle", SS_HOT_FASTCALL(ss_user_put_settle), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("settle($module, puts, outcome)\n--\n\nGive a list of UserPut their outcome: (bytes of data, tries "
               "before, those with callbacks or None).")},
    {"data_size", ss_record_lists_data_size, METH_O,
     PyDoc_STR("data_size($module, records, /)\n--\n\nHow many bytes of data a list of Records has in all.")},
    {"deaggregate", ss_deaggregating_bytes, METH_O,
     PyDoc_STR("deaggregate($module, data, /)\n--\n\nThe UserRecords in an aggregate; anything else is one of its "
               "own.")},
    {"deaggregate_records", SS_HOT_FASTCALL(ss_deaggregating_records), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("deaggregate_records($module, records, rule, start, end)\n--\n\n(Records with every aggregate taken "
               "apart, how many user records the rule left out).")},
    {"make_put_result", SS_HOT_FASTCALL(ss_put_result_make), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("make_put_result($module, shard_id, shard_index, epoch, position, arrival_us)\n--\n\nA PutResult from "
               "its parts.")},
    {"make_put_results", ss_put_results_make, METH_O,
     PyDoc_STR("make_put_results($module, items, /)\n--\n\nPutResults from a tuple of PutResult.")},
    {"merge_records", SS_HOT_FASTCALL(ss_record_lists_merge), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("merge_records($module, parts, begins, grows, times=None)\n--\n\n(records, times, ends): lists of "
               "Records as one, by arrival, or by times as `record_times`\ngives them; ties stay in the order of the "
               "parts. Each from where it begins to where it ends,\nwhich is where one came to its end that grows.")},
    {"open_record", SS_HOT_FASTCALL(ss_sealed_record_open), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("open_record($module, record, plain)\n--\n\nThe encrypted Record with its attributes, key and data in "
               "plain.")},
    {"record_times", SS_HOT_FASTCALL(ss_record_lists_times), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("record_times($module, records, by, latest)\n--\n\nThe arrival (0), event (1) or source (2) times of a "
               "list of Records, 8 bytes each, none below\nthe one before it, the first not below `latest`.")},
    {"sealed_parts", SS_HOT_FASTCALL(ss_sealed_record_parts), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("sealed_parts($module, record, stream_id)\n--\n\n(key id, nonce, ciphertext with tag, associated data) "
               "of an encrypted Record; None for a plain one.")},
    {"read", SS_HOT_FASTCALL(ss_reader_read), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "read($module, log, shard_index, shard_id, position, end, limit, buffer_size)\n--\n\n"
         "(records, next_position, visible, end_of_log, status, damage_begin, damage_end, sealed): at most `limit` "
         "Records, at most\n"
         "buffer_size bytes of frames unless one alone is longer; SS_CORRUPT and SS_TRIMMED come as the status, all\n"
         "else raises. `sealed` says that some Record is encrypted.")},
    {"take", SS_HOT_FASTCALL(ss_taker_take), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "take($module, log, shard_index, shard_id, events, horizon_us, position, expected_tail, now_us, "
         "visibility_us,\n     owner)\n--\n\n"
         "(the plain Record that begins there, new tail of `events`), once the event that says it was received is "
         "appended\nthere; False where nothing came in either log; True where that needs a closer look, with "
         "nothing done.")},
    {"own", SS_HOT_FASTCALL(ss_owner_own), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("own($module, memory, release)\n--\n\nAn object whose last reference calls the function at `release` "
               "with `memory`;\nboth are addresses.")},
    {"disown", ss_owner_disown, METH_O,
     PyDoc_STR("disown($module, owner, /)\n--\n\nLeave that memory where it is, for ever: it is another process's to "
               "free.")},
    {"visible", ss_appender_visible, METH_O,
     PyDoc_STR("visible($module, log, /)\n--\n\nThe end of what readers of a log may see.")},
    {NULL, NULL, 0, NULL},
};

static int add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **slot)
{
    *slot = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    return *slot == NULL ? -1 : PyModule_AddType(module, *slot);
}

/* So that isinstance(results, Sequence) says the truth. */
static int register_sequence(PyTypeObject *type)
{
    PyObject *abc = PyImport_ImportModule("collections.abc");
    PyObject *sequence = abc == NULL ? NULL : PyObject_GetAttrString(abc, "Sequence");
    PyObject *done = sequence == NULL ? NULL : PyObject_CallMethod(sequence, "register", "O", (PyObject *)type);
    Py_XDECREF(abc);
    Py_XDECREF(sequence);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static int hot_exec(PyObject *module)
{
    ss_hot_state *state = PyModule_GetState(module);
    replace(&state->error_argument, PyExc_ValueError);
    replace(&state->error_type, PyExc_TypeError);
    replace(&state->error_too_large, PyExc_ValueError);
    if (add_type(module, &ss_record_object_spec, &state->record_type) < 0 ||
        add_type(module, &ss_put_result_spec, &state->put_result_type) < 0 ||
        add_type(module, &ss_put_results_spec, &state->put_results_type) < 0 ||
        add_type(module, &ss_target_spec, &state->target_type) < 0 ||
        add_type(module, &ss_user_record_spec, &state->user_record_type) < 0 ||
        add_type(module, &ss_user_put_spec, &state->user_put_type) < 0 ||
        add_type(module, &ss_intake_spec, &state->intake_type) < 0)
        return -1;
    return register_sequence(state->put_results_type);
}

static int hot_traverse(PyObject *module, visitproc visit, void *arg)
{
    ss_hot_state *state = PyModule_GetState(module);
    Py_VISIT(state->raise_for);
    Py_VISIT(state->unpack);
    Py_VISIT(state->make_time);
    Py_VISIT(state->partial_put);
    Py_VISIT(state->error_argument);
    Py_VISIT(state->error_type);
    Py_VISIT(state->error_too_large);
    Py_VISIT(state->record_type);
    Py_VISIT(state->put_result_type);
    Py_VISIT(state->put_results_type);
    Py_VISIT(state->target_type);
    Py_VISIT(state->user_record_type);
    Py_VISIT(state->user_put_type);
    Py_VISIT(state->intake_type);
    return 0;
}

/* Called when nothing can reach the module any more; a live Record or Target would, through its type. */
static int hot_clear(PyObject *module)
{
    ss_hot_state *state = PyModule_GetState(module);
    state->core = NULL;
    Py_CLEAR(state->raise_for);
    Py_CLEAR(state->unpack);
    Py_CLEAR(state->make_time);
    Py_CLEAR(state->partial_put);
    Py_CLEAR(state->error_argument);
    Py_CLEAR(state->error_type);
    Py_CLEAR(state->error_too_large);
    Py_CLEAR(state->record_type);
    Py_CLEAR(state->put_result_type);
    Py_CLEAR(state->put_results_type);
    Py_CLEAR(state->target_type);
    Py_CLEAR(state->user_record_type);
    Py_CLEAR(state->user_put_type);
    Py_CLEAR(state->intake_type);
    ss_record_object_forget(state);
    ss_reader_forget(state);
    return 0;
}

static void hot_free(void *module)
{
    hot_clear(module);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, SS_HOT_SLOT(hot_exec)},
    {0, NULL},
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "streamstore._hot",
    .m_doc = PyDoc_STR("Puts, reads and Records at C speed, over the same core as streamstore._core."),
    .m_size = sizeof(ss_hot_state),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = hot_traverse,
    .m_clear = hot_clear,
    .m_free = hot_free,
};

PyMODINIT_FUNC PyInit__hot(void)
{
    return PyModuleDef_Init(&definition);
}
