/* One form for all convolutions: three spatial dimensions, strides in elements. Shared by all that convolves. */
#ifndef CONVC_CONV_H
#define CONVC_CONV_H

#include "impl.h"

/* An image (n, c, d, h, w), or a filter bank (k, c, d, h, w): missing spatial dimensions have size 1. */
typedef struct volume {
    char *data;
    int64_t n, c, size[3];
    int64_t stride_n, stride_c, stride[3]; /* elements */
} volume;

/* y = x * w, cross-correlation: output o meets tap t at input o * step + t * dilation - pad, and pad may be negative. */
typedef struct conv {
    convc_dtype dtype;
    int64_t groups, step[3], dilation[3], pad[3];
    volume x, w, y; /* n and c of x and y are those of the whole tensor; w.c is a group's */
    int64_t w_group; /* elements from one group's weights to the next */
    /* An output may be a block of so many, side by side in y and each with a filter of its own: phases of a transposed convolution that
     * read the same inputs. Elements from one to the next, in y and in w. */
    int64_t block[3], y_block[3], w_block[3];
    /* The blocks' outputs apart, where their filters have not all the same taps: convolutions of the same image. */
    const struct conv *phases;
    int64_t phase_count;
    const void *bias;
    convc_activation activation;
    convc_algorithm wanted;
} conv;

static inline int64_t block_size(const conv *c) { return c->block[0] * c->block[1] * c->block[2]; }

volume convc_volume_of(const convc_tensor *t);
conv convc_conv_of(const convc_tensor *x, const convc_tensor *w, const convc_tensor *y, const convc_conv_params *p);

/* May lie far outside the image, where padding is large: only elements inside it are ever read. */
static inline void *element(const volume *v, int64_t offset, convc_dtype dtype) {
    return (void *)((uintptr_t)v->data + (uintptr_t)offset * (uintptr_t)convc_itemsize(dtype));
}

/* (n, positions) of a volume, a step apart; and the taps of a kernel over it, in the order (c, kd, r, s) for channel_digit 0 or
 * (kd, r, s, c) for 3. */
axis convc_pixels_of(const volume *v, const int64_t size[3], const int64_t step[3]);
axis convc_taps_of(const volume *v, const int64_t size[3], int64_t channels, const int64_t dilation[3], int channel_digit);
extern const int64_t convc_ones[3];

/* The columns of x, (taps, pixels) or (pixels, taps). The window is left out, and axes collapse, where no tap leaves the image. */
matrix convc_columns_of(const conv *c, window *w, int taps_on_rows, int channel_digit);

/* A piece of a direct convolution: rows x cols outputs of a plane, and for each channel and depth of a kernel in_rows rows of inputs,
 * padding included. The pixels of a row are sorted by their place within the step, `phases` lines of them, so that every tap finds those
 * of neighbouring outputs side by side. It is as large as part of L2 allows. */
typedef struct direct_tile {
    int64_t rows, cols, in_rows, phases, line;
} direct_tile;

/* Rows of taps that one task of a direct weight gradient sums, if they are near each other; and the blocks of them. */
static inline int64_t convc_weight_rows(const conv *c) { return c->y.c == c->groups && c->dilation[1] <= 64 ? 3 : 1; }
static inline int64_t convc_weight_blocks(const conv *c) { return c->w.size[0] * ceil_div(c->w.size[1], convc_weight_rows(c)); }

/* How a convolution, or the gradient of its weights, is computed. */
typedef enum algorithm {
    GEMM_PIXELS, /* implicit GEMM, pixels along the vectors: channels-first outputs */
    GEMM_CHANNELS, /* implicit GEMM, output channels along the vectors: channels-last outputs */
    DIRECT_ROWS, /* direct, pixels of a row along the vectors */
    DIRECT_OUTS, /* direct, output channels along the vectors */
    DIRECT_CHANNELS, /* direct, channels along the vectors; depthwise only */
    WINOGRAD_2, /* F(2x2, 3x3) */
    WINOGRAD_4 /* F(4x4, 3x3) */
} algorithm;
static inline int is_winograd(algorithm how) { return how == WINOGRAD_2 || how == WINOGRAD_4; }
/* What is computed: y from weights that were packed beforehand, y from others, or the gradient of the weights. */
typedef enum purpose { PREPARED, ONCE, OF_WEIGHTS } purpose;
/* The one place where an algorithm is chosen; from shapes and strides alone. */
algorithm convc_choose(const conv *c, const convc_kernels *kernels, purpose what);

/* And for all phases of a data gradient at once: Winograd's algorithm, direct rows, or any other where they should be computed one by one. */
algorithm convc_choose_phases(const conv *forward, const conv *c, const convc_kernels *kernels);

/* Whether it, or its data gradient, treats every channel alone, and channels are contiguous: nothing is gained by taking phases together. */
int convc_is_depthwise_along_channels(const conv *c);

/* Whether the data gradient of this convolution, all phases at once, is that of depthwise_data_tmpl.c. */
int convc_is_strided_depthwise(const conv *forward);

/* Refuses an algorithm that the convolution has no form for. */
convc_status convc_check_algorithm(const conv *c);

/* The largest tile of a direct convolution, if there is one that the caches hold. */
int convc_direct_tile(const conv *c, const convc_kernels *kernels, direct_tile *t);
int convc_channels_are_contiguous(const conv *c);

#define TURN_COST 8.0 /* multiply-adds: what it costs to move an element from channels-first to channels-last */

/* turn.c: the bytes of a volume, or -1; and a dense copy of it, which the volume then is. Towards channels last it must have dense planes,
 * towards channels first contiguous channels. */
int64_t convc_volume_bytes(const volume *v, convc_dtype dtype);
convc_status convc_turn(volume *v, convc_dtype dtype, int channels_last, void *to);

/* conv_run.c: output channels first .. first + count, or groups where there are several. Elements of the packed weights; packing them; the
 * rest; and all of it at once, weights packed in passing. */
conv convc_part_of(const conv *c, int64_t first, int64_t count);
int64_t convc_packed_size(const conv *c, algorithm how, const convc_kernels *kernels);
convc_status convc_pack_weights(const conv *c, algorithm how, const convc_kernels *kernels, void *packed);
convc_status convc_run_packed(const conv *c, algorithm how, const convc_kernels *kernels, const void *packed);
convc_status convc_run_conv(const conv *c);
convc_status convc_run_phases(const conv *c); /* by direct rows */

/* conv_backward.c: the gradients, of x and of w. Whether every pixel of x has one; the others are left alone. */
convc_status convc_data_gradient(const conv *forward);
int convc_reaches_all(const conv *forward);
convc_status convc_weight_gradient(const conv *c);

#define CACHED_WEIGHTS (20 << 20) /* bytes of weights that the last level of the caches will hold from run to run */

/* winograd.c, for WINOGRAD_2 and WINOGRAD_4: may it run; outputs of a tile along h and w; tiles of the output; elements of the filters
 * packed for a plan; packing them; the rest. */
int convc_winograd_fits(const conv *c);
static inline int convc_winograd_side(algorithm how) { return how == WINOGRAD_2 ? 2 : 4; }
int64_t convc_winograd_tiles(const conv *c, algorithm how);
int64_t convc_winograd_size(const conv *c, algorithm how, const convc_kernels *kernels);
convc_status convc_winograd_pack(const conv *c, algorithm how, const convc_kernels *kernels, void *packed);
convc_status convc_winograd_run(const conv *c, algorithm how, const convc_kernels *kernels, const void *packed); /* may be NULL */
convc_status convc_winograd_weight_gradient(const conv *c, algorithm how);
/* The same for all phases of a data gradient at once, c having blocks of outputs and a kernel that covers the taps of all
 * of them; up to 3 x 3, and what a phase lacks of it is zero. */
int convc_winograd_fits_phases(const conv *c, const convc_kernels *kernels);
convc_status convc_winograd_run_phases(const conv *forward, const conv *c, algorithm how, const convc_kernels *kernels);

#endif
