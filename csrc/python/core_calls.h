/* Calls into the core: when the GIL is released, how signals are served, and how a status becomes an exception. */
#ifndef STREAMSTORE_CORE_CALLS_H
#define STREAMSTORE_CORE_CALLS_H

#include "hot.h"

/* 0, or -1 with RuntimeError before bind(). */
int ss_core_calls_ready(const ss_hot_state *state);

typedef struct {
    ss_log *log;
    const ss_entry *entries;
    size_t count;
    size_t bytes;           /* roughly, of all entries: long copies are made without the GIL */
    uint64_t expected_tail; /* 0 = whatever it is */
    uint32_t terms;         /* that the writer was bound under; 0 = whatever they are */
    int flags;              /* SS_APPEND_RESERVE or 0 */
} ss_core_calls_batch;

/* Append and leave the core's answer in *status. All memory of the entries must stay valid and unchanged without the
 * GIL. 0, or -1 with the exception of a signal handler; nothing was appended then. */
int ss_core_calls_append(ss_hot_state *state, const ss_core_calls_batch *batch, uint64_t *positions, ss_appended *out,
                         ss_status *status);
/* Append if nothing has to be waited for; any other status than SS_OK says that nothing was. */
ss_status ss_core_calls_try(ss_hot_state *state, const ss_core_calls_batch *batch, ss_appended *out);
int ss_core_calls_sync(ss_hot_state *state, ss_log *log, uint64_t end_position, ss_status *status);

typedef struct {
    ss_log *log;
    uint64_t position;
    uint64_t end;
    uint8_t *buffer;
    size_t buffer_size;
    ss_record *records;
    size_t limit;
} ss_core_calls_read_request;

int ss_core_calls_read(ss_hot_state *state, const ss_core_calls_read_request *request, ss_read_result *result,
                       ss_status *status);

typedef struct {
    ss_log *log;
    uint64_t position;
    uint64_t epoch;
} ss_core_calls_get_request;

int ss_core_calls_get(ss_hot_state *state, const ss_core_calls_get_request *request, uint8_t *buffer,
                      size_t buffer_size, ss_record *record, ss_read_result *result, ss_status *status);

/* The facts on a log. One that this incarnation has not touched yet is recovered with the GIL held: for logs in use. */
int ss_core_calls_state(ss_hot_state *state, ss_log *log, ss_log_state *out, ss_status *status);

/* Raise through the bound function; `context` says what was going on. Always NULL. */
PyObject *ss_core_calls_raise(ss_hot_state *state, ss_status status, const char *format, ...);

#endif
