/* A driver for the fuzz targets where there is no libFuzzer: runs the inputs given, then changes them at random for so
 * many seconds. `replay SECONDS SEED FILE...` */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { INPUT_MAX = 4096, CORPUS_MAX = 1024 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t corpus[CORPUS_MAX][INPUT_MAX];
static size_t sizes[CORPUS_MAX];
static uint64_t state;

static uint64_t draw(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % below;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    size_t count = 0;
    for (int i = 3; i < argc && count < CORPUS_MAX; i++) {
        FILE *file = fopen(argv[i], "rb");
        if (!file)
            return 2;
        sizes[count] = fread(corpus[count], 1, INPUT_MAX, file);
        fclose(file);
        LLVMFuzzerTestOneInput(corpus[count], sizes[count]);
        count++;
    }
    state = strtoull(argv[2], NULL, 0) * 2 + 1;
    time_t end = time(NULL) + atol(argv[1]);
    unsigned long runs = count;
    static uint8_t input[INPUT_MAX];
    for (; time(NULL) < end; runs++) {
        size_t of = count ? draw(count) : 0, size = count && sizes[of] ? sizes[of] : 64;
        memcpy(input, corpus[of], INPUT_MAX);
        for (uint64_t changes = 1 + draw(8); changes; changes--)
            input[draw(size)] = draw(2) ? (uint8_t)draw(256) : (uint8_t)(input[draw(size)] ^ 1 << draw(8));
        size = draw(4) ? size : 1 + draw(size);
        LLVMFuzzerTestOneInput(input, size);
    }
    printf("Done %lu runs\n", runs);
    return 0;
}
