/* Memory for packed weights, workspaces and results. */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include "memory.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "impl.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#define HUGE_PAGE (2 << 20)

/* From a few huge pages on, ask for them: a stream of weights then meets 512 times fewer page faults, table walks and ends of
 * prefetching. */
void *convc_allocate(size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    void *p;
    if (bytes < 2 * HUGE_PAGE) return malloc(bytes);
    if (posix_memalign(&p, HUGE_PAGE, bytes)) return NULL;
    madvise(p, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
    return p;
#else
    return malloc(bytes);
#endif
}

/* ---- results ---- */

#define ALIGNMENT ((size_t)64)
#if defined(__SANITIZE_ADDRESS__) /* which is to see every block go */
#define KEPT_BYTES ((size_t)0)
#else
#define KEPT_BYTES ((size_t)128 << 20) /* in all; the oldest go first */
#endif
#define KEPT_BLOCKS 64
#define SLACK 4 /* a block is not lent for less than 1 - 1/4 of its size */

typedef struct block {
    void *memory; /* as the C library gave it */
    size_t size;
} block;

/* Sorted by when they came back. Whoever finds the list in use, in another thread or since a fork, does without it. */
static struct {
    atomic_flag in_use;
    int count;
    size_t bytes;
    block blocks[KEPT_BLOCKS];
} kept = {.in_use = ATOMIC_FLAG_INIT};

static block remove_block(int i) {
    block b = kept.blocks[i];
    kept.count--;
    kept.bytes -= b.size;
    for (; i < kept.count; i++) kept.blocks[i] = kept.blocks[i + 1];
    return b;
}

/* The smallest block that holds `bytes`, of several the last one, which the caches may still hold; no memory if there is none. */
static block find_block(size_t bytes) {
    int best = -1;
    for (int i = 0; i < kept.count; i++) {
        size_t size = kept.blocks[i].size;
        if (size >= bytes && size - bytes <= size / SLACK && (best < 0 || size <= kept.blocks[best].size)) best = i;
    }
    return best < 0 ? (block){0} : remove_block(best);
}

/* The address that the block was made for, behind a word that leads back to it. */
static void *aligned(void *memory) {
    uintptr_t at = ((uintptr_t)memory + sizeof(void *) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    ((void **)at)[-1] = memory;
    return (void *)at;
}

void *convc_take(size_t bytes, size_t *size) {
    block b = {0};
    if (!atomic_flag_test_and_set_explicit(&kept.in_use, memory_order_acquire)) {
        b = find_block(bytes);
        atomic_flag_clear_explicit(&kept.in_use, memory_order_release);
    }
    if (!b.memory && bytes <= SIZE_MAX - 2 * ALIGNMENT) b = (block){convc_allocate(bytes + 2 * ALIGNMENT), bytes};
    *size = b.size;
    return b.memory ? aligned(b.memory) : NULL;
}

void convc_give_back(void *memory, size_t size) {
    block gone[KEPT_BLOCKS + 1];
    int count = 0;
    if (!memory) return;
    block b = {((void **)memory)[-1], size};
    if (size > KEPT_BYTES / 2 || atomic_flag_test_and_set_explicit(&kept.in_use, memory_order_acquire)) {
        free(b.memory);
        return;
    }
    while (kept.count == KEPT_BLOCKS || kept.bytes + size > KEPT_BYTES) gone[count++] = remove_block(0);
    kept.blocks[kept.count++] = b;
    kept.bytes += size;
    atomic_flag_clear_explicit(&kept.in_use, memory_order_release);
    while (count > 0) free(gone[--count].memory);
}
