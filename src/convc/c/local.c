/* Locally connected layers: convolution in which every output position has weights of its own. There are so many of them that reading
 * them from memory is the work: each is read once for all images, and each gradient of one is written once. */
#include "local.h"

#include <string.h>

#include "pad.h"

#define WEIGHT_FLOPS 16.0 /* what it costs to fetch a weight, in flops */
#define TASKS 32 /* at least, if there is so much to share out */
#define ACROSS 16 /* positions at most: a line of the cache, where the outputs of a row are side by side */
#define FEWEST_OUTS 16 /* output channels that are worth a task */
#define BIAS_FLOPS 4.0 /* what an element of a bias's sum costs */
#define GROUP 64 /* sums at once */

/* ---- checks ---- */

static convc_status check_shapes(const convc_tensor *x, const char *x_name, const convc_tensor *w, const char *w_name,
                                 const convc_tensor *y, const char *y_name, const convc_conv_params *p) {
    int64_t shape[CONVC_MAX_NDIM];
    TRY(convc_check_any(x, x_name, 3, CONVC_MAX_NDIM - 1));
    TRY(convc_check_any(w, w_name, x->ndim + 1, x->ndim + 1));
    TRY(convc_check_any(y, y_name, x->ndim, x->ndim));
    TRY(convc_local_output_shape(x->ndim, x->shape, w->shape, p, shape));
    TRY(convc_check_shape(y, y_name, shape, x->ndim));
    TRY(convc_check_tensor(x, x_name, x->ndim, x->ndim));
    TRY(convc_check_tensor(w, w_name, x->ndim + 1, x->ndim + 1));
    return convc_check_tensor(y, y_name, x->ndim, x->ndim);
}

static convc_status check_forward(const convc_tensor *x, const convc_tensor *w, const convc_tensor *bias,
                                  const convc_conv_params *p, const convc_tensor *y) {
    TRY(check_shapes(x, "x", w, "weight", y, "out", p));
    TRY(convc_check_output(y, "out", x->ndim, x->ndim));
    TRY(convc_check_dtype(w, "weight", x, "x"));
    TRY(convc_check_dtype(y, "out", x, "x"));
    TRY(convc_check_disjoint(y, "out", x, "x"));
    TRY(convc_check_disjoint(y, "out", w, "weight"));
    if (!bias) return CONVC_OK;
    TRY(convc_check_tensor(bias, "bias", 2, 2));
    TRY(convc_check_shape(bias, "bias", w->shape, 2));
    TRY(convc_check_dtype(bias, "bias", x, "x"));
    return convc_check_disjoint(y, "out", bias, "bias");
}

/* `out` is the gradient that is asked for: of x or of w. */
static convc_status check_backward(const convc_tensor *grad_y, const convc_tensor *x, const char *x_name, const convc_tensor *w,
                                   const char *w_name, const convc_conv_params *p, const convc_tensor *out, const char *name) {
    const convc_tensor *in = out == x ? w : x;
    TRY(check_shapes(x, x_name, w, w_name, grad_y, "grad", p));
    TRY(convc_check_dtype(x, x_name, grad_y, "grad"));
    TRY(convc_check_dtype(w, w_name, grad_y, "grad"));
    TRY(convc_check_output(out, name, out->ndim, out->ndim));
    TRY(convc_check_disjoint(out, name, grad_y, "grad"));
    return convc_check_disjoint(out, name, in, in == x ? x_name : w_name);
}

/* ---- the form ---- */

static convc_tensor at_first_position(const convc_tensor *w) {
    convc_tensor first = *w;
    first.ndim--;
    for (int i = 0; i < first.ndim; i++) {
        first.shape[i] = w->shape[i + 1];
        first.strides[i] = w->strides[i + 1];
    }
    return first;
}

static local local_of(const convc_tensor *x, const convc_tensor *w, const convc_tensor *y, const convc_conv_params *p) {
    convc_tensor first = at_first_position(w);
    local l = {.c = convc_conv_of(x, &first, y, p), .next = element_stride(w, 0)};
    axis taps = axis_collapse(convc_taps_of(&l.c.w, l.c.w.size, l.c.w.c, convc_ones, 0));
    l.taps = axis_length(&taps);
    l.is_dense = l.taps == 1 || (taps.size[3] == l.taps && taps.stride[3] == 1);
    l.images = min_i64(l.c.x.n, LOCAL_IMAGES);
    l.outs = min_i64(l.c.y.c, LOCAL_TILE / l.images);
    l.across = min_i64(l.c.y.size[2], min_i64(ACROSS, LOCAL_TILE / (l.images * l.outs)));
    if (l.c.x.n > l.images) l.across = 1; /* the weights of a position are still in the cache when the next images come */
    int64_t plane = l.c.w.size[1] * l.c.w.size[2], most = min_i64(LOCAL_TAPS, LOCAL_PATCHES / l.images);
    l.chunk = min_i64(l.taps, plane <= most ? most / plane * plane : most); /* whole channels, if they are that small */
    return l;
}

static double flops_of(const local *l) {
    double weights = (double)(l->c.y.size[1] * l->c.y.size[2]) * (double)(l->c.y.c * l->taps);
    return weights * (2 * (double)l->c.x.n + WEIGHT_FLOPS);
}

/* ---- forward, and the gradient of the weights: a task owns output channels of some positions ---- */

typedef struct local_job {
    const local *l;
    void (*run)(const local *l, int64_t task, void *workspace);
} local_job;

static void position_task(const void *context, int64_t task, void *workspace) {
    const local_job *j = context;
    j->run(j->l, task, workspace);
}

static convc_status run_positions(local *l, void (*run)(const local *l, int64_t task, void *workspace)) {
    local_job j = {l, run};
    const volume *y = &l->c.y;
    int64_t rows = y->size[1];
    l->across = min_i64(l->across, ceil_div(rows * y->size[2], TASKS));
    l->stretches = ceil_div(y->size[2], l->across);
    l->outs = min_i64(l->outs, max_i64(FEWEST_OUTS, ceil_div(y->c, ceil_div(TASKS, rows * l->stretches))));
    l->parts = ceil_div(y->c, l->outs);
    return convc_parallel(position_task, &j, rows * l->stretches * l->parts, flops_of(l),
                          convc_kernels_for(l->c.dtype)->local_workspace);
}

/* Padding that is taken from the image is copied with it, once: each position reads its weights for all images. */
static convc_status run_padded(local *l, const convc_conv_params *p, int ndim,
                               void (*run)(const local *l, int64_t task, void *workspace)) {
    padding padded;
    convc_loan loan;
    if (!convc_is_padded(p, ndim)) return run_positions(l, run);
    TRY(convc_borrow_padded(&l->c, p->pad_mode, &padded, &loan));
    convc_status status = convc_pad(&padded);
    if (status == CONVC_OK) status = run_positions(l, run);
    convc_return(CONVC_PADDED, &loan);
    return status;
}

convc_status convc_local_forward(const convc_tensor *x, const convc_tensor *w, const convc_tensor *bias,
                                 const convc_conv_params *p, const convc_tensor *y) {
    TRY(check_forward(x, w, bias, p, y));
    if (x->shape[0] == 0) return CONVC_OK;
    local l = local_of(x, w, y, p);
    l.c.activation = p->activation;
    l.bias = bias;
    return run_padded(&l, p, x->ndim, convc_kernels_for(x->dtype)->local_forward);
}

convc_status convc_local_backward_weight(const convc_tensor *grad_y, const convc_tensor *x, const convc_conv_params *p,
                                         const convc_tensor *grad_w) {
    TRY(check_backward(grad_y, x, "x", grad_w, "grad_weight", p, grad_w, "grad_weight"));
    if (x->shape[0] == 0) return convc_fill_zero(grad_w);
    local l = local_of(x, grad_w, grad_y, p);
    return run_padded(&l, p, x->ndim, convc_kernels_for(x->dtype)->local_weight);
}

/* ---- the gradient of the data ----
 *
 * Neighbouring positions add to the same elements of x, and who owned elements would read the weights of his neighbours, too. So
 * positions are shared out, in bands so broad that every second one touches elements of its own: first the even bands add, then
 * the odd ones. Each weight is read once, and the order of additions is that of the bands, whoever runs them. Where the kernel is
 * so large that there are few bands, the channels are shared out: then their weights are long stretches of memory. */

typedef struct band_job {
    const local *l;
    const convc_kernels *kernels;
    int64_t first[2], count[2]; /* of the bands along h and w: every second one */
} band_job;

/* Bands along spatial dimension i at most: of the outputs of band b, none reads what those of b + 2 read. */
static int64_t bands_along(const conv *c, int i) {
    int64_t reach = (c->w.size[i] - 1) * c->dilation[i] + 1;
    return max_i64(1, c->y.size[i] / max_i64(1, ceil_div(reach, c->step[i]) - 1));
}

static void band_task(const void *context, int64_t task, void *workspace) {
    const band_job *j = context;
    const local *l = j->l;
    const int64_t *rows = &l->c.y.size[1], part = task % l->channel_parts;
    task /= l->channel_parts;
    int64_t h = j->first[0] + 2 * (task / j->count[1]), w = j->first[1] + 2 * (task % j->count[1]);
    band b = {.oh0 = split_point(rows[0], l->bands[0], h), .oh1 = split_point(rows[0], l->bands[0], h + 1)};
    b.ow0 = split_point(rows[1], l->bands[1], w);
    b.ow1 = split_point(rows[1], l->bands[1], w + 1);
    b.c0 = split_point(l->c.x.c, l->channel_parts, part);
    b.c1 = split_point(l->c.x.c, l->channel_parts, part + 1);
    j->kernels->local_data(l, &b, workspace);
}

/* Adds to an image of zeros. */
static convc_status run_bands(local *l) {
    band_job j = {.l = l, .kernels = convc_kernels_for(l->c.dtype)};
    l->bands[0] = bands_along(&l->c, 1);
    l->bands[1] = min_i64(bands_along(&l->c, 2), ceil_div(4 * TASKS, l->bands[0])); /* a quarter of them at a time */
    l->channel_parts = min_i64(l->c.x.c, ceil_div(TASKS, l->bands[0] * l->bands[1]));
    for (int turn = 0; turn < 4; turn++) {
        for (int i = 0; i < 2; i++) {
            j.first[i] = i ? turn % 2 : turn / 2;
            j.count[i] = (l->bands[i] + 1 - j.first[i]) / 2;
        }
        TRY(convc_parallel(band_task, &j, j.count[0] * j.count[1] * l->channel_parts, flops_of(l) / 4,
                           j.kernels->local_workspace));
    }
    return CONVC_OK;
}

convc_status convc_local_backward_data(const convc_tensor *grad_y, const convc_tensor *w, const convc_conv_params *p,
                                       const convc_tensor *grad_x) {
    TRY(check_backward(grad_y, grad_x, "grad_x", w, "weight", p, grad_x, "grad_x"));
    if (grad_x->shape[0] == 0) return CONVC_OK;
    local l = local_of(grad_x, w, grad_y, p);
    if (!convc_is_padded(p, grad_x->ndim)) {
        TRY(convc_fill_zero(grad_x));
        return run_bands(&l);
    }
    padding padded;
    convc_loan loan;
    TRY(convc_borrow_padded(&l.c, p->pad_mode, &padded, &loan));
    memset(padded.copy.data, 0, (size_t)(padded.copy.n * padded.copy.stride_n * convc_itemsize(l.c.dtype)));
    convc_status status = run_bands(&l);
    if (status == CONVC_OK) status = convc_fill_zero(grad_x);
    if (status == CONVC_OK) status = convc_fold(&padded);
    convc_return(CONVC_PADDED, &loan);
    return status;
}

/* ---- the gradient of the bias: sums over the batch ---- */

typedef struct sum_job {
    const convc_kernels *kernels;
    convc_dtype dtype;
    volume y;
    const convc_tensor *grad_bias;
    int along_row; /* are the sums of a row of outputs made side by side, or those of all channels? */
    int64_t groups;
} sum_job;

/* A group of positions of one row and channel, or of channels of one position. */
static void sum_task(const void *context, int64_t task, void *workspace) {
    const sum_job *j = context;
    const volume *y = &j->y;
    double sums[GROUP] = {0};
    int64_t first = task % j->groups * GROUP, unit = task / j->groups;
    int64_t count = min_i64(GROUP, (j->along_row ? y->size[2] : y->c) - first);
    int64_t oh = j->along_row ? unit / y->c : unit / y->size[2], ow = j->along_row ? first : unit % y->size[2];
    int64_t k = j->along_row ? unit % y->c : first;
    const convc_tensor *to = j->grad_bias;
    (void)workspace;
    j->kernels->sum_line(element(y, k * y->stride_c + oh * y->stride[1] + ow * y->stride[2], j->dtype), y->stride_n, y->n,
                         j->along_row ? y->stride[2] : y->stride_c, count, sums);
    char *data = (char *)to->data + (oh * y->size[2] + ow) * to->strides[0] + k * to->strides[1];
    for (int64_t i = 0; i < count; i++, data += to->strides[j->along_row ? 0 : 1]) {
        if (j->dtype == CONVC_F32) *(float *)data = (float)sums[i];
        else *(double *)data = sums[i];
    }
}

convc_status convc_local_backward_bias(const convc_tensor *grad_y, const convc_tensor *grad_bias) {
    TRY(convc_check_tensor(grad_y, "grad", 3, CONVC_MAX_NDIM - 1));
    TRY(convc_check_output(grad_bias, "grad_bias", 2, 2));
    sum_job j = {.dtype = grad_y->dtype, .y = convc_volume_of(grad_y), .grad_bias = grad_bias};
    const volume *y = &j.y;
    const int64_t shape[2] = {y->size[1] * y->size[2], y->c};
    TRY(convc_check_shape(grad_bias, "grad_bias", shape, 2));
    TRY(convc_check_dtype(grad_bias, "grad_bias", grad_y, "grad"));
    TRY(convc_check_disjoint(grad_bias, "grad_bias", grad_y, "grad"));
    if (y->n == 0) return convc_fill_zero(grad_bias);
    j.kernels = convc_kernels_for(j.dtype);
    j.along_row = y->stride[2] == 1 && y->size[2] > 1;
    j.groups = ceil_div(j.along_row ? y->size[2] : y->c, GROUP);
    int64_t units = y->size[1] * (j.along_row ? y->c : y->size[2]);
    return convc_parallel(sum_task, &j, units * j.groups, BIAS_FLOPS * (double)convc_size(grad_y), 0);
}
