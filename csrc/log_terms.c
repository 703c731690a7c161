/* The terms of a stream as its writers know them: a number that grows with each change of its settings after which a
 * record must be put together in another way (encrypted, or under another key). A writer says with each append under
 * which terms it was bound; the append lock orders that against the change.
 *
 * What is written under new terms stands in a segment whose description knows them: with the catalog gone, the wrapped
 * key of every record is found beside it. */
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "log.h"

/* Of two processes that change settings one after the other the later one's words stay. */
static ss_status replace_description(ss_log *log, uint32_t terms, const uint8_t *description, uint32_t size)
{
    if (terms < log->described)
        return SS_OK;
    uint8_t *copy = size ? malloc(size) : NULL;
    if (size && !copy)
        return SS_NO_MEMORY;
    if (size)
        memcpy(copy, description, size);
    pthread_mutex_lock(&log->table_mutex);
    if (size) {
        free(log->description);
        log->description = copy;
        log->description_size = size;
    }
    log->described = terms;
    pthread_mutex_unlock(&log->table_mutex);
    return SS_OK;
}

ss_status ss_log_terms_raise(ss_log *log, uint32_t terms, const uint8_t *description, size_t description_size)
{
    if (description_size > SS_DESCRIPTION_SIZE_MAX)
        return SS_INVALID;
    ss_status status = ss_store_enter(log->store);
    if (status != SS_OK)
        return status;
    int taken_over;
    if (log->store->info.read_only)
        status = SS_READ_ONLY;
    else if ((status = ss_log_lock(log, 0, &taken_over)) == SS_OK) {
        status = replace_description(log, terms, description, (uint32_t)description_size);
        /* Only then: who appends under these terms must find a description of them here. */
        if (status == SS_OK && atomic_load(&log->entry->terms) < terms)
            atomic_store(&log->entry->terms, terms);
        ss_log_unlock(log);
    }
    ss_store_leave(log->store);
    return status;
}

void ss_log_encode_header(ss_log *log, const ss_segment_facts *facts, uint8_t header[SS_SEGMENT_HEADER_SIZE])
{
    ss_segment_facts whole = *facts;
    pthread_mutex_lock(&log->table_mutex);
    whole.description = log->description;
    whole.description_size = log->description_size;
    ss_segment_encode_header(&whole, header);
    pthread_mutex_unlock(&log->table_mutex);
}

/* Whether the active segment says word for word what would be said of a new one. */
static ss_status same_description(const ss_log *log, int *same)
{
    uint8_t header[SS_SEGMENT_HEADER_SIZE];
    ss_segment_facts facts;
    size_t got = sizeof header;
    ss_status status = SS_OK;
    if (log->writer->map)
        memcpy(header, log->writer->map, sizeof header);
    else
        status = ss_file_read(log->writer->fd, header, sizeof header, 0, &got);
    *same = status == SS_OK && got == sizeof header && ss_segment_decode_header(header, &facts) == SS_OK &&
            facts.description_size == log->description_size &&
            (!facts.description_size || memcmp(facts.description, log->description, facts.description_size) == 0);
    return status;
}

ss_status ss_log_describe_active(ss_log *log, uint32_t terms, uint64_t first)
{
    ss_control_entry *entry = log->entry;
    if (log->described < terms)
        return SS_CHANGED; /* the caller never raised them here */
    int same = 0;
    if (!atomic_load(&entry->described)) { /* of an earlier incarnation, or of a roll by one who knew less */
        ss_status status = same_description(log, &same);
        if (status != SS_OK)
            return status;
    }
    if (same) {
        atomic_store(&entry->described, log->described);
        return SS_OK;
    }
    return ss_log_roll_to(log, atomic_load(&entry->tail), atomic_load(&entry->epoch), first);
}
