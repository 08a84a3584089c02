/* The gradients of convolution. That of the data is a convolution of the output's gradient with spatially flipped filters, one for
 * each phase of the stride; that of the weights is a product over all pixels. The bias's is in bias_grad.c. */
#include <stdlib.h>

#include "pad.h"

/* ---- data ---- */

static int64_t gcd(int64_t a, int64_t b) {
    while (b) {
        int64_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

/* Input positions phase + stride * t of one dimension, and the taps that reach them: r0, r0 + every, ..., `taps` of them. With
 * t as the output position they form a plain convolution over the flipped taps. */
typedef struct phase {
    int64_t first, count; /* input positions */
    int64_t r0, every, taps;
    int64_t dilation, pad;
    int64_t alike; /* phases from this one on that read the same inputs, and write `dilation` of the convolution apart */
} phase;

/* Phase number i of dimension `dim` of those that some tap reaches; no other input position has a gradient. */
static phase phase_of(const conv *forward, int dim, int64_t i) {
    int64_t stride = forward->step[dim], dilation = forward->dilation[dim], pad = forward->pad[dim],
            common = gcd(stride, dilation);
    phase f = {.r0 = i, .every = stride / common, .dilation = dilation / common, .alike = 1};
    int64_t at = i * dilation - pad; /* where tap i of output 0 lies */
    f.first = (at % stride + stride) % stride;
    f.count = f.first < forward->x.size[dim] ? ceil_div(forward->x.size[dim] - f.first, stride) : 0;
    f.taps = ceil_div(forward->w.size[dim] - i, f.every);
    f.pad = (f.taps - 1) * f.dilation - (f.first - at) / stride;
    return f;
}

static int64_t phases(const conv *forward, int dim) {
    return min_i64(forward->w.size[dim], forward->step[dim] / gcd(forward->step[dim], forward->dilation[dim]));
}

/* The same with those that are alike, if they should be taken together. */
static phase phases_from(const conv *forward, int dim, int64_t i) {
    phase f = phase_of(forward, dim, i);
    int64_t end = convc_is_depthwise_along_channels(forward) ? i + 1 : phases(forward, dim);
    for (int64_t next = i + 1; next < end; next++, f.alike++) {
        phase g = phase_of(forward, dim, next);
        if (g.count != f.count || g.taps != f.taps || g.pad != f.pad) break;
    }
    return f;
}

/* All phases as if they were alike: the taps cover those of each of them, of which some are missing. */
static phase all_phases(const conv *forward, int dim) {
    int64_t stride = forward->step[dim], pad = forward->pad[dim], before = forward->w.size[dim] - 1 - pad;
    phase f = {.count = ceil_div(forward->x.size[dim], stride), .every = stride, .dilation = 1, .alike = stride};
    f.pad = before >= 0 ? before / stride : -ceil_div(-before, stride); /* inputs that the first phase reads before its own */
    f.taps = (pad + stride - 1) / stride + f.pad + 1;
    f.r0 = pad + stride * (f.pad - f.taps + 1);
    return f;
}

/* The convolution that computes one phase's part of grad_x. A bias and an activation are those of a transposed convolution. */
static conv phase_conv(const conv *forward, const phase f[3]) {
    conv c = {.dtype = forward->dtype, .groups = forward->groups, .w_group = forward->w_group, .wanted = forward->wanted};
    c.bias = forward->bias;
    c.activation = forward->activation;
    int64_t x_first = 0, w_first = 0;
    c.x = forward->y;
    c.y = forward->x;
    c.w = forward->w;
    c.w.n = forward->x.c;
    c.w.stride_n = forward->w.stride_c;
    c.w.c = forward->y.c / forward->groups;
    c.w.stride_c = forward->w.stride_n;
    for (int i = 0; i < 3; i++) {
        c.step[i] = 1;
        c.dilation[i] = f[i].taps > 1 ? f[i].dilation : 1;
        c.pad[i] = f[i].pad;
        c.y.size[i] = f[i].count;
        c.y.stride[i] = forward->x.stride[i] * forward->step[i];
        x_first += f[i].first * forward->x.stride[i];
        c.w.size[i] = f[i].taps;
        c.w.stride[i] = -f[i].every * forward->w.stride[i];
        c.block[i] = f[i].alike;
        c.y_block[i] = f[i].alike > 1 ? forward->dilation[i] * forward->x.stride[i] : 0;
        c.w_block[i] = forward->w.stride[i];
        w_first += (f[i].r0 + (f[i].taps - 1) * f[i].every) * forward->w.stride[i];
    }
    c.y.data = element(&forward->x, x_first, c.dtype);
    c.w.data = element(&forward->w, w_first, c.dtype);
    return c;
}

typedef struct channel_job {
    const conv *forward;
    void (*run)(const conv *c, int64_t channel, int64_t h0, int64_t h1);
    int64_t parts; /* of the rows of a channel */
} channel_job;

static void channel_task(const void *context, int64_t task, void *workspace) {
    const channel_job *j = context;
    int64_t part = task % j->parts, rows = j->forward->x.size[1];
    (void)workspace;
    j->run(j->forward, task / j->parts, split_point(rows, j->parts, part), split_point(rows, j->parts, part + 1));
}

#define CHANNEL_TASKS 64 /* at least, if a task has as many rows as this: */
#define TASK_ROWS 8

static convc_status run_channels(const conv *forward) {
    channel_job j = {forward, convc_kernels_for(forward->dtype)->depthwise_data, 0};
    int64_t channels = forward->x.n * forward->groups * forward->x.size[0];
    j.parts = min_i64(ceil_div(forward->x.size[1], TASK_ROWS), ceil_div(CHANNEL_TASKS, channels));
    double pixels = (double)(forward->y.size[0] * forward->y.size[1] * forward->y.size[2]) * (double)forward->y.n;
    double flops = 2 * pixels * (double)(forward->w.size[1] * forward->w.size[2]) * (double)forward->y.c;
    return convc_parallel(channel_task, &j, channels * j.parts, flops, 0);
}

/* All phases along the last two dimensions one by one, but from tiles of the image that they share. */
static convc_status run_rows_of_phases(const conv *forward, const phase *depth, conv *c) {
    int64_t most = phases(forward, 1) * phases(forward, 2);
    conv *parts = malloc((size_t)most * sizeof *parts);
    if (!parts) return convc_fail(CONVC_NO_MEMORY, "no memory for %lld phases", (long long)most);
    for (int64_t i = 0; i < most; i++) {
        phase f[3] = {*depth, phase_of(forward, 1, i / phases(forward, 2)), phase_of(forward, 2, i % phases(forward, 2))};
        if (f[1].count > 0 && f[2].count > 0) parts[c->phase_count++] = phase_conv(forward, f);
    }
    c->phases = parts;
    convc_status status = convc_run_phases(c);
    free(parts);
    return status;
}

/* All phases along the last two dimensions at once, if that pays: then `done` says so. */
static convc_status run_all_phases(const conv *forward, const phase *depth, int *done) {
    const convc_kernels *kernels = convc_kernels_for(forward->dtype);
    *done = (forward->step[1] > 1 || forward->step[2] > 1) && !convc_is_depthwise_along_channels(forward);
    for (int i = 1; i < 3; i++) *done &= forward->dilation[i] == 1 && forward->step[i] <= forward->w.size[i];
    if (!*done) return CONVC_OK;
    const phase f[3] = {*depth, all_phases(forward, 1), all_phases(forward, 2)};
    conv c = phase_conv(forward, f);
    algorithm how = convc_choose_phases(forward, &c, kernels);
    if (is_winograd(how)) return convc_winograd_run_phases(forward, &c, how, kernels);
    if (how == DIRECT_ROWS) return run_rows_of_phases(forward, depth, &c);
    *done = 0;
    return CONVC_OK;
}

convc_status convc_data_gradient(const conv *forward) {
    int64_t at[3];
    phase f[3];
    int done;
    if (convc_is_strided_depthwise(forward)) return run_channels(forward);
    for (at[0] = 0; at[0] < phases(forward, 0); at[0] += f[0].alike) {
        f[0] = phase_of(forward, 0, at[0]);
        if (f[0].count == 0) continue;
        TRY(run_all_phases(forward, &f[0], &done));
        if (done) continue;
        f[0] = phases_from(forward, 0, at[0]);
        for (at[1] = 0; at[1] < phases(forward, 1); at[1] += f[1].alike) {
            f[1] = phases_from(forward, 1, at[1]);
            for (at[2] = 0; at[2] < phases(forward, 2); at[2] += f[2].alike) {
                f[2] = phases_from(forward, 2, at[2]);
                if (f[1].count == 0 || f[2].count == 0) continue;
                conv c = phase_conv(forward, f);
                TRY(convc_run_conv(&c));
            }
        }
    }
    return CONVC_OK;
}

/* Does every input position belong to a phase that some tap reaches? */
int convc_reaches_all(const conv *forward) {
    if (convc_is_strided_depthwise(forward)) return 1;
    for (int i = 0; i < 3; i++)
        if (phases(forward, i) < forward->step[i]) return 0;
    return 1;
}

static convc_status check_backward(const convc_tensor *grad_y, const convc_tensor *x, const char *x_name, const convc_tensor *w,
                                   const char *w_name, const convc_conv_params *p) {
    int64_t shape[CONVC_MAX_NDIM];
    TRY(convc_check_any(x, x_name, 3, CONVC_MAX_NDIM));
    TRY(convc_check_any(w, w_name, x->ndim, x->ndim));
    TRY(convc_check_any(grad_y, "grad", x->ndim, x->ndim));
    TRY(convc_conv_output_shape(x->ndim, x->shape, w->shape, p, shape));
    TRY(convc_check_shape(grad_y, "grad", shape, x->ndim));
    TRY(convc_check_tensor(x, x_name, x->ndim, x->ndim));
    TRY(convc_check_tensor(w, w_name, x->ndim, x->ndim));
    TRY(convc_check_tensor(grad_y, "grad", x->ndim, x->ndim));
    TRY(convc_check_dtype(x, x_name, grad_y, "grad"));
    return convc_check_dtype(w, w_name, grad_y, "grad");
}

convc_status convc_conv_backward_data(const convc_tensor *grad_y, const convc_tensor *w, const convc_conv_params *p,
                                      const convc_tensor *grad_x) {
    TRY(check_backward(grad_y, grad_x, "grad_x", w, "weight", p));
    TRY(convc_check_output(grad_x, "grad_x", 3, CONVC_MAX_NDIM));
    TRY(convc_check_disjoint(grad_x, "grad_x", grad_y, "grad"));
    TRY(convc_check_disjoint(grad_x, "grad_x", w, "weight"));
    conv forward = convc_conv_of(grad_x, w, grad_y, p);
    TRY(convc_check_algorithm(&forward));
    if (grad_x->shape[0] == 0) return CONVC_OK;
    if (convc_is_padded(p, grad_x->ndim)) return convc_padded_data_gradient(&forward, p->pad_mode, grad_x);
    if (!convc_reaches_all(&forward)) TRY(convc_fill_zero(grad_x));
    return convc_data_gradient(&forward);
}

/* ---- weights ---- */

typedef struct weight_job {
    const conv *c;
    const convc_kernels *kernels;
    int64_t vectors, parts; /* of channels, where these run along the vectors */
} weight_job;

static void weight_rows_task(const void *context, int64_t task, void *workspace) {
    const weight_job *j = context;
    (void)workspace;
    j->kernels->weight_rows(j->c, task);
}

static void weight_channels_task(const void *context, int64_t task, void *workspace) {
    const weight_job *j = context;
    int64_t block = task / j->parts, part = task % j->parts;
    (void)workspace;
    j->kernels->weight_channels(j->c, block, split_point(j->vectors, j->parts, part),
                                split_point(j->vectors, j->parts, part + 1));
}

static convc_status run_direct(const conv *c, algorithm how) {
    weight_job j = {.c = c, .kernels = convc_kernels_for(c->dtype)};
    int64_t blocks = convc_weight_blocks(c);
    double products = (double)(c->w.c * c->w.size[0] * c->w.size[1] * c->w.size[2]) * (double)(c->y.n * c->y.c) *
                      (double)(c->y.size[0] * c->y.size[1] * c->y.size[2]);
    if (how == DIRECT_ROWS) return convc_parallel(weight_rows_task, &j, c->groups * c->w.c * blocks, 2 * products, 0);
    /* A pixel's channels lie side by side: no more parts of them than the threads need. */
    j.vectors = ceil_div(c->groups, j.kernels->lanes);
    j.parts = max_i64(ceil_div(j.vectors, WEIGHT_VECTORS), ceil_div(2 * convc_threads_for(2 * products), blocks));
    j.parts = min_i64(j.parts, j.vectors);
    return convc_parallel(weight_channels_task, &j, j.parts * blocks, 2 * products, 0);
}

/* grad_w (taps, k) = columns of x (taps, pixels) @ grad_y (pixels, k); or the transpose of all that. */
static gemm_job gradient_job(const conv *c, window *w, int taps_on_rows, int channel_digit) {
    int64_t channels = c->x.c / c->groups, k = c->y.c / c->groups;
    gemm_job job = {.dtype = c->dtype, .groups = c->groups, .c = c->w.data, .kernels = convc_kernels_for(c->dtype)};
    matrix columns = convc_columns_of(c, w, taps_on_rows, channel_digit);
    axis pixels = axis_collapse(convc_pixels_of(&c->y, c->y.size, convc_ones)), outs = axis_plain(k, c->y.stride_c);
    matrix grad = {.data = c->y.data, .rows = taps_on_rows ? pixels : outs, .cols = taps_on_rows ? outs : pixels};
    axis taps = axis_collapse(convc_taps_of(&c->w, c->w.size, channels, convc_ones, channel_digit)),
         filters = axis_plain(k, c->w.stride_n);
    int64_t taps_count = channels * c->w.size[0] * c->w.size[1] * c->w.size[2];
    int64_t x_group = channels * c->x.stride_c, grad_group = k * c->y.stride_c;
    job.m = taps_on_rows ? taps_count : k;
    job.n = taps_on_rows ? k : taps_count;
    job.k = c->y.n * c->y.size[0] * c->y.size[1] * c->y.size[2];
    job.a = taps_on_rows ? columns : grad;
    job.b = taps_on_rows ? grad : columns;
    job.a_group = taps_on_rows ? x_group : grad_group;
    job.b_group = taps_on_rows ? grad_group : x_group;
    job.c_rows = taps_on_rows ? taps : filters;
    job.c_cols = taps_on_rows ? filters : taps;
    job.c_group = c->w_group;
    return job;
}

typedef struct outs_job {
    gemm_job sums;
    const conv *c;
    direct_tile tile;
} outs_job;

static void outs_task(const void *context, int64_t task, void *workspace) {
    const outs_job *j = context;
    j->sums.kernels->outs_weight(&j->sums, j->c, &j->tile, task, workspace);
}

#define OUTS_PARTS 16 /* of the sum, at most, */
#define PARTS_BYTES (8 << 20) /* and of all of them, unless one needs more */
#define PART_PIXELS 64 /* that each has, if there are so many */

static convc_status run_outs(const conv *c) {
    window w;
    outs_job j = {.sums = gradient_job(c, &w, 1, 0), .c = c};
    const convc_kernels *kernels = j.sums.kernels;
    int64_t taps = j.sums.m, outs = ceil_div(j.sums.n, kernels->nr) * kernels->nr, planes = c->y.n * c->y.size[0];
    convc_direct_tile(c, kernels, &j.tile);
    int64_t sums = c->groups * j.sums.m * j.sums.n * convc_itemsize(c->dtype);
    int64_t parts =
        min_i64(max_i64(1, min_i64(OUTS_PARTS, PARTS_BYTES / sums)), ceil_div(planes * c->y.size[1] * c->y.size[2], PART_PIXELS));
    j.tile.rows = min_i64(j.tile.rows, ceil_div(planes * c->y.size[1], parts)); /* in_rows may be more than they need */
    j.sums.splits = min_i64(parts, planes * ceil_div(c->y.size[1], j.tile.rows) * ceil_div(c->y.size[2], j.tile.cols));
    size_t inputs = (size_t)(c->w.c * c->w.size[0] * j.tile.in_rows * j.tile.phases * j.tile.line + taps * outs);
    size_t workspace = inputs * (size_t)convc_itemsize(c->dtype) + (size_t)taps * sizeof(int32_t) + kernels->outs_weight_scratch;
    double flops = 2.0 * (double)(taps * c->y.c) * (double)(planes * c->y.size[1]) * (double)c->y.size[2];
    return convc_gemm_run_parts(&j.sums, outs_task, &j, c->groups * j.sums.splits, flops, workspace);
}

/* ---- groups of few channels, channels last: they would leave a register block of GEMM idle for the most part, and vectors along the
 * pixels find these apart. In copies with the channels first, of some groups at a time, they lie side by side ---- */

#define TURNED_BYTES (8 << 20) /* of the copies of x and grad_y */

/* 0 where that is not the case, or where a single group is too large. */
static int64_t groups_turned_at_once(const conv *c) {
    conv turned = *c;
    turned.x.c = c->w.c;
    turned.y.c = c->y.c / c->groups;
    int64_t x = convc_volume_bytes(&turned.x, c->dtype), y = convc_volume_bytes(&turned.y, c->dtype);
    int channels_last = c->groups > 1 && c->x.stride_c == 1 && c->y.stride_c == 1;
    if (!channels_last || x <= 0 || y <= 0 || x > TURNED_BYTES || y > TURNED_BYTES - x) return 0;
    turned = *c;
    turned.x.stride[2] = turned.y.stride[2] = 1;
    turned.x.stride_c = turned.y.stride_c = 0; /* not that of channels last */
    if (convc_choose(&turned, convc_kernels_for(c->dtype), OF_WEIGHTS) != DIRECT_ROWS) return 0;
    return min_i64(c->groups, TURNED_BYTES / (x + y));
}

static convc_status run_turned(const conv *c, int64_t at_once) {
    convc_loan loan;
    char *copies = convc_borrow(CONVC_SCRATCH, TURNED_BYTES, &loan);
    convc_status status = copies ? CONVC_OK : convc_fail(CONVC_NO_MEMORY, "no memory for copies with the channels first");
    for (int64_t first = 0; first < c->groups && status == CONVC_OK; first += at_once) {
        conv part = convc_part_of(c, first, min_i64(at_once, c->groups - first));
        int64_t x = convc_volume_bytes(&part.x, c->dtype);
        status = convc_turn(&part.x, c->dtype, 0, copies);
        if (status == CONVC_OK) status = convc_turn(&part.y, c->dtype, 0, copies + x);
        if (status == CONVC_OK) status = run_direct(&part, DIRECT_ROWS);
    }
    convc_return(CONVC_SCRATCH, &loan);
    return status;
}

#define FEW_PIXELS 2 /* for each output channel */

convc_status convc_weight_gradient(const conv *c) {
    algorithm how = convc_choose(c, convc_kernels_for(c->dtype), OF_WEIGHTS);
    if (how == DIRECT_ROWS || how == DIRECT_CHANNELS) return run_direct(c, how);
    if (how == DIRECT_OUTS) return run_outs(c);
    if (is_winograd(how)) return convc_winograd_weight_gradient(c, how);
    int64_t turned = groups_turned_at_once(c);
    if (turned) return run_turned(c, turned);
    window w;
    int64_t channels = c->x.c / c->groups;
    /* Packing, which copies x once for every tap, reads along the image's contiguous axis. The order of the taps is free: where channels
     * follow each other, a panel's rows are read alike; where they do not, grad_w is stored in the order of its memory, which pays if it
     * is large and pixels are few. */
    int taps_on_rows = !(c->x.stride_c == 1 && channels > 1 && c->x.stride[2] != 1);
    int few_pixels = c->y.n * c->y.size[0] * c->y.size[1] * c->y.size[2] < FEW_PIXELS * (c->y.c / c->groups);
    gemm_job job = gradient_job(c, &w, taps_on_rows, c->x.stride[2] == 1 && channels >= 16 && few_pixels ? 0 : 3);
    convc_gemm_prepare(&job);
    return convc_gemm_run(&job);
}

convc_status convc_conv_backward_weight(const convc_tensor *grad_y, const convc_tensor *x, const convc_conv_params *p,
                                        const convc_tensor *grad_w) {
    TRY(check_backward(grad_y, x, "x", grad_w, "grad_weight", p));
    TRY(convc_check_output(grad_w, "grad_weight", 3, CONVC_MAX_NDIM));
    TRY(convc_check_disjoint(grad_w, "grad_weight", grad_y, "grad"));
    TRY(convc_check_disjoint(grad_w, "grad_weight", x, "x"));
    conv c = convc_conv_of(x, grad_w, grad_y, p);
    TRY(convc_check_algorithm(&c));
    if (x->shape[0] == 0) return convc_fill_zero(grad_w);
    return convc_is_padded(p, x->ndim) ? convc_padded_weight_gradient(&c, p->pad_mode) : convc_weight_gradient(&c);
}
