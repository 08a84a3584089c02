/* One form for all pools: three spatial dimensions, strides in elements. Shared by pool.c, avg_pool.c, unpool.c and their kernels. */
#ifndef CONVC_POOL_H
#define CONVC_POOL_H

#include "conv.h"

#define POOL_FLOPS 8.0 /* what an element of x costs, in flops */

/* Along dimension k window o meets tap t at coordinate o * step + t * dilation - pad; only taps inside x count. In an adaptive
 * dimension it is a share of x instead, from the integer at or before o * x.size / y.size to the one at or after
 * (o + 1) * x.size / y.size; there kernel and step are the most that windows have and move by. Backward, x and y are the gradients. */
typedef struct pool {
    convc_dtype dtype;
    volume x, y, indices; /* indices.data is NULL where nobody asks for them */
    int64_t kernel[3], step[3], dilation[3], pad[3];
    int adaptive[3];
    int channels_last; /* channels are contiguous in x: vectors run along them, else along the last spatial dimension */
    int dense; /* y is contiguous in the order n, c, d, h, w */
    int64_t pixel_step; /* from element to element of a channel of x, in flat order; 0 where the steps differ */
} pool;

/* The form of a pool whose windows are single elements; then those of the parameters, or of equal shares of x. */
pool convc_pool_of(const convc_tensor *x, const convc_tensor *y, const convc_tensor *indices);
void convc_pool_windows(pool *p, const convc_pool_params *params, int spatial);
void convc_pool_shares(pool *p);

/* x and y go together, by params or as the shares of an image; indices are int64 with y's shape. */
convc_status convc_check_pool(const convc_tensor *x, const convc_pool_params *params, const convc_tensor *y);
convc_status convc_check_adaptive(const convc_tensor *x, const convc_tensor *y);
convc_status convc_check_indices(const convc_tensor *indices, const convc_tensor *y);

/* How outputs are shared out: tasks of about equal numbers of units, which are rows of outputs, or single ones where rows are few. */
typedef struct pool_shares {
    int64_t units, unit, tasks;
    int64_t wanted; /* tasks, if there were enough units */
    double work; /* elements */
} pool_shares;
pool_shares convc_share_pool(const pool *p);
/* For what adds to x: a channel of an image is always one task's, so that no two add to one element and the order of additions never
 * changes. In how many parts are the channels of an image shared out? */
int64_t convc_channel_parts(const pool *p, double work);

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
static inline int64_t window_start(const pool *p, int k, int64_t o) {
    return p->adaptive[k] ? o * p->x.size[k] / p->y.size[k] : o * p->step[k] - p->pad[k];
}

/* The taps first..end (exclusive) of window o that lie inside the image. */
typedef struct tap_range {
    int64_t first, end;
} tap_range;

static inline tap_range taps_inside(const pool *p, int k, int64_t o) {
    int64_t start = window_start(p, k, o);
    if (p->adaptive[k]) return (tap_range){0, ceil_div((o + 1) * p->x.size[k], p->y.size[k]) - start};
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

/* Is there one window only in each channel, and is the first one the whole image? */
static inline int is_alone(const pool *p) { return p->y.size[0] == 1 && p->y.size[1] == 1 && p->y.size[2] == 1; }
static inline int is_whole(const pool *p) {
    int whole = 1;
    for (int k = 0; k < 3; k++) whole &= !p->adaptive[k] && p->pad[k] == 0 && p->kernel[k] == p->x.size[k];
    return whole;
}

/* `count` elements along each dimension are those of a window. A window that is the whole image becomes one row where the image lies
 * evenly; returns the step along rows. */
static inline int64_t whole_to_row(const pool *p, int64_t count[3]) {
    int64_t pixels = p->x.size[0] * p->x.size[1] * p->x.size[2];
    if (!p->pixel_step || count[0] * count[1] * count[2] != pixels) return p->x.stride[2] * p->dilation[2];
    count[0] = count[1] = 1;
    count[2] = pixels;
    return p->pixel_step;
}

/* What unpool_tmpl.c does between y and the places in x that indices name. */
typedef enum pool_move {
    POOL_ADD, /* x = 0, then y is added to it */
    POOL_PUT, /* x = 0, then y replaces it, later ones earlier ones */
    POOL_TAKE /* y = x */
} pool_move;

/* The least and the greatest of the indices of some outputs. */
typedef struct index_span {
    int64_t first, last;
} index_span;

/* A share of it: the outputs of some rows (od, oh) of an image, in some of its channels, and the pixels of x that become zero first. All
 * ends are exclusive. */
typedef struct move_share {
    int64_t n, c0, c1, row0, row1, pixel0, pixel1;
} move_share;

/* ---- averages ---- */

/* y = (the sum of x^power over a window, over its divisor)^(1 / power). Backward, where power is not 1, `values` are the operator's
 * x and `results` its y. */
typedef struct avg_pool {
    pool pool;
    int64_t stop[3]; /* where the padding behind the image ends */
    int counts_padding;
    int is_norm; /* a sum: the divisor is 1, less for a window of which a part lies beyond the padding, as in PyTorch */
    double power;
    volume values, results;
} avg_pool;

/* Window o along dimension k: its coordinates inside the image, and its factor of the divisor. */
typedef struct avg_range {
    int64_t first, end;
    double divisor;
} avg_range;

static inline avg_range avg_window(const avg_pool *a, int k, int64_t o) {
    const pool *p = &a->pool;
    int64_t start = window_start(p, k, o);
    tap_range taps = taps_inside(p, k, o);
    avg_range s = {start + taps.first, start + taps.end, (double)(taps.end - taps.first)};
    if (a->counts_padding && !p->adaptive[k]) s.divisor = (double)(min_i64(start + p->kernel[k], a->stop[k]) - start);
    if (a->is_norm) s.divisor /= (double)p->kernel[k];
    return s;
}

#endif
