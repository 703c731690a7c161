/* Stores of three segments, whole or with one of their files spoilt, for trials. The user defines _GNU_SOURCE before
 * any include. */
#ifndef STREAMSTORE_SPOILT_H
#define STREAMSTORE_SPOILT_H

#include "trials.h"

static inline void flip(const char *name, off_t offset)
{
    char path[2 * PATH_SIZE];
    uint8_t byte;
    snprintf(path, sizeof path, "%s/%s", root, name);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK_EQUAL(pread(fd, &byte, 1, offset), 1);
    byte ^= 0x40;
    CHECK_EQUAL(pwrite(fd, &byte, 1, offset), 1);
    close(fd);
    now->damaged = 1;
}

static inline void forget_hints(void)
{
    char path[2 * PATH_SIZE];
    snprintf(path, sizeof path, "%s/control", root);
    CHECK_EQUAL(unlink(path), 0);
}

#define FIRST_FILE "streams/1/0/000000000001.seg"
#define SECOND_FILE "streams/1/0/000000000002.seg"
#define THIRD_FILE "streams/1/0/000000000003.seg"

static inline void made_of_three(void)
{
    CHECK_EQUAL(open_all(SS_OPEN_CREATE), SS_OK);
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(put(20), SS_OK);
        if (i < 2)
            CHECK_EQUAL(ss_log_roll(log_, 0), SS_OK);
    }
    CHECK_EQUAL(ss_log_sync(log_, 0), SS_OK);
}

static inline void made_with_a_bad_frame(void)
{
    made_of_three();
    flip(FIRST_FILE, SS_SEGMENT_HEADER_SIZE + 700);
    flip(SECOND_FILE, SS_SEGMENT_HEADER_SIZE + 8);
}

static inline void pack_first_two(void)
{
    ss_pack *pack;
    size_t count, left = 1;
    CHECK_EQUAL(ss_log_pack_begin(log_, 1, 2, &pack), SS_OK);
    CHECK_EQUAL(ss_log_pack_some(pack, 100, &count), SS_OK);
    while (left)
        CHECK_EQUAL(ss_log_pack_finish(pack, 100, &left), SS_OK);
    CHECK_EQUAL(ss_log_pack_commit(pack), SS_OK);
    ss_log_pack_free(pack);
}

static inline void made_with_a_bad_block(void)
{
    made_of_three();
    pack_first_two();
    flip(SECOND_FILE, SS_SEGMENT_HEADER_SIZE + 500);
}

static inline void made_with_a_bad_index(void)
{
    struct stat info;
    char path[2 * PATH_SIZE];
    made_of_three();
    pack_first_two();
    snprintf(path, sizeof path, "%s/%s", root, SECOND_FILE);
    CHECK_EQUAL(stat(path, &info), 0);
    flip(SECOND_FILE, info.st_size - 8);
}

#endif
