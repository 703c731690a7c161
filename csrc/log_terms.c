/* The terms of a stream as its writers know them: a number that grows with each change of its settings after which a
 * record must be put together in another way (encrypted, or under another key). A writer says with each append under
 * which terms it was bound; the append lock orders that against the change. */
#include "log.h"

ss_status ss_log_terms_raise(ss_log *log, uint32_t terms)
{
    ss_status status = ss_store_enter(log->store);
    if (status != SS_OK)
        return status;
    int taken_over;
    /* Who finds the word high enough finds it so since a lock was held: no older append can still be under way. */
    if (log->store->info.read_only)
        status = SS_READ_ONLY;
    else if (atomic_load(&log->entry->terms) < terms && (status = ss_log_lock(log, 0, &taken_over)) == SS_OK) {
        if (atomic_load(&log->entry->terms) < terms)
            atomic_store(&log->entry->terms, terms);
        ss_log_unlock(log);
    }
    ss_store_leave(log->store);
    return status;
}
