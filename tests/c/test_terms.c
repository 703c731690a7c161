/* The terms of a stream: who was bound under older ones is turned away, and segments say what their records need. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "packs.h"
#include "segment.h"

static void check_terms(void)
{
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE), *other = open_store(0);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS), *same = open_log(other, SS_DURABILITY_PROCESS);
    uint8_t byte = 1;
    ss_entry entry = {.data = &byte, .data_size = 1, .key_size = -1};
    ss_appended appended;
    ss_log_state before, after;
    CHECK_EQUAL(ss_log_append_under(log, 1, &entry, 1, 0, 0, NULL, &appended), SS_OK);
    CHECK_EQUAL(ss_log_terms_raise(same, 3, NULL, 0), SS_OK); /* by whatever process */
    CHECK_EQUAL(ss_log_state_get(log, &before), SS_OK);
    for (uint32_t terms = 1; terms < 3; terms++)
        for (int flags = 0; flags <= SS_APPEND_TRY; flags++)
            CHECK_EQUAL(ss_log_append_under(log, terms, &entry, 1, 0, flags, NULL, &appended), SS_CHANGED);
    CHECK_EQUAL(ss_log_state_get(log, &after), SS_OK);
    CHECK_EQUAL(after.tail, before.tail);
    CHECK_EQUAL(ss_log_append_under(log, 3, &entry, 1, 0, 0, NULL, &appended), SS_CHANGED); /* not told of them here */
    CHECK_EQUAL(ss_log_terms_raise(log, 4, NULL, 0), SS_OK);
    CHECK_EQUAL(ss_log_append_under(log, 4, &entry, 1, 0, 0, NULL, &appended), SS_OK);
    CHECK_EQUAL(ss_log_append(log, &entry, 1, 0, 0, NULL, &appended), SS_OK); /* who asks for no terms */
    CHECK_EQUAL(ss_log_terms_raise(log, 2, NULL, 0), SS_OK);
    CHECK_EQUAL(ss_log_append_under(log, 2, &entry, 1, 0, 0, NULL, &appended), SS_CHANGED); /* they never fall */
    close_store(other);
    close_store(store);
    store = open_store(SS_OPEN_READ_ONLY);
    CHECK_EQUAL(ss_log_terms_raise(open_log(store, SS_DURABILITY_PROCESS), 9, NULL, 0), SS_READ_ONLY);
    close_store(store);
    remove_root();
}

/* The description of the active segment, and how many segments there are. */
static size_t described(ss_log *log, char *words, size_t size)
{
    ss_segment_info segments[16];
    size_t count = list_segments(log, segments, 16), got = 0;
    char path[128];
    uint8_t header[SS_SEGMENT_HEADER_SIZE];
    ss_segment_facts facts = {0};
    snprintf(path, sizeof path, "%s/streams/1/0/%012llu.seg", root, (unsigned long long)segments[count - 1].ordinal);
    FILE *file = fopen(path, "rb");
    CHECK(file && (got = fread(header, 1, sizeof header, file)) == sizeof header);
    if (file)
        fclose(file);
    CHECK_EQUAL(ss_segment_decode_header(header, &facts), SS_OK);
    snprintf(words, size, "%.*s", (int)facts.description_size,
             facts.description ? (const char *)facts.description : "");
    return count;
}

/* What is written under new terms stands in a segment that knows them, whoever made it, and in no more of them than
 * needed. */
static void check_descriptions(void)
{
    fresh_root();
    ss_store *store = open_store(SS_OPEN_CREATE), *other = open_store(0);
    ss_log *log = open_log(store, SS_DURABILITY_PROCESS), *same = open_log(other, SS_DURABILITY_PROCESS);
    uint8_t byte = 1;
    char words[64];
    ss_entry entry = {.data = &byte, .data_size = 1, .key_size = -1};
    ss_appended appended;
    CHECK_EQUAL(ss_log_append_under(log, 1, &entry, 1, 0, 0, NULL, &appended), SS_OK);
    CHECK_EQUAL(ss_log_terms_raise(log, 2, (const uint8_t *)"key 1", 5), SS_OK);
    CHECK_EQUAL(ss_log_append_under(log, 2, &entry, 1, 0, SS_APPEND_TRY, NULL, &appended), SS_WOULD_BLOCK);
    CHECK_EQUAL(ss_log_append_under(log, 2, &entry, 1, 0, 0, NULL, &appended), SS_OK);
    CHECK_EQUAL(described(log, words, sizeof words), 2);
    CHECK(strcmp(words, "key 1") == 0);
    CHECK_EQUAL(ss_log_append_under(log, 2, &entry, 1, 0, SS_APPEND_TRY, NULL, &appended), SS_OK);
    /* Settings that change nothing for writers are told by the next segment, whenever that comes. */
    CHECK_EQUAL(ss_log_terms_raise(same, 2, (const uint8_t *)"key 1 and more", 14), SS_OK);
    CHECK_EQUAL(ss_log_append_under(same, 2, &entry, 1, 0, 0, NULL, &appended), SS_OK);
    CHECK_EQUAL(described(log, words, sizeof words), 2);
    CHECK_EQUAL(ss_log_terms_raise(same, 3, (const uint8_t *)"key 2", 5), SS_OK);
    CHECK_EQUAL(ss_log_roll(log, 0), SS_OK); /* by one who does not know yet */
    CHECK_EQUAL(ss_log_append_under(same, 3, &entry, 1, 0, 0, NULL, &appended), SS_OK);
    CHECK_EQUAL(described(log, words, sizeof words), 4);
    CHECK(strcmp(words, "key 2") == 0);
    close_store(other);
    close_store(store);
    store = open_store(0); /* and it goes on there */
    log = open_log(store, SS_DURABILITY_PROCESS);
    CHECK_EQUAL(ss_log_terms_raise(log, 3, (const uint8_t *)"key 2", 5), SS_OK);
    CHECK_EQUAL(ss_log_append_under(log, 3, &entry, 1, 0, 0, NULL, &appended), SS_OK);
    CHECK_EQUAL(described(log, words, sizeof words), 4);
    close_store(store);
    store = open_store(0); /* unless it changed in between */
    log = open_log(store, SS_DURABILITY_PROCESS);
    CHECK_EQUAL(ss_log_terms_raise(log, 4, (const uint8_t *)"key 3", 5), SS_OK);
    CHECK_EQUAL(ss_log_append_under(log, 4, &entry, 1, 0, 0, NULL, &appended), SS_OK);
    CHECK_EQUAL(described(log, words, sizeof words), 5);
    CHECK(strcmp(words, "key 3") == 0);
    close_store(store);
    remove_root();
}

int main(void)
{
    check_terms();
    check_descriptions();
    return check_report();
}
