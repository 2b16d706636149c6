/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs a fuzz target over the files of its corpus, so that make check repeats what fuzzing found, with
 * any compiler.
 *
 *      replay [FILE...]       default: all of $srcdir/tests/fuzz/corpus/NAME
 */
#include "target.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>

#define FILE_SIZE_MAX (1 << 20)

static int replay(const char *path)
{
    FILE *f = fopen(path, "re");
    uint8_t *bytes = malloc(FILE_SIZE_MAX);
    if (!f || !bytes) {
        perror(path);
        return 1;
    }
    size_t n = fread(bytes, 1, FILE_SIZE_MAX, f);
    fclose(f);
    uint8_t *exact = realloc(bytes, n ? n : 1); /* a sanitizer sees reads behind it */
    LLVMFuzzerTestOneInput(exact ? exact : bytes, n);
    free(exact ? exact : bytes);
    return 0;
}

static int replay_folder(const char *folder)
{
    char path[4096 + 256 + 2];
    size_t files = 0;
    DIR *d = opendir(folder);
    if (!d) {
        perror(folder);
        return 1;
    }
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (replay(path) != 0)
            return 1;
        files++;
    }
    closedir(d);
    printf("%zu files of %s\n", files, folder);
    return files == 0;
}

int main(int argc, char **argv)
{
    char folder[4096];
    const char *source = getenv("srcdir");
    for (int i = 1; i < argc; i++)
        if (replay(argv[i]) != 0)
            return 1;
    if (argc > 1)
        return 0;
    snprintf(folder, sizeof folder, "%s/tests/fuzz/corpus/" FUZZ_CORPUS,
             source ? source : ".");
    return replay_folder(folder);
}
