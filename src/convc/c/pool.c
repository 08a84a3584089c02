/* The form of pools, how their work is shared out, and max pooling with windows of both kinds. */
#include "pool.h"

#define TASK_ELEMENTS 32768 /* of x, about */

/* ---- checks ---- */

convc_status convc_check_indices(const convc_tensor *indices, const convc_tensor *y) {
    TRY(convc_check_any(indices, "indices", y->ndim, y->ndim));
    if (indices->dtype != CONVC_I64) return convc_fail(CONVC_INVALID_TYPE, "indices must be int64");
    return convc_check_shape(indices, "indices", y->shape, y->ndim);
}

static convc_status check_output(const convc_tensor *x, const int64_t *shape, const convc_tensor *y) {
    TRY(convc_check_tensor(x, "x", x->ndim, x->ndim));
    TRY(convc_check_output(y, "out", x->ndim, x->ndim));
    TRY(convc_check_shape(y, "out", shape, x->ndim));
    TRY(convc_check_dtype(y, "out", x, "x"));
    return convc_check_disjoint(y, "out", x, "x");
}

convc_status convc_check_pool(const convc_tensor *x, const convc_pool_params *params, const convc_tensor *y) {
    int64_t shape[CONVC_MAX_NDIM];
    TRY(convc_check_any(x, "x", 3, CONVC_MAX_NDIM));
    TRY(convc_pool_output_shape(x->ndim, x->shape, params, shape));
    return check_output(x, shape, y);
}

convc_status convc_check_adaptive(const convc_tensor *x, const convc_tensor *y) {
    int64_t shape[CONVC_MAX_NDIM];
    TRY(convc_check_any(x, "x", 3, CONVC_MAX_NDIM));
    TRY(convc_check_any(y, "out", x->ndim, x->ndim));
    TRY(convc_adaptive_output_shape(x->ndim, x->shape, y->shape + 2, shape));
    return check_output(x, shape, y);
}

static convc_status check_written_indices(const convc_tensor *indices, const convc_tensor *x, const convc_tensor *y) {
    if (!indices) return CONVC_OK;
    TRY(convc_check_indices(indices, y));
    convc_tensor written = *indices; /* the same memory as far as overlaps go */
    written.dtype = CONVC_F64;
    TRY(convc_check_output(&written, "indices", x->ndim, x->ndim));
    TRY(convc_check_disjoint(indices, "indices", x, "x"));
    return convc_check_disjoint(indices, "indices", y, "out");
}

/* ---- forms ---- */

/* The step from element to element in the order d, h, w; 0 where there is no single one. */
static int64_t pixel_step_of(const volume *v) {
    axis pixels = axis_collapse((axis){{1, v->size[0], v->size[1], v->size[2]}, {0, v->stride[0], v->stride[1], v->stride[2]}});
    return axis_length(&pixels) == pixels.size[3] ? pixels.stride[3] : 0;
}

static int is_dense(const volume *v) {
    int64_t step = pixel_step_of(v), pixels = v->size[0] * v->size[1] * v->size[2];
    return step == 1 && (v->c == 1 || v->stride_c == pixels) && (v->n == 1 || v->stride_n == v->c * pixels);
}

/* Does the channel axis run closest in memory? */
static int channels_last(const volume *v) { return v->c > 1 && v->stride_c == 1 && !(v->size[2] > 1 && v->stride[2] == 1); }

pool convc_pool_of(const convc_tensor *x, const convc_tensor *y, const convc_tensor *indices) {
    pool p = {.dtype = x->dtype, .x = convc_volume_of(x), .y = convc_volume_of(y)};
    if (indices) p.indices = convc_volume_of(indices);
    for (int i = 0; i < 3; i++) p.kernel[i] = p.step[i] = p.dilation[i] = 1;
    if (p.x.size[2] == 1) p.x.stride[2] = 1; /* whatever it says */
    if (p.y.size[2] == 1) p.y.stride[2] = 1;
    p.channels_last = channels_last(&p.x);
    p.dense = is_dense(&p.y);
    p.pixel_step = pixel_step_of(&p.x);
    return p;
}

void convc_pool_windows(pool *p, const convc_pool_params *params, int spatial) {
    for (int i = spatial - 1, to = 2; i >= 0; i--, to--) {
        p->kernel[to] = params->kernel[i];
        p->step[to] = params->stride[i];
        p->dilation[to] = params->dilation[i];
        p->pad[to] = params->pad_before[i];
        if (p->y.size[to] == 1) p->step[to] = 1; /* no step is made; large ones are slow */
    }
}

/* Shares that come out even are windows like any others, for which there are the faster kernels. */
void convc_pool_shares(pool *p) {
    for (int k = 0; k < 3; k++) {
        int64_t size = p->x.size[k], shares = p->y.size[k];
        p->adaptive[k] = size % shares != 0;
        p->step[k] = shares == 1 ? 1 : ceil_div(size, shares);
        p->kernel[k] = min_i64(size, ceil_div(size, shares) + p->adaptive[k]);
    }
}

pool_shares convc_share_pool(const pool *p) {
    const volume *x = &p->x, *y = &p->y;
    double read = (double)x->n * (double)x->c * (double)x->size[0] * (double)x->size[1] * (double)x->size[2];
    double taps = (double)p->kernel[0] * (double)p->kernel[1] * (double)p->kernel[2];
    double outputs = (double)y->n * (double)y->c * (double)y->size[0] * (double)y->size[1] * (double)y->size[2];
    int64_t rows = y->n * (p->channels_last ? 1 : y->c) * y->size[0] * y->size[1];
    double work = read + taps * outputs / 8; /* memory first; large windows cost more */
    int64_t wanted = (int64_t)(work / TASK_ELEMENTS < 1e6 ? work / TASK_ELEMENTS : 1e6) + 1;
    pool_shares s = {.work = work, .wanted = wanted, .unit = rows >= wanted ? y->size[2] : 1};
    s.units = s.unit == 1 ? rows * y->size[2] : rows;
    s.tasks = min_i64(wanted, s.units);
    return s;
}

int64_t convc_channel_parts(const pool *p, double work) {
    int64_t threads = convc_threads_for(POOL_FLOPS * work), lanes = 64 / convc_itemsize(p->dtype);
    double wanted = (8 * (double)threads + work / TASK_ELEMENTS) / (double)p->x.n;
    if (!p->channels_last) return wanted < (double)p->x.c ? (int64_t)wanted + 1 : p->x.c;
    /* Channels that share cache lines stay together as far as the threads allow. */
    return p->x.n >= threads ? 1 : min_i64(ceil_div(p->x.c, lanes), ceil_div(threads, p->x.n));
}

/* ---- max pooling ---- */

typedef struct pool_job {
    const convc_kernels *kernels;
    pool pool;
    pool_shares shares;
} pool_job;

static void max_task(const void *context, int64_t task, void *workspace) {
    const pool_job *j = context;
    const pool_shares *s = &j->shares;
    int64_t begin = split_point(s->units, s->tasks, task), end = split_point(s->units, s->tasks, task + 1);
    j->kernels->max_pool(&j->pool, begin * s->unit, end * s->unit, workspace);
}

static convc_status run_max(const pool *p) {
    pool_job j = {.kernels = convc_kernels_for(p->dtype), .pool = *p, .shares = convc_share_pool(p)};
    return convc_parallel(max_task, &j, j.shares.tasks, POOL_FLOPS * j.shares.work, j.kernels->pool_workspace);
}

convc_status convc_max_pool_forward(const convc_tensor *x, const convc_pool_params *params, const convc_tensor *y,
                                    const convc_tensor *indices) {
    TRY(convc_check_pool(x, params, y));
    TRY(check_written_indices(indices, x, y));
    if (x->shape[0] == 0) return CONVC_OK;
    pool p = convc_pool_of(x, y, indices);
    convc_pool_windows(&p, params, x->ndim - 2);
    return run_max(&p);
}

convc_status convc_adaptive_max_pool_forward(const convc_tensor *x, const convc_tensor *y, const convc_tensor *indices) {
    TRY(convc_check_adaptive(x, y));
    TRY(check_written_indices(indices, x, y));
    if (x->shape[0] == 0) return CONVC_OK;
    pool p = convc_pool_of(x, y, indices);
    convc_pool_shares(&p);
    return run_max(&p);
}
