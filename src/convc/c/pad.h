/* An image and a part of it, copied with padding that is taken from the image itself. Shared by pad.c and kernels/pad_tmpl.c. */
#ifndef CONVC_PAD_H
#define CONVC_PAD_H

#include "conv.h"

typedef struct padding {
    convc_dtype dtype;
    volume image, copy; /* of the same images; the copy is dense, in the image's order of axes */
    int64_t first[3]; /* where the copy begins, in coordinates of the image: before it by up to its padding */
    int channels_last;
    convc_pad_mode mode;
} padding;

/* The element that stands at coordinate `at`, which shape.c keeps so near the image that one step leads back. */
static inline int64_t padding_source(convc_pad_mode mode, int64_t at, int64_t extent) {
    if (at >= 0 && at < extent) return at;
    if (mode == CONVC_PAD_REPLICATE) return at < 0 ? 0 : extent - 1;
    if (mode == CONVC_PAD_REFLECT) return at < 0 ? -at : 2 * (extent - 1) - at;
    return at < 0 ? at + extent : at - extent;
}

/* Rows of the copy that are filled one by one, (n, d, h) or (n, c, d, h); planes that are folded back one by one, so that no two add to
 * one element: (n, c), or (n, PADDING_CHANNELS of them). */
#define PADDING_CHANNELS 64
static inline int64_t padding_rows(const padding *p) {
    return p->copy.n * (p->channels_last ? 1 : p->copy.c) * p->copy.size[0] * p->copy.size[1];
}
static inline int64_t padding_planes(const padding *p) {
    return p->copy.n * (p->channels_last ? ceil_div(p->copy.c, PADDING_CHANNELS) : p->copy.c);
}

/* Fills the copy; adds it to the image. */
convc_status convc_pad(const padding *p);
convc_status convc_fold(const padding *p);

/* Is there padding, and of another kind than zeros? */
static inline int convc_is_padded(const convc_conv_params *p, int ndim) {
    int64_t all = 0;
    for (int i = 0; i < ndim - 2; i++) all |= p->pad_before[i] | p->pad_after[i];
    return p->pad_mode != CONVC_PAD_ZEROS && all;
}

/* Convolutions padded so, whose form c has the padding of zeros. The weights may be packed: by `how`, for those kernels. */
typedef struct packed_weights {
    algorithm how;
    const convc_kernels *kernels;
    const void *data;
} packed_weights;
convc_status convc_padded_forward(const conv *c, convc_pad_mode mode, const packed_weights *packed); /* may be NULL */
convc_status convc_padded_data_gradient(const conv *c, convc_pad_mode mode, const convc_tensor *grad_x);
convc_status convc_padded_weight_gradient(const conv *c, convc_pad_mode mode);

/* For what cannot be computed in pieces: lends a copy, not yet filled, of all that the outputs look at, which then is c's image. */
convc_status convc_borrow_padded(conv *c, convc_pad_mode mode, padding *p, convc_loan *loan);

#endif
