/* One form for all max pools: three spatial dimensions, strides in elements. Shared by pool.c and kernels/pool_tmpl.c. */
#ifndef CONVC_POOL_H
#define CONVC_POOL_H

#include "conv.h"

/* Window o meets tap t at coordinate o * step + t * dilation - pad; only taps inside x count. Backward, x and y are the
 * gradients. */
typedef struct pool {
    convc_dtype dtype;
    volume x, y, indices; /* indices.data is NULL where nobody asks for them */
    int64_t kernel[3], step[3], dilation[3], pad[3];
    int channels_last;  /* channels are contiguous in x: vectors run along them, else along the last spatial dimension */
    int dense;          /* y is contiguous in the order n, c, d, h, w */
    int64_t pixel_step; /* from element to element of a channel of x, in flat order; 0 where the steps differ */
} pool;

/* A window, or the row that it begins: the output's coordinates. */
typedef struct place {
    int64_t n, c, o[3];
} place;

/* Output number i in the order n, c, d, h, w, or in n, d, h, w with all channels at once. */
static inline place pool_place(const pool *p, int64_t i) {
    place at;
    for (int k = 2; k >= 0; k--) {
        at.o[k] = i % p->y.size[k];
        i /= p->y.size[k];
    }
    at.c = p->channels_last ? 0 : i % p->y.c;
    at.n = p->channels_last ? i : i / p->y.c;
    return at;
}

static inline void pool_next_row(const pool *p, place *at) {
    at->o[2] = 0;
    if (++at->o[1] < p->y.size[1]) return;
    at->o[1] = 0;
    if (++at->o[0] < p->y.size[0]) return;
    at->o[0] = 0;
    if (!p->channels_last && ++at->c < p->y.c) return;
    at->c = 0;
    at->n++;
}

/* The element at (n, c) and the given coordinates. */
static inline int64_t volume_offset(const volume *v, const place *at, const int64_t coordinate[3]) {
    return at->n * v->stride_n + at->c * v->stride_c + coordinate[0] * v->stride[0] + coordinate[1] * v->stride[1] +
           coordinate[2] * v->stride[2];
}

/* Where the window's first tap lies along dimension k; before the image by up to its padding. */
static inline int64_t window_start(const pool *p, int k, int64_t o) { return o * p->step[k] - p->pad[k]; }

/* The taps first..end (exclusive) that lie inside the image, of the window that starts at the coordinate given. */
typedef struct tap_range {
    int64_t first, end;
} tap_range;

static inline tap_range taps_inside(const pool *p, int k, int64_t start) {
    tap_range t = {0, p->kernel[k]};
    if (start < 0) t.first = ceil_div(-start, p->dilation[k]);
    if (start + (t.end - 1) * p->dilation[k] >= p->x.size[k])
        t.end = start >= p->x.size[k] ? 0 : ceil_div(p->x.size[k] - start, p->dilation[k]);
    return t;
}

/* The coordinate of the first tap inside the image; the nearest one that exists if a dilated window misses the image. */
static inline int64_t first_inside(const pool *p, int k, int64_t start) {
    int64_t at = start < 0 ? start + ceil_div(-start, p->dilation[k]) * p->dilation[k] : start;
    return min_i64(at, p->x.size[k] - 1);
}

static inline int64_t flat_index(const pool *p, const int64_t coordinate[3]) {
    return (coordinate[0] * p->x.size[1] + coordinate[1]) * p->x.size[2] + coordinate[2];
}

#endif
