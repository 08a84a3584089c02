/* Local response normalisation of a few pixels: shared by lrn.c and kernels/lrn_tmpl.c. */
#ifndef CONVC_LRN_H
#define CONVC_LRN_H

#include "impl.h"

/* n pixels of all channels; steps, in elements, from pixel to pixel and from channel to channel. Tensors x, to, and backward g. */
typedef struct lrn_block {
    void *data[3];
    int64_t step[3], stride_c[3];
    int64_t n, channels;
    int64_t before, after; /* channels of a window beside its own */
    double scale, beta, k; /* of the sum, to which k is added before it is raised to -beta */
} lrn_block;

#endif
