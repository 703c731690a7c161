/* msgpack as far as finding a number in it needs: what an item is, how long it is, and passing over it. */
#include "attribute_scan.h"

#include <string.h>

typedef struct {
    const uint8_t *at, *end;
} cursor;

typedef enum { UNSIGNED, TEXT, MAP, ARRAY, OTHER, UNKNOWN } item_kind;

typedef struct {
    item_kind kind;
    uint64_t number;     /* the value of an UNSIGNED, the items of an ARRAY, the pairs of a MAP, the bytes of a TEXT */
    const uint8_t *text; /* of a TEXT */
} item;

static size_t left(const cursor *c)
{
    return (size_t)(c->end - c->at);
}

/* The next `size` bytes, at most 8, as a number; 0 where they are not there, 1 otherwise. */
static int number(cursor *c, size_t size, uint64_t *out)
{
    if (left(c) < size)
        return 0;
    *out = 0;
    for (size_t i = 0; i < size; i++)
        *out = *out << 8 | c->at[i];
    c->at += size;
    return 1;
}

static item payload(cursor *c, item_kind kind, uint64_t size)
{
    if (left(c) < size)
        return (item){.kind = UNKNOWN};
    const uint8_t *text = c->at;
    c->at += size;
    return (item){kind, size, text};
}

/* Every element takes a byte at least: so no count is believed that the rest cannot hold. */
static item container(const cursor *c, item_kind kind, uint64_t count)
{
    return left(c) < count ? (item){.kind = UNKNOWN} : (item){.kind = kind, .number = count};
}

static item signed_number(cursor *c, size_t size)
{
    uint64_t found;
    if (!number(c, size, &found))
        return (item){.kind = UNKNOWN};
    int negative = (int)(found >> (8 * size - 1));
    return (item){.kind = negative ? OTHER : UNSIGNED, .number = found};
}

/* Items whose first byte is a code of its own and says how many bytes of a number follow. */
static item coded(cursor *c, uint8_t code)
{
    static const struct {
        uint8_t first, last; /* codes; each has twice the bytes of the one before it */
        uint8_t size;
        item_kind kind;
    } codes[] = {
        {0xcc, 0xcf, 1, UNSIGNED}, {0xc4, 0xc6, 1, OTHER}, {0xd9, 0xdb, 1, TEXT},
        {0xdc, 0xdd, 2, ARRAY},    {0xde, 0xdf, 2, MAP},
    };
    uint64_t found;
    if (code == 0xc0 || code == 0xc2 || code == 0xc3) /* nil, false, true */
        return (item){.kind = OTHER};
    if (code == 0xca || code == 0xcb) /* float */
        return payload(c, OTHER, code == 0xca ? 4 : 8);
    if (code >= 0xd0 && code <= 0xd3)
        return signed_number(c, (size_t)1 << (code - 0xd0));
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        if (code < codes[i].first || code > codes[i].last)
            continue;
        if (!number(c, (size_t)codes[i].size << (code - codes[i].first), &found))
            break;
        if (codes[i].kind == UNSIGNED)
            return (item){.kind = UNSIGNED, .number = found};
        if (codes[i].kind == ARRAY || codes[i].kind == MAP)
            return container(c, codes[i].kind, found);
        return payload(c, codes[i].kind, found);
    }
    return (item){.kind = UNKNOWN}; /* extensions among them: their bytes may be refused by whoever makes objects */
}

/* The next item; of a container only its head, its items follow. */
static item next(cursor *c)
{
    if (left(c) == 0)
        return (item){.kind = UNKNOWN};
    uint8_t code = *c->at++;
    if (code < 0x80)
        return (item){.kind = UNSIGNED, .number = code};
    if (code < 0x90)
        return container(c, MAP, code & 0x0f);
    if (code < 0xa0)
        return container(c, ARRAY, code & 0x0f);
    if (code < 0xc0)
        return payload(c, TEXT, code & 0x1f);
    return code >= 0xe0 ? (item){.kind = OTHER} : coded(c, code);
}

/* Pass over what belongs to an item whose head was read; 0 where that is not all there. */
static int pass(cursor *c, item head)
{
    uint64_t waiting = head.kind == MAP ? 2 * head.number : head.kind == ARRAY ? head.number : 0;
    while (waiting > 0) {
        head = next(c);
        if (head.kind == UNKNOWN)
            return 0;
        waiting += head.kind == MAP ? 2 * head.number : head.kind == ARRAY ? head.number : 0;
        waiting--;
    }
    return head.kind != UNKNOWN;
}

static int is_text(const item *it, const char *text)
{
    return it->number == strlen(text) && memcmp(it->text, text, (size_t)it->number) == 0;
}

static ss_scan find(cursor *c, const char *key, const char *inner, uint64_t *out)
{
    item map = next(c);
    if (map.kind != MAP)
        return SS_SCAN_UNSURE;
    for (uint64_t i = 0; i < map.number; i++) {
        item name = next(c);
        if (name.kind != TEXT)
            return SS_SCAN_UNSURE;
        int found = is_text(&name, key);
        const uint8_t *begin = c->at;
        item value = next(c);
        if (found && inner != NULL && value.kind == MAP) {
            c->at = begin;
            return find(c, inner, NULL, out);
        }
        if (found && value.kind != UNKNOWN) {
            *out = value.number;
            return inner == NULL && value.kind == UNSIGNED ? SS_SCAN_FOUND : SS_SCAN_ABSENT;
        }
        if (!pass(c, value))
            return SS_SCAN_UNSURE;
    }
    return SS_SCAN_ABSENT;
}

ss_scan ss_attribute_scan(const uint8_t *bytes, size_t size, const char *key, const char *inner, uint64_t *out)
{
    cursor c = {bytes, bytes + size};
    return find(&c, key, inner, out);
}
