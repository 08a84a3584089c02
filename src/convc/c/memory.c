/* Memory for packed weights and workspaces. */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
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
