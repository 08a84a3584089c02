/* One form for all resizing: three spatial dimensions, strides in elements. Shared by resize.c and kernels/resize_tmpl.c. */
#ifndef CONVC_RESIZE_H
#define CONVC_RESIZE_H

#include "conv.h"

#define RESIZE_ROW 2048 /* elements of a row that are computed at once, at most */

/* How an output's coordinate becomes an input's. All are PyTorch's, down to where float32 rounds: what it picks of a contiguous float32
 * image must be picked here. */
typedef enum resize_rule {
    RESIZE_COPY, /* o */
    RESIZE_NEAREST, /* o * scale, in float32 */
    RESIZE_MIDDLE, /* (o + 1/2) * scale, rounded to float32 */
    RESIZE_HALF, /* (o + 1/2) * scale - 1/2, at least 0; between two inputs */
    RESIZE_CORNERS /* o * scale; between two inputs */
} resize_rule;

/* An output is (1 - weight) of input low and weight of input high, which is low + 1; the weight is 0 where only low counts. */
typedef struct tap_pair {
    int64_t low, high;
    double weight;
} tap_pair;

typedef struct resize_axis {
    resize_rule rule;
    int64_t in, out;
    double scale;
    const tap_pair *taps; /* of all outputs, and the first output whose low input is i or more: made once for all rows, or NULL */
    const int64_t *firsts;
} resize_axis;

static inline tap_pair resize_taps(const resize_axis *a, int64_t o) {
    if (a->taps) return a->taps[o];
    double at = 0;
    switch (a->rule) {
    case RESIZE_COPY: return (tap_pair){o, o, 0};
    case RESIZE_NEAREST: at = (double)((float)o * (float)a->scale); break;
    case RESIZE_MIDDLE: at = (double)(float)(((double)o + 0.5) * a->scale); break;
    case RESIZE_HALF: at = ((double)o + 0.5) * a->scale - 0.5; break;
    case RESIZE_CORNERS: at = (double)o * a->scale; break;
    }
    int64_t low = at > 0 ? min_i64((int64_t)at, a->in - 1) : 0;
    if (a->rule < RESIZE_HALF || low == a->in - 1) return (tap_pair){low, low, 0};
    double weight = at > 0 ? at - (double)low : 0;
    return (tap_pair){low, weight > 0 ? low + 1 : low, weight};
}

/* The first output whose low input is i or more. From a guess it is a step or two. */
static inline int64_t resize_first(const resize_axis *a, int64_t i) {
    if (i <= 0) return 0;
    if (i >= a->in) return a->out;
    if (a->firsts) return a->firsts[i];
    double guess = (double)i;
    if (a->rule == RESIZE_HALF) guess = (guess + 0.5) / a->scale - 0.5;
    else if (a->rule != RESIZE_COPY) guess = a->scale > 0 ? guess / a->scale : (double)a->out;
    int64_t o = guess < (double)a->out ? (int64_t)guess : a->out;
    while (o < a->out && resize_taps(a, o).low < i) o++;
    while (o > 0 && resize_taps(a, o - 1).low >= i) o--;
    return o;
}

/* Forward x is resized to y; backward x and y are the gradients. Rows are those of the last dimension; the channels of a group are
 * computed together. */
typedef struct resize {
    volume x, y;
    resize_axis axis[3];
    int64_t channels, groups; /* neighbours in memory: all channels-last ones as far as a row takes them, else 1 */
    int64_t columns; /* of y, computed at once */
} resize;

/* Where a row is: number i of those in the order (n, group, d, h) of an x or y. */
typedef struct resize_place {
    int64_t n, group, d, h;
} resize_place;

static inline resize_place resize_row(const resize *r, const volume *v, int64_t i) {
    resize_place at = {.h = i % v->size[1]};
    i /= v->size[1];
    at.d = i % v->size[0];
    i /= v->size[0];
    at.group = i % r->groups;
    at.n = i / r->groups;
    return at;
}

static inline void resize_next_row(const resize *r, const volume *v, resize_place *at) {
    if (++at->h < v->size[1]) return;
    at->h = 0;
    if (++at->d < v->size[0]) return;
    at->d = 0;
    if (++at->group < r->groups) return;
    at->group = 0;
    at->n++;
}

static inline int64_t resize_offset(const resize *r, const volume *v, int64_t n, int64_t group, int64_t d, int64_t h) {
    return n * v->stride_n + group * r->channels * v->stride_c + d * v->stride[0] + h * v->stride[1];
}

#endif
