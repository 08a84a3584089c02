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
    conv c = {.dtype = x->dtype, .groups = p->groups, .step = {1, 1, 1}, .dilation = {1, 1, 1}, .wanted = p->algorithm};
    c.x = convc_volume_of(x);
    c.w = convc_volume_of(w);
    c.y = convc_volume_of(y);
    c.w_group = c.w.n / c.groups * c.w.stride_n;
    for (int i = x->ndim - 3, to = 2; i >= 0; i--, to--) {
        /* A single output takes no step, whatever it says: bounded, no address computed ahead of it overflows. */
        c.step[to] = c.y.size[to] > 1 ? p->stride[i] : min_i64(p->stride[i], c.x.size[to]);
        c.dilation[to] = c.w.size[to] > 1 ? p->dilation[i] : 1; /* nor is a single tap apart from others */
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
        origin = (int64_t)((uint64_t)origin - (uint64_t)c->pad[i] * (uint64_t)c->x.stride[i]);
        int64_t last = (c->y.size[i] - 1) * c->step[i] + (c->w.size[i] - 1) * c->dilation[i] - c->pad[i];
        leaves |= c->pad[i] > 0 || last >= c->x.size[i];
    }
    leaves |= c->step[2] > 1 && c->w.size[2] > 1; /* or where packing sorts the pixels by their place within the step */
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

/* ---- algorithms ---- */

#define DIRECT_COLS 256 /* at most */
#define DIRECT_INPUTS 8192 /* elements of a tile's input: about L1 */
#define DIRECT_MOST 65536 /* if a single row of outputs needs more than this, GEMM reads it better */

static int64_t tile_inputs(const conv *c, const direct_tile *t) { return c->w.c * c->w.size[0] * t->in_rows * t->line; }

/* Lines are whole vectors long. Sizes are compared before they are multiplied, for a dilation may be any number. */
static int direct_tile_of(const conv *c, const convc_kernels *kernels, direct_tile *t) {
    int64_t lanes = kernels->lanes, planes = c->w.c * c->w.size[0];
    int64_t down = (c->w.size[1] - 1) * c->dilation[1] + 1, along = (c->w.size[2] - 1) * c->dilation[2] + 1;
    t->cols = min_i64(c->y.size[2], DIRECT_COLS);
    t->rows = 1;
    t->in_rows = down;
    if (planes > DIRECT_MOST || down > DIRECT_MOST || along > DIRECT_MOST) return 0;
    t->line = ceil_div((ceil_div(t->cols, lanes) * lanes - 1) * c->step[2] + along, lanes) * lanes;
    if (planes * t->line > DIRECT_MOST || planes * t->line * down > DIRECT_MOST) return 0;
    int64_t room = DIRECT_INPUTS / (planes * t->line) - down;
    if (room > 0) t->rows = min_i64(c->y.size[1], room / c->step[1] + 1);
    t->in_rows = (t->rows - 1) * c->step[1] + down;
    return 1;
}

static int channels_are_contiguous(const conv *c) { return c->x.stride_c == 1 && c->y.stride_c == 1; }

/* What Winograd's algorithm and a matrix product cost, in multiply-adds of the matrix product; from measurements. */
static int winograd_pays(const conv *c, purpose what) {
    const double cache = 8e6; /* bytes of weights that the last level will hold */
    double depth = (double)(c->w.c * c->w.size[0]), tiles = (double)convc_winograd_tiles(c);
    double outs = (double)c->y.c / (double)c->groups, weights = (double)c->groups * outs * depth;
    double pixels = (double)(c->y.n * c->y.size[0] * c->y.size[1] * c->y.size[2]);
    /* A weight read costs as much as 2 multiply-adds, or 12 from memory; one packed or transformed now costs more. */
    double bytes = weights * (double)convc_itemsize(c->dtype);
    double gemm_weight = 9 * bytes > cache ? 12 : 2, winograd_weight = 36 * bytes > cache ? 12 : 2;
    if (what == OF_WEIGHTS) winograd_weight += 4; /* sums are transformed back, and stored in their order */
    if (what == ONCE) {
        gemm_weight += 5;
        winograd_weight = 16;
    }
    /* An element of the transformed image costs as much as 32 multiply-adds, one transformed back 24. */
    double groups = (double)c->groups;
    double winograd = 36 * (tiles * (weights + groups * (32 * depth + 24 * outs)) + winograd_weight * weights);
    return winograd < 9 * weights * (pixels + gemm_weight);
}

algorithm convc_choose(const conv *c, const convc_kernels *kernels, purpose what) {
    int64_t lanes = kernels->lanes, k = c->y.c / c->groups;
    int64_t pixels = c->y.n * c->y.size[0] * c->y.size[1] * c->y.size[2];
    int channels_last = c->y.stride_c == 1 && c->y.c > 1, rows_first = c->x.stride[2] == 1 && c->y.stride[2] == 1;
    int of_weights = what == OF_WEIGHTS;
    direct_tile tile;

    if (c->wanted != CONVC_GEMM) {
        /* A register block of GEMM has 14 rows on AVX-512: four channels leave most of it idle, eight make it worth the packing.
         * Above 64 channels a group the sum is long enough for GEMM's blocking to win back more. */
        int few = k <= 4 && c->w.c <= 64 && c->step[2] <= 2 && c->wanted != CONVC_WINOGRAD;
        if (few && rows_first && (of_weights || direct_tile_of(c, kernels, &tile))) return DIRECT_ROWS;
        if (k == 1 && c->w.c == 1 && c->wanted != CONVC_WINOGRAD && channels_are_contiguous(c)) return DIRECT_CHANNELS;
        /* Rows that are not contiguous are copied element by element, which GEMM's packing does more often still. */
        if (few && c->groups > 1 && !of_weights && direct_tile_of(c, kernels, &tile)) return DIRECT_ROWS;
    }
    if (convc_winograd_fits(c))
        if (c->wanted == CONVC_WINOGRAD || (c->wanted == CONVC_AUTO && winograd_pays(c, what))) return WINOGRAD;

    /* Whichever is contiguous in the output runs along the vectors, if there is enough of it to fill one. */
    return (channels_last ? k < lanes : pixels >= lanes || k < lanes) ? GEMM_PIXELS : GEMM_CHANNELS;
}

convc_status convc_check_algorithm(const conv *c) {
    if (c->wanted < CONVC_AUTO || c->wanted > CONVC_WINOGRAD)
        return convc_fail(CONVC_INVALID_VALUE, "algorithm must be one of convc_algorithm, got %d", (int)c->wanted);
    if (c->wanted != CONVC_WINOGRAD || convc_winograd_fits(c)) return CONVC_OK;
    return convc_fail(
        CONVC_INVALID_VALUE,
        "algorithm 'winograd' needs a 3 x 3 kernel and stride 1 along the last two axes, got kernel %lld x %lld, stride "
        "%lld x %lld",
        (long long)c->w.size[1], (long long)c->w.size[2], (long long)c->step[1], (long long)c->step[2]);
}

/* ---- implicit GEMM ---- */

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

/* ---- running: pack the weights once, then run any number of times ---- */

typedef struct row_job {
    const conv *c;
    direct_tile tile;
    const void *packed;
    void (*run)(const conv *c, const direct_tile *tile, const void *packed, int64_t plane, int64_t oh0, int64_t oh1,
                void *workspace);
    int64_t parts; /* of a plane's rows */
} row_job;

static void row_task(const void *context, int64_t task, void *workspace) {
    const row_job *j = context;
    int64_t part = task % j->parts, rows = j->c->y.size[1];
    j->run(j->c, &j->tile, j->packed, task / j->parts, split_point(rows, j->parts, part), split_point(rows, j->parts, part + 1),
           workspace);
}

#define ROW_TASKS 64 /* that a direct convolution is shared out in, */
#define TASK_ROWS 4 /* if it has so many rows for each */

static convc_status run_rows(const conv *c, algorithm how, const convc_kernels *kernels, const void *packed) {
    row_job j = {.c = c, .packed = packed, .run = how == DIRECT_ROWS ? kernels->direct_rows : kernels->depthwise_rows};
    int64_t taps = c->w.c * c->w.size[0] * c->w.size[1] * c->w.size[2];
    int64_t planes = c->y.n * c->y.size[0] * (how == DIRECT_ROWS ? c->groups : 1);
    j.parts = min_i64(ceil_div(c->y.size[1], TASK_ROWS), ceil_div(ROW_TASKS, planes));
    double flops = 2.0 * (double)(c->y.n * c->y.c * taps) * (double)(c->y.size[0] * c->y.size[1] * c->y.size[2]);
    size_t workspace = 0;
    if (how == DIRECT_ROWS) {
        direct_tile_of(c, kernels, &j.tile);
        workspace = (size_t)(tile_inputs(c, &j.tile) * convc_itemsize(c->dtype));
    }
    return convc_parallel(row_task, &j, planes * j.parts, flops, workspace);
}

static convc_status allocate(int64_t elements, convc_dtype dtype, void **packed) {
    int64_t bytes = convc_times(elements, convc_itemsize(dtype));
    *packed = bytes > 0 ? convc_allocate((size_t)bytes) : NULL;
    return *packed ? CONVC_OK : convc_fail(CONVC_NO_MEMORY, "no memory for the packed weights");
}

static convc_status pack_weights(const conv *c, algorithm how, const convc_kernels *kernels, void **packed) {
    window w;
    if (how == DIRECT_ROWS || how == DIRECT_CHANNELS) {
        TRY(allocate(c->y.c * c->w.c * c->w.size[0] * c->w.size[1] * c->w.size[2], c->dtype, packed));
        kernels->direct_pack(c, how == DIRECT_CHANNELS, *packed);
        return CONVC_OK;
    }
    convc_status status;
    if (how == WINOGRAD) {
        TRY(allocate(convc_winograd_size(c, kernels), c->dtype, packed));
        status = convc_winograd_pack(c, kernels, *packed);
    } else {
        gemm_job job = forward_job(c, &w, how == GEMM_PIXELS, kernels);
        convc_gemm_prepare(&job);
        TRY(allocate(how == GEMM_PIXELS ? convc_packed_a_size(&job) : convc_packed_b_size(&job), c->dtype, packed));
        status = (how == GEMM_PIXELS ? convc_pack_a : convc_pack_b)(&job, *packed);
    }
    if (status == CONVC_OK) return CONVC_OK;
    free(*packed);
    *packed = NULL;
    return status;
}

static convc_status run_packed(const conv *c, algorithm how, const convc_kernels *kernels, const void *packed) {
    window w;
    if (how == DIRECT_ROWS || how == DIRECT_CHANNELS) return run_rows(c, how, kernels, packed);
    if (how == WINOGRAD) return convc_winograd_run(c, kernels, packed);
    gemm_job job = forward_job(c, &w, how == GEMM_PIXELS, kernels);
    if (how == GEMM_PIXELS) job.packed_a = packed;
    else job.packed_b = packed;
    convc_gemm_prepare(&job);
    return convc_gemm_run(&job);
}

convc_status convc_run_conv(const conv *c) {
    const convc_kernels *kernels = convc_kernels_for(c->dtype);
    algorithm how = convc_choose(c, kernels, ONCE);
    if (how == WINOGRAD) return convc_winograd_run(c, kernels, NULL);
    void *packed;
    TRY(pack_weights(c, how, kernels, &packed));
    convc_status status = run_packed(c, how, kernels, packed);
    free(packed);
    return status;
}

/* ---- forward ---- */

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
    conv c = convc_conv_of(x, w, y, p);
    TRY(convc_check_algorithm(&c));
    if (x->shape[0] == 0) return CONVC_OK;
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
    algorithm algorithm;
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
    TRY(convc_check_algorithm(&plan->conv));
    if (bias) {
        int64_t item = convc_itemsize(bias->dtype);
        plan->bias = malloc((size_t)(bias->shape[0] * item));
        if (!plan->bias) return convc_fail(CONVC_NO_MEMORY, "no memory for a copy of the bias");
        for (int64_t i = 0; i < bias->shape[0]; i++)
            memcpy((char *)plan->bias + i * item, (char *)bias->data + i * bias->strides[0], (size_t)item);
    }
    plan->conv.bias = plan->bias;
    plan->kernels = convc_kernels_for(plan->conv.dtype);
    plan->algorithm = convc_choose(&plan->conv, plan->kernels, PREPARED);
    TRY(pack_weights(&plan->conv, plan->algorithm, plan->kernels, &plan->packed));
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

/* A plan along channels met tensors that have them elsewhere: its packed weights, (taps, channels), are an ordinary array, too. */
static convc_status run_on_other_strides(const convc_plan *plan, conv *c) {
    c->w.data = plan->packed;
    c->w.stride[2] = c->y.c;
    c->w.stride[1] = c->w.size[2] * c->w.stride[2];
    c->w.stride[0] = c->w.size[1] * c->w.stride[1];
    c->w.stride_c = c->w.size[0] * c->w.stride[0];
    c->w.stride_n = c->w_group = 1;
    return convc_run_conv(c);
}

convc_status convc_plan_run(const convc_plan *plan, const convc_tensor *x, const convc_tensor *y) {
    int ndim = plan->x.ndim;
    int64_t x_shape[CONVC_MAX_NDIM], y_shape[CONVC_MAX_NDIM];
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
    if (plan->algorithm == DIRECT_CHANNELS && !channels_are_contiguous(&c)) return run_on_other_strides(plan, &c);
    return run_packed(&c, plan->algorithm, plan->kernels, plan->packed);
}
