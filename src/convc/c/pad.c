/* Convolutions of images whose padding is taken from themselves: reflected, replicated or wrapped around. Outputs that look at the image
 * alone are computed in place. For the others, and for images so small that a copy stays in the caches, what they look at is copied
 * with its padding, a piece at a time. Gradients take the same ways back. */
#include "pad.h"

#include <stdlib.h>
#include <string.h>

#define PIECE_BYTES (4 << 20) /* of a copy, as far as one output needs no more */
#define MOVE_FLOPS 4.0 /* what moving an element costs */
#define TASK_ELEMENTS 16384

/* ---- boxes: of outputs, or of pixels in coordinates of the image ---- */

typedef struct box {
    int64_t lo[3], hi[3];
} box;

static int is_empty(const box *b) { return b->hi[0] <= b->lo[0] || b->hi[1] <= b->lo[1] || b->hi[2] <= b->lo[2]; }

static int64_t reach_of(const conv *c, int i) { return c->dilation[i] * (c->w.size[i] - 1) + 1; }

/* The pixels that the outputs of a box look at. */
static box pixels_under(const conv *c, const box *outputs) {
    box b;
    for (int i = 0; i < 3; i++) {
        b.lo[i] = outputs->lo[i] * c->step[i] - c->pad[i];
        b.hi[i] = (outputs->hi[i] - 1) * c->step[i] - c->pad[i] + reach_of(c, i);
    }
    return b;
}

/* The outputs that look at a pixel of a box. */
static box outputs_over(const conv *c, const box *pixels) {
    box b;
    for (int i = 0; i < 3; i++) {
        int64_t first = pixels->lo[i] + c->pad[i] - reach_of(c, i) + 1, last = pixels->hi[i] - 1 + c->pad[i];
        b.lo[i] = first > 0 ? ceil_div(first, c->step[i]) : 0;
        b.hi[i] = last < 0 ? 0 : min_i64(c->y.size[i], last / c->step[i] + 1);
    }
    return b;
}

static box all_outputs(const conv *c) { return (box){{0, 0, 0}, {c->y.size[0], c->y.size[1], c->y.size[2]}}; }

/* Those that look at the image alone. */
static box inner_outputs(const conv *c) {
    box b;
    for (int i = 0; i < 3; i++) {
        int64_t room = c->x.size[i] - reach_of(c, i) + c->pad[i];
        b.lo[i] = ceil_div(c->pad[i], c->step[i]);
        b.hi[i] = room < 0 ? 0 : min_i64(c->y.size[i], room / c->step[i] + 1);
    }
    return b;
}

/* The part of images n0..n1 of a volume that lies in a box. */
static volume part_of(const volume *v, convc_dtype dtype, const box *b, int64_t n0, int64_t n1) {
    volume part = *v;
    int64_t offset = n0 * v->stride_n;
    part.n = n1 - n0;
    for (int i = 0; i < 3; i++) {
        part.size[i] = b->hi[i] - b->lo[i];
        offset += b->lo[i] * v->stride[i];
    }
    part.data = element(v, offset, dtype);
    return part;
}

/* ---- copies ---- */

static int64_t copy_bytes(const conv *c, const box *pixels, int64_t images) {
    int64_t elements = convc_times(images, c->x.c);
    for (int i = 0; i < 3; i++) elements = convc_times(elements, pixels->hi[i] - pixels->lo[i]);
    return convc_times(elements, convc_itemsize(c->dtype));
}

/* Room for a copy of the pixels of images n0..n1; NULL where there is none. */
static void *borrow_copy(const conv *c, convc_pad_mode mode, const box *pixels, int64_t n0, int64_t n1, padding *p,
                         convc_loan *loan) {
    int64_t bytes = copy_bytes(c, pixels, n1 - n0);
    *p = (padding){
        .dtype = c->dtype, .image = c->x, .copy = c->x, .channels_last = c->x.stride_c == 1 && c->x.c > 1, .mode = mode};
    p->image.n = p->copy.n = n1 - n0;
    p->image.data = element(&c->x, n0 * c->x.stride_n, c->dtype);
    p->copy.data = bytes < 0 ? NULL : convc_borrow(CONVC_PADDED, (size_t)bytes, loan);
    int64_t stride = 1;
    if (p->channels_last) stride *= p->copy.c;
    for (int i = 2; i >= 0; i--) {
        p->first[i] = pixels->lo[i];
        p->copy.size[i] = pixels->hi[i] - pixels->lo[i];
        p->copy.stride[i] = stride;
        stride *= p->copy.size[i];
    }
    p->copy.stride_c = p->channels_last ? 1 : stride;
    p->copy.stride_n = p->channels_last ? stride : stride * p->copy.c;
    if (!p->copy.data) (void)convc_fail(CONVC_NO_MEMORY, "no memory for a padded copy of a part of the image");
    return p->copy.data;
}

typedef struct move_job {
    const padding *padding;
    void (*run)(const padding *p, int64_t begin, int64_t end);
    int64_t units, tasks;
} move_job;

static void move_task(const void *context, int64_t task, void *workspace) {
    const move_job *j = context;
    (void)workspace;
    j->run(j->padding, split_point(j->units, j->tasks, task), split_point(j->units, j->tasks, task + 1));
}

static convc_status move(const padding *p, void (*run)(const padding *, int64_t, int64_t), int64_t units) {
    int64_t elements = p->copy.n * p->copy.c * p->copy.size[0] * p->copy.size[1] * p->copy.size[2];
    move_job j = {p, run, units, min_i64(units, ceil_div(elements, TASK_ELEMENTS))};
    return convc_parallel(move_task, &j, j.tasks, MOVE_FLOPS * (double)elements, 0);
}

convc_status convc_pad(const padding *p) { return move(p, convc_kernels_for(p->dtype)->pad_rows, padding_rows(p)); }

convc_status convc_fold(const padding *p) { return move(p, convc_kernels_for(p->dtype)->fold_planes, padding_planes(p)); }

/* ---- passes: over boxes whose pixels need a copy, in pieces ---- */

typedef struct pass {
    const conv *c;
    convc_pad_mode mode;
    box (*pixels)(const conv *c, const box *b);
    convc_status (*run)(struct pass *pass, const box *b, int64_t n0, int64_t n1);
    const packed_weights *packed;
    int pieces; /* of a weight gradient, so far */
} pass;

/* Halves the images, then the axes of space from the outermost on, until a copy is small. */
static convc_status in_pieces(pass *p, const box *b, int64_t n0, int64_t n1) {
    box pixels = p->pixels(p->c, b);
    int64_t bytes = copy_bytes(p->c, &pixels, n1 - n0);
    if (bytes >= 0 && bytes <= PIECE_BYTES) return p->run(p, b, n0, n1);
    if (n1 - n0 > 1) {
        TRY(in_pieces(p, b, n0, n0 + (n1 - n0) / 2));
        return in_pieces(p, b, n0 + (n1 - n0) / 2, n1);
    }
    for (int i = 0; i < 3; i++) {
        box first = *b, second = *b;
        first.hi[i] = second.lo[i] = b->lo[i] + (b->hi[i] - b->lo[i]) / 2;
        if (first.hi[i] == first.lo[i]) continue;
        TRY(in_pieces(p, &first, n0, n1));
        return in_pieces(p, &second, n0, n1);
    }
    return p->run(p, b, n0, n1);
}

/* What is left of a box around another one inside it: up to two slabs an axis. */
static convc_status around(pass *p, const box *whole, const box *inner) {
    box rest = *whole;
    for (int i = 0; i < 3; i++) {
        box before = rest, after = rest;
        before.hi[i] = rest.lo[i] = max_i64(rest.lo[i], inner->lo[i]);
        after.lo[i] = rest.hi[i] = min_i64(rest.hi[i], inner->hi[i]);
        if (!is_empty(&before)) TRY(in_pieces(p, &before, 0, p->c->x.n));
        if (!is_empty(&after)) TRY(in_pieces(p, &after, 0, p->c->x.n));
    }
    return CONVC_OK;
}

/* Is an image with its padding so small that copying it is nothing beside convolving it? */
static int is_small(const conv *c, const box *pixels) {
    int64_t bytes = copy_bytes(c, pixels, 1);
    return bytes >= 0 && bytes <= PIECE_BYTES;
}

/* The convolution that looks at x, all of it, and gives the outputs of a box. */
static conv conv_of_box(const conv *c, const volume *x, const box *outputs, int64_t n0, int64_t n1) {
    conv part = *c;
    part.x = *x;
    part.y = part_of(&c->y, c->dtype, outputs, n0, n1);
    part.pad[0] = part.pad[1] = part.pad[2] = 0;
    return part;
}

convc_status convc_borrow_padded(conv *c, convc_pad_mode mode, padding *p, convc_loan *loan) {
    box outputs = all_outputs(c), pixels = pixels_under(c, &outputs);
    if (!borrow_copy(c, mode, &pixels, 0, c->x.n, p, loan)) return CONVC_NO_MEMORY;
    *c = conv_of_box(c, &p->copy, &outputs, 0, c->x.n);
    return CONVC_OK;
}

/* Outputs, or the gradient of the weights, by boxes of outputs. */
static convc_status run_outputs(pass *p, convc_status (*run)(pass *p, const conv *part)) {
    const conv *c = p->c;
    box whole = all_outputs(c), inner = inner_outputs(c), pixels = pixels_under(c, &whole);
    if (is_small(c, &pixels) || is_empty(&inner)) return in_pieces(p, &whole, 0, c->x.n);
    box under = pixels_under(c, &inner);
    volume x = part_of(&c->x, c->dtype, &under, 0, c->x.n);
    conv part = conv_of_box(c, &x, &inner, 0, c->x.n);
    TRY(run(p, &part));
    return around(p, &whole, &inner);
}

/* One box of outputs, from a copy. */
static convc_status run_copied(pass *p, const box *outputs, int64_t n0, int64_t n1,
                               convc_status (*run)(pass *p, const conv *part)) {
    const conv *c = p->c;
    box pixels = pixels_under(c, outputs);
    padding padded;
    convc_loan loan;
    if (!borrow_copy(c, p->mode, &pixels, n0, n1, &padded, &loan)) return CONVC_NO_MEMORY;
    convc_status status = convc_pad(&padded);
    conv part = conv_of_box(c, &padded.copy, outputs, n0, n1);
    if (status == CONVC_OK) status = run(p, &part);
    convc_return(CONVC_PADDED, &loan);
    return status;
}

/* ---- forward ---- */

static convc_status run_forward(pass *p, const conv *part) {
    const packed_weights *w = p->packed;
    return w ? convc_run_packed(part, w->how, w->kernels, w->data) : convc_run_conv(part);
}

static convc_status forward_piece(pass *p, const box *outputs, int64_t n0, int64_t n1) {
    return run_copied(p, outputs, n0, n1, run_forward);
}

convc_status convc_padded_forward(const conv *c, convc_pad_mode mode, const packed_weights *packed) {
    pass p = {c, mode, pixels_under, forward_piece, packed, 0};
    return run_outputs(&p, run_forward);
}

/* ---- the gradient of the weights: the sum of those of the pieces ---- */

static convc_status add_weights(const conv *part, const volume *total) {
    padding sum = {.dtype = part->dtype, .image = *total, .copy = part->w};
    return convc_fold(&sum);
}

/* A filter bank of the same size, dense. */
static volume dense_like(const volume *w) {
    volume v = *w;
    v.stride_c = 1;
    for (int i = 2; i >= 0; i--) {
        v.stride[i] = v.stride_c;
        v.stride_c *= v.size[i];
    }
    v.stride_n = v.stride_c * v.c;
    return v;
}

static convc_status run_weights(pass *p, const conv *part) {
    if (p->pieces++ == 0) return convc_weight_gradient(part);
    conv next = *part;
    next.w = dense_like(&part->w);
    next.w_group = next.w.n / next.groups * next.w.stride_n;
    next.w.data = convc_allocate((size_t)(next.w.n * next.w.stride_n * convc_itemsize(part->dtype)));
    if (!next.w.data) return convc_fail(CONVC_NO_MEMORY, "no memory for a second gradient of the weights");
    convc_status status = convc_weight_gradient(&next);
    if (status == CONVC_OK) status = add_weights(&next, &part->w);
    free(next.w.data);
    return status;
}

static convc_status weight_piece(pass *p, const box *outputs, int64_t n0, int64_t n1) {
    return run_copied(p, outputs, n0, n1, run_weights);
}

convc_status convc_padded_weight_gradient(const conv *c, convc_pad_mode mode) {
    pass p = {c, mode, pixels_under, weight_piece, NULL, 0};
    return run_outputs(&p, run_weights);
}

/* ---- the gradient of the data: that of the padded image, folded back ---- */

static box same_pixels(const conv *c, const box *b) {
    (void)c;
    return *b;
}

static convc_status data_piece(pass *p, const box *pixels, int64_t n0, int64_t n1) {
    const conv *c = p->c;
    box outputs = outputs_over(c, pixels);
    padding padded;
    convc_loan loan;
    if (is_empty(&outputs)) return CONVC_OK;
    if (!borrow_copy(c, p->mode, pixels, n0, n1, &padded, &loan)) return CONVC_NO_MEMORY;
    conv part = conv_of_box(c, &padded.copy, &outputs, n0, n1);
    for (int i = 0; i < 3; i++) part.pad[i] = c->pad[i] + pixels->lo[i] - outputs.lo[i] * c->step[i];
    if (!convc_reaches_all(&part)) memset(padded.copy.data, 0, (size_t)copy_bytes(c, pixels, n1 - n0));
    convc_status status = convc_data_gradient(&part);
    if (status == CONVC_OK) status = convc_fold(&padded);
    convc_return(CONVC_PADDED, &loan);
    return status;
}

convc_status convc_padded_data_gradient(const conv *c, convc_pad_mode mode, const convc_tensor *grad_x) {
    pass p = {c, mode, same_pixels, data_piece, NULL, 0};
    box outputs = all_outputs(c), whole = pixels_under(c, &outputs), image = {{0, 0, 0}, {0, 0, 0}};
    for (int i = 0; i < 3; i++) image.hi[i] = c->x.size[i];
    if (is_small(c, &whole)) {
        TRY(convc_fill_zero(grad_x));
        return in_pieces(&p, &whole, 0, c->x.n);
    }
    if (!convc_reaches_all(c)) TRY(convc_fill_zero(grad_x));
    TRY(convc_data_gradient(c));
    return around(&p, &whole, &image);
}
