/* Memory of results: large blocks that come back are kept for the next result, for the system would clear every page of a fresh one,
 * which takes as long as many an operator. */
#ifndef CONVC_MEMORY_H
#define CONVC_MEMORY_H

#include <stddef.h>

/* From this size on it pays; below it the C library keeps memory itself. */
#define CONVC_LARGE ((size_t)256 << 10)

/* At least `bytes`, a multiple of 64 from address 0; `size` says how many. NULL if there is none. */
void *convc_take(size_t bytes, size_t *size);
void convc_give_back(void *memory, size_t size);

#endif
