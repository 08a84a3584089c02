/* Convolution as implicit GEMM: forward, the gradients of data and weights, and plans. Each brings its tensors to one form (three
 * spatial dimensions, strides in elements) and describes a matrix product over it; im2col happens while packing. */
#include <stdlib.h>
#include <string.h>

#include "conv.h"

volume convc_volume_of(const convc_tensor *t) {
    volume v = {.data = t->data, .n = t->shape[0], .c = t->shape[1], .size = {1, 1, 1}};
    v.stride_n = element_stride(t, 0);
    v.stride_c = element_stride(t, 1);
    for (int i = t->ndim - 1, to = 2; i >= 2; i--, to--) {
        v.size[to] = t->shape[i];
        v.stride[to] = element_stride(t, i);
    }
    return v;
}

conv convc_conv_of(const convc_tensor *x, const convc_tensor *w, const convc_tensor *y, const convc_conv_params *p) {
    conv c = {.dtype = x->dtype, .groups = p->groups, .step = {1, 1, 1}, .dilation = {1, 1, 1}};
    c.x = convc_volume_of(x);
    c.w = convc_volume_of(w);
    c.y = convc_volume_of(y);
    c.w_group = c.w.n / c.groups * c.w.stride_n;
    for (int i = x->ndim - 3, to = 2; i >= 0; i--, to--) {
        c.step[to] = p->stride[i];
        c.dilation[to] = p->dilation[i];
        c.pad[to] = p->pad_before[i];
    }
    return c;
}

/* ---- the matrices of a convolution ---- */

axis convc_pixels_of(const volume *v, const int64_t size[3], const int64_t step[3]) {
    return (axis){{v->n, size[0], size[1], size[2]},
                  {v->stride_n, step[0] * v->stride[0], step[1] * v->stride[1], step[2] * v->stride[2]}};
}

axis convc_taps_of(const volume *v, const int64_t size[3], int64_t channels, const int64_t dilation[3], int channel_digit) {
    axis taps;
    taps.size[channel_digit] = channels;
    taps.stride[channel_digit] = v->stride_c;
    for (int i = 0, to = channel_digit == 0; i < 3; i++, to++) {
        taps.size[to] = size[i];
        taps.stride[to] = dilation[i] * v->stride[i];
    }
    return taps;
}

const int64_t convc_ones[3] = {1, 1, 1};

matrix convc_columns_of(const conv *c, window *w, int taps_on_rows, int channel_digit) {
    int64_t origin = 0;
    int leaves = 0;
    for (int i = 0; i < 3; i++) {
        w->step[i] = c->step[i];
        w->dilation[i] = c->dilation[i];
        w->pad[i] = c->pad[i];
        w->extent[i] = c->x.size[i];
        origin -= c->pad[i] * c->x.stride[i];
        int64_t last = (c->y.size[i] - 1) * c->step[i] + (c->w.size[i] - 1) * c->dilation[i] - c->pad[i];
        leaves |= c->pad[i] > 0 || last >= c->x.size[i];
    }
    axis pixels = convc_pixels_of(&c->x, c->y.size, c->step);
    axis taps = convc_taps_of(&c->x, c->w.size, c->x.c / c->groups, c->dilation, channel_digit);
    matrix m = {.data = element(&c->x, origin, c->dtype), .window = leaves ? w : NULL};
    m.taps_on_rows = taps_on_rows;
    m.channel_digit = channel_digit;
    if (!leaves) {
        pixels = axis_collapse(pixels);
        taps = axis_collapse(taps);
    }
    m.rows = taps_on_rows ? taps : pixels;
    m.cols = taps_on_rows ? pixels : taps;
    return m;
}

/* The weights, (k, taps) or (taps, k). */
static matrix weights_of(const conv *c, int taps_on_rows, int channel_digit) {
    axis k = axis_plain(c->w.n / c->groups, c->w.stride_n);
    axis taps = axis_collapse(convc_taps_of(&c->w, c->w.size, c->w.c, convc_ones, channel_digit));
    return (matrix){.data = c->w.data, .rows = taps_on_rows ? taps : k, .cols = taps_on_rows ? k : taps};
}

/* ---- forward ---- */

/* Which of the two runs along the vectors. Pixels do in a channels-first output, channels in a channels-last one, if there are
 * enough of them to fill a vector. */
static int pixels_on_columns(const conv *c) {
    int64_t lanes = convc_kernels_for(c->dtype)->nr / 2, k = c->y.c / c->groups;
    int64_t pixels = c->y.n * c->y.size[0] * c->y.size[1] * c->y.size[2];
    int channels_last = c->y.stride_c == 1 && c->y.c > 1;
    return channels_last ? k < lanes : pixels >= lanes || k < lanes;
}

static gemm_job forward_job(const conv *c, window *w, int pixels_on_cols, const convc_kernels *kernels) {
    gemm_job job = {.dtype = c->dtype, .groups = c->groups, .c = c->y.data, .activation = c->activation, .kernels = kernels};
    int64_t k = c->y.c / c->groups, pixels = c->y.n * c->y.size[0] * c->y.size[1] * c->y.size[2];
    axis channels = axis_plain(k, c->y.stride_c), positions = axis_collapse(convc_pixels_of(&c->y, c->y.size, convc_ones));
    /* The order of the taps is free. Where pixels run along the vectors, all taps of a channel follow each other, so that L1 still
     * has the rows that they share; where channels do, channels are the runs. */
    int channel_digit = pixels_on_cols ? 0 : 3;
    matrix x = convc_columns_of(c, w, pixels_on_cols, channel_digit), weights = weights_of(c, !pixels_on_cols, channel_digit);
    int64_t x_group = c->x.c / c->groups * c->x.stride_c, w_group = c->w_group;
    job.k = c->w.c * c->w.size[0] * c->w.size[1] * c->w.size[2];
    job.c_group = k * c->y.stride_c;
    job.m = pixels_on_cols ? k : pixels;
    job.n = pixels_on_cols ? pixels : k;
    job.a = pixels_on_cols ? weights : x;
    job.b = pixels_on_cols ? x : weights;
    job.a_group = pixels_on_cols ? w_group : x_group;
    job.b_group = pixels_on_cols ? x_group : w_group;
    job.c_rows = pixels_on_cols ? channels : positions;
    job.c_cols = pixels_on_cols ? positions : channels;
    job.row_bias = pixels_on_cols ? c->bias : NULL;
    job.col_bias = pixels_on_cols ? NULL : c->bias;
    return job;
}

/* Packs all weights, for any number of runs of jobs of the same weights and orientation. */
static convc_status pack_weights(gemm_job *job, int pixels_on_cols, void **packed) {
    convc_gemm_prepare(job);
    int64_t size = (pixels_on_cols ? convc_packed_a_size(job) : convc_packed_b_size(job)) * convc_itemsize(job->dtype);
    *packed = malloc((size_t)size);
    if (!*packed) return convc_fail(CONVC_NO_MEMORY, "no memory for packed weights, %lld bytes", (long long)size);
    convc_status status = pixels_on_cols ? convc_pack_a(job, *packed) : convc_pack_b(job, *packed);
    if (status != CONVC_OK) {
        free(*packed);
        *packed = NULL;
    }
    return status;
}

static convc_status run_with(gemm_job *job, int pixels_on_cols, const void *packed) {
    if (pixels_on_cols) job->packed_a = packed;
    else job->packed_b = packed;
    convc_gemm_prepare(job);
    return convc_gemm_run(job);
}

convc_status convc_run_conv(const conv *c) {
    window w;
    int pixels_on_cols = pixels_on_columns(c);
    gemm_job job = forward_job(c, &w, pixels_on_cols, NULL);
    void *packed;
    TRY(pack_weights(&job, pixels_on_cols, &packed));
    convc_status status = run_with(&job, pixels_on_cols, packed);
    free(packed);
    return status;
}

static convc_status check_forward(const convc_tensor *x, const convc_tensor *w, const convc_tensor *bias,
                                  const convc_conv_params *p, const convc_tensor *y) {
    int64_t shape[CONVC_MAX_NDIM];
    TRY(convc_check_any(x, "x", 3, CONVC_MAX_NDIM));
    TRY(convc_check_any(w, "weight", x->ndim, x->ndim));
    TRY(convc_conv_output_shape(x->ndim, x->shape, w->shape, p, shape));
    TRY(convc_check_tensor(x, "x", x->ndim, x->ndim));
    TRY(convc_check_tensor(w, "weight", x->ndim, x->ndim));
    TRY(convc_check_output(y, "out", x->ndim, x->ndim));
    TRY(convc_check_shape(y, "out", shape, x->ndim));
    TRY(convc_check_dtype(w, "weight", x, "x"));
    TRY(convc_check_dtype(y, "out", x, "x"));
    TRY(convc_check_disjoint(y, "out", x, "x"));
    TRY(convc_check_disjoint(y, "out", w, "weight"));
    if (!bias) return CONVC_OK;
    TRY(convc_check_tensor(bias, "bias", 1, 1));
    TRY(convc_check_shape(bias, "bias", &w->shape[0], 1));
    TRY(convc_check_dtype(bias, "bias", x, "x"));
    return convc_check_disjoint(y, "out", bias, "bias");
}

convc_status convc_conv_forward(const convc_tensor *x, const convc_tensor *w, const convc_tensor *bias,
                                const convc_conv_params *p, const convc_tensor *y) {
    void *copy;
    TRY(check_forward(x, w, bias, p, y));
    if (x->shape[0] == 0) return CONVC_OK;
    conv c = convc_conv_of(x, w, y, p);
    c.activation = p->activation;
    TRY(convc_contiguous(bias, &c.bias, &copy));
    convc_status status = convc_run_conv(&c);
    free(copy);
    return status;
}

/* ---- plans ---- */

struct convc_plan {
    conv conv; /* of the weights; x and y carry shapes only */
    convc_tensor x, y;
    int pixels_on_cols;
    const convc_kernels *kernels;
    void *packed, *bias;
};

void convc_plan_destroy(convc_plan *plan) {
    if (!plan) return;
    free(plan->packed);
    free(plan->bias);
    free(plan);
}

static convc_status fill_plan(convc_plan *plan, const convc_tensor *bias) {
    window w;
    if (bias) {
        int64_t item = convc_itemsize(bias->dtype);
        plan->bias = malloc((size_t)(bias->shape[0] * item));
        if (!plan->bias) return convc_fail(CONVC_NO_MEMORY, "no memory for a copy of the bias");
        for (int64_t i = 0; i < bias->shape[0]; i++)
            memcpy((char *)plan->bias + i * item, (char *)bias->data + i * bias->strides[0], (size_t)item);
    }
    plan->conv.bias = plan->bias;
    plan->pixels_on_cols = pixels_on_columns(&plan->conv);
    gemm_job job = forward_job(&plan->conv, &w, plan->pixels_on_cols, NULL);
    TRY(pack_weights(&job, plan->pixels_on_cols, &plan->packed));
    plan->kernels = job.kernels;
    plan->conv.w.data = NULL; /* packed now; the caller may free it */
    return CONVC_OK;
}

convc_status convc_plan_create(const convc_tensor *x, const convc_tensor *w, const convc_tensor *bias, const convc_conv_params *p,
                               const convc_tensor *y, convc_plan **plan) {
    convc_tensor x_shape = *x, y_shape = *y;
    *plan = NULL;
    x_shape.data = y_shape.data = w ? w->data : NULL; /* descriptions only: any aligned address passes the checks */
    if (x_shape.shape[0] == 0) x_shape.shape[0] = y_shape.shape[0] = 1;
    int64_t shape[CONVC_MAX_NDIM];
    TRY(convc_check_any(&x_shape, "input_shape", 3, CONVC_MAX_NDIM));
    TRY(convc_check_tensor(w, "weight", x->ndim, x->ndim));
    TRY(convc_conv_output_shape(x->ndim, x_shape.shape, w->shape, p, shape));
    TRY(convc_check_shape(&y_shape, "out", shape, x->ndim));
    TRY(convc_check_dtype(w, "weight", x, "x"));
    if (bias) {
        TRY(convc_check_tensor(bias, "bias", 1, 1));
        TRY(convc_check_shape(bias, "bias", &w->shape[0], 1));
        TRY(convc_check_dtype(bias, "bias", w, "weight"));
    }
    convc_plan *made = calloc(1, sizeof *made);
    if (!made) return convc_fail(CONVC_NO_MEMORY, "no memory for a plan");
    made->x = x_shape;
    made->y = y_shape;
    made->conv = convc_conv_of(&x_shape, w, &y_shape, p);
    made->conv.activation = p->activation;
    convc_status status = fill_plan(made, bias);
    if (status != CONVC_OK) {
        convc_plan_destroy(made);
        return status;
    }
    *plan = made;
    return CONVC_OK;
}

convc_status convc_plan_run(const convc_plan *plan, const convc_tensor *x, const convc_tensor *y) {
    int ndim = plan->x.ndim;
    int64_t x_shape[CONVC_MAX_NDIM], y_shape[CONVC_MAX_NDIM];
    window w;
    TRY(convc_check_tensor(x, "x", ndim, ndim));
    TRY(convc_check_output(y, "out", ndim, ndim));
    memcpy(x_shape, plan->x.shape, sizeof x_shape);
    memcpy(y_shape, plan->y.shape, sizeof y_shape);
    x_shape[0] = y_shape[0] = x->shape[0];
    TRY(convc_check_shape(x, "x", x_shape, ndim));
    TRY(convc_check_shape(y, "out", y_shape, ndim));
    if (x->dtype != plan->conv.dtype || y->dtype != plan->conv.dtype)
        return convc_fail(CONVC_INVALID_TYPE, "x and out must have the dtype of the plan's weights");
    TRY(convc_check_disjoint(y, "out", x, "x"));
    if (x->shape[0] == 0) return CONVC_OK;
    conv c = plan->conv;
    c.x = convc_volume_of(x);
    c.y = convc_volume_of(y);
    gemm_job job = forward_job(&c, &w, plan->pixels_on_cols, plan->kernels);
    return run_with(&job, plan->pixels_on_cols, plan->packed);
}
