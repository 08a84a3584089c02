/* What normalisation is made of: blocks of pixels, and the mean and spread of what was seen. Shared by norm.c, layer_norm.c and
 * kernels/norm_tmpl.c. */
#ifndef CONVC_NORM_H
#define CONVC_NORM_H

#include <math.h>

#include "impl.h"

#define NORM_COEFS 4

/* n pixels of some channels of up to three tensors; steps, in elements, from pixel to pixel and from channel to channel. */
typedef struct norm_block {
    void *data[3]; /* NULL: not there */
    int64_t step[3], stride_c[3];
    int64_t n, channels;
} norm_block;

/* Of `count` numbers; m2 is the sum of the squares of their distances from the mean. */
typedef struct moments {
    double count, mean, m2;
} moments;

/* Joins those of other numbers (Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance", 1983). */
static inline void moments_add(moments *a, double count, double mean, double m2) {
    if (a->count == 0) {
        *a = (moments){count, mean, m2};
        return;
    }
    double total = a->count + count, apart = mean - a->mean, share = count / total;
    /* Where the distance is infinite a mean may be, which stays, or it overflows. */
    a->mean = isfinite(apart) ? a->mean + apart * share : a->mean * (a->count / total) + mean * share;
    a->m2 += m2 + apart * (apart * (a->count * share));
    a->count = total;
}

/* ---- checks that all normalisations share (norm.c) ---- */

typedef struct norm_array {
    const convc_tensor *tensor; /* NULL: not there */
    const char *name;
} norm_array;

#define NORM_ARRAYS 8

/* `size` numbers of x's dtype, or NULL. */
convc_status convc_norm_check_vector(const convc_tensor *t, const char *name, int64_t size, const convc_tensor *x);
/* The means or inverse deviations that a caller keeps: doubles of a shape, or NULL. */
convc_status convc_norm_check_kept(const convc_tensor *mean, const convc_tensor *inv_std, const int64_t *shape, int ndim);
convc_status convc_norm_check_eps(double eps);
/* The first `outs` arrays, which are written, share memory with none of the others. */
convc_status convc_norm_check_outputs(const norm_array all[NORM_ARRAYS], int outs);

#endif
